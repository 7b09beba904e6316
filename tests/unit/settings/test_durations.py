from contextlib import suppress
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cleanup_pipeline.model.durations import LONGEST, format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", timedelta(0)),
        ("1h30m", timedelta(minutes=90)),
        ("1.5h", timedelta(minutes=90)),
        (".5s", timedelta(milliseconds=500)),
        ("1.s", timedelta(seconds=1)),
        ("50ms", timedelta(milliseconds=50)),
        ("7us", timedelta(microseconds=7)),
        ("7µs", timedelta(microseconds=7)),
        ("2500ns", timedelta(microseconds=2)),
        ("7d", timedelta(days=7)),
        ("2w", timedelta(days=14)),
        ("-5m", timedelta(minutes=-5)),
        ("+5m", timedelta(minutes=5)),
        ("0.1s", timedelta(milliseconds=100)),
    ],
)
def test_reads_what_go_reads_and_days_and_weeks(text: str, expected: timedelta) -> None:
    assert parse_duration(text) == expected


@pytest.mark.parametrize(
    "text", ["", "5", "m", "5 m", "1h 30m", "5M", ".s", "1e3s", "--1s", "٣s", "99999999w", "1y", "5m\n"]
)
def test_refuses_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a duration|hundred years"):
        parse_duration(text)


@given(st.timedeltas(min_value=-LONGEST, max_value=LONGEST))
def test_what_is_written_is_read_back_exactly(duration: timedelta) -> None:
    assert parse_duration(format_duration(duration)) == duration


@given(st.text(max_size=80) | st.from_regex(r"[0-9.]{1,9}(ns|us|ms|s|m|h|d|w|x)", fullmatch=True))
def test_any_text_is_a_duration_or_a_value_error(text: str) -> None:
    with suppress(ValueError):
        assert abs(parse_duration(text)) <= LONGEST


def test_writes_the_shortest_text() -> None:
    assert format_duration(timedelta(hours=1, minutes=30)) == "1h30m"
    assert format_duration(timedelta(days=7)) == "7d"
    assert format_duration(timedelta(0)) == "0s"
    assert format_duration(timedelta(milliseconds=-50)) == "-50ms"
