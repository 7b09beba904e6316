"""Statistics against ledgers that were counted by hand."""

import random
import re
from collections.abc import Callable
from datetime import date, timedelta
from itertools import pairwise
from typing import Any

import pandas as pd
import pytest

from cleanup_pipeline.ledger import Ledger, open_ledger
from cleanup_pipeline.reporting import statistics
from cleanup_pipeline.reporting.statistics import BY, EVERY
from tests.ledger.test_prune import NOW, fill
from tests.reporting.rows import MONDAY, noon, operation, seen

DAY = timedelta(days=1)
SUNDAY = MONDAY + 6 * DAY
NEXT = MONDAY + 7 * DAY


def rows(frame: pd.DataFrame, *names: str) -> list[tuple[Any, ...]]:
    """Cells with None for what is unknown, and days as dates."""

    def plain(value: Any) -> Any:
        if pd.isna(value):
            return None
        return value.date() if isinstance(value, pd.Timestamp) else value

    return [tuple(plain(value) for value in row) for row in frame[list(names)].itertuples(index=False)]


def test_volume_by_everything(ledger: Ledger) -> None:
    operation(ledger, date(2026, 10, 31), "web", 1, bytes=100)
    operation(ledger, MONDAY, "web", 10, bytes=50)
    operation(ledger, MONDAY, "api", 20, pass_name="tokens")
    operation(ledger, SUNDAY, "app", 40, at_most=45)
    operation(ledger, NEXT, "web", 80, at_most=None)
    of = statistics.volume(ledger)
    assert rows(of, "period", "group", "deleted", "at_most", "bytes_freed") == [
        (date(2026, 10, 31), "web", 1, 1, 100),
        (MONDAY, "api", 20, 20, None),
        (MONDAY, "web", 10, 10, 50),
        (SUNDAY, "app", 40, 45, None),
        (NEXT, "web", 80, None, None),
    ]
    weekly = statistics.volume(ledger, every="week", by="all")
    assert rows(weekly, "period", "deleted", "at_most") == [
        (date(2026, 10, 26), 1, 1),
        (MONDAY, 70, 75),
        (NEXT, 80, None),
    ]
    monthly = statistics.volume(ledger, every="month", by="kind")
    assert rows(monthly, "period", "group", "deleted") == [
        (date(2026, 10, 1), "session", 1),
        (date(2026, 11, 1), "session", 130),
        (date(2026, 11, 1), "token", 20),
    ]
    whole = statistics.volume(ledger, MONDAY, SUNDAY, every="all", by="store")
    assert rows(whole, "period", "group", "deleted", "at_most") == [(MONDAY, "cache", 40, 45), (MONDAY, "main", 30, 30)]
    by_pass = statistics.volume(ledger, every="all", by="pass")
    assert rows(by_pass, "group", "deleted") == [("sessions", 131), ("tokens", 20)]
    with pytest.raises(ValueError, match="ends before it begins"):
        statistics.volume(ledger, SUNDAY, MONDAY)


@pytest.mark.parametrize("seed", range(3))
def test_the_parts_of_any_split_add_up_to_the_totals(ledger: Ledger, seed: int) -> None:
    fill(ledger, seed, 40)
    if seed:
        ledger.prune(20 * DAY, NOW)
        ledger.seal(NOW)
    totals, dice = ledger.totals(), random.Random(seed)
    days = [NOW.date() - 60 * DAY + n * DAY for n in sorted(dice.sample(range(60), 4))]
    edges = [NOW.date() - 90 * DAY, *days, NOW.date() + 2 * DAY]
    figures = [statistics.read_figures(ledger, first, until - DAY) for first, until in pairwise(edges)]
    for every in EVERY:
        for by in BY:
            parts = [statistics.volume(one, every=every, by=by) for one in figures]
            assert sum(int(part["deleted"].sum()) for part in parts) == totals.deleted > 0
            assert sum(int(part["at_most"].sum()) for part in parts) == totals.at_most


def test_rates_durations_errors_and_reasons(ledger: Ledger) -> None:
    for minutes in range(20):
        seconds = (minutes + 1) / 10
        error = "left" if minutes == 3 else None
        reason = "deadline" if minutes == 3 else "exhausted"
        operation(ledger, MONDAY, "web", 30, minutes=minutes, seconds=seconds, error=error, reason=reason)
    operation(ledger, MONDAY, "api", 0, deleting=0.0)
    operation(ledger, MONDAY, "app", 5, dry_run=True, reason="dry_run")
    operation(ledger, SUNDAY, "api", 7, reported=False, status="lost", reason="lost")
    assert rows(statistics.rates(ledger), "group", "deleted", "seconds", "per_second") == [
        ("api", 7, 2.0, 3.5),
        ("web", 600, 40.0, 15.0),
    ]
    took = statistics.durations(ledger)
    assert rows(took, "group", "operations", "p50", "p95", "longest") == [
        ("api", 1, 1.0, 1.0, 1.0),
        ("web", 20, 1.0, 1.9, 2.0),
    ]
    assert rows(statistics.error_rate(ledger), "group", "operations", "failed", "share") == [
        ("api", 2, 1, 0.5),
        ("web", 20, 1, 0.05),
    ]
    assert rows(statistics.stop_reasons(ledger, by="all"), "reason", "shards") == [
        ("exhausted", 20),
        ("deadline", 1),
        ("lost", 1),
    ]
    [whole] = rows(statistics.passes(ledger), "pass", "passes", "failed", "p50")
    assert whole == ("sessions", 22, 2, 10.0)


def test_backlog_is_carried_on_and_unknown_where_somebody_knows_nothing(ledger: Ledger) -> None:
    operation(ledger, MONDAY - 3 * DAY, "web", 1, survivors=9)
    operation(ledger, MONDAY + DAY, "web", 1, survivors=70)
    operation(ledger, MONDAY + DAY, "web", 1, survivors=7, minutes=5)
    operation(ledger, MONDAY + 2 * DAY, "api", 1, survivors=5)
    operation(ledger, MONDAY + 3 * DAY, "api", 1, survivors=None, error="nobody could count")
    found = statistics.backlog(ledger, MONDAY, MONDAY + 4 * DAY, by="all")
    assert rows(found, "day", "backlog", "reported") == [
        (MONDAY, 9, False),
        (MONDAY + DAY, 7, True),
        (MONDAY + 2 * DAY, 12, True),
        (MONDAY + 3 * DAY, None, True),
        (MONDAY + 4 * DAY, None, False),
    ]
    one = statistics.backlog(ledger, MONDAY, MONDAY + 4 * DAY)
    assert rows(one[one["group"] == "api"], "day", "backlog") == [
        (MONDAY + 2 * DAY, 5),
        (MONDAY + 3 * DAY, None),
        (MONDAY + 4 * DAY, None),
    ]


def test_a_line_through_the_days_and_when_it_ends(ledger: Ledger) -> None:
    for ago, (web, api, app) in enumerate([(100, 0, 5), (80, 0, 6), (60, 0, 7), (40, 0, 8)]):
        for target, left in (("web", web), ("api", api), ("app", app)):
            operation(ledger, MONDAY + ago * DAY, target, 1, survivors=left)
    for ago in range(2):
        operation(ledger, MONDAY + ago * DAY, "new", 1, survivors=50 - ago)
    found = statistics.forecast(ledger, MONDAY, MONDAY + 3 * DAY)
    assert rows(found, "group", "backlog", "points") == [("api", 0, 4), ("app", 8, 4), ("new", 49, 2), ("web", 40, 4)]
    assert [None if pd.isna(x) else round(x, 6) for x in found["per_day"]] == [0, 1, None, -20]
    assert rows(found, "gone_on") == [(None,), (None,), (None,), (MONDAY + 5 * DAY,)]
    assert found["days_left"].round(6).tolist()[3] == 2


def test_keeping_up(ledger: Ledger) -> None:
    # web: 10 were left before; 30 + 20 removed, 20 are left: 60 expired.
    operation(ledger, MONDAY - DAY, "web", 5, survivors=10)
    operation(ledger, MONDAY, "web", 30, survivors=15)
    operation(ledger, MONDAY + DAY, "web", 20, at_most=26, survivors=20)
    # api: nobody knows what was there before Monday's report; 8 removed since, 2 fewer left: 6 expired.
    operation(ledger, MONDAY, "api", 1000, survivors=4)
    operation(ledger, MONDAY + DAY, "api", 8, survivors=2)
    # app: one report; new: nothing expired.
    operation(ledger, MONDAY, "app", 3, survivors=1)
    operation(ledger, MONDAY - DAY, "new", 3, survivors=0)
    operation(ledger, MONDAY, "new", 0, survivors=0)
    found = statistics.keep_up(ledger, MONDAY, MONDAY + DAY)
    assert rows(found, "group", "counted_from", "deleted", "at_most", "expired", "ratio") == [
        ("api", MONDAY + DAY, 8, 8, 6, 8 / 6),
        ("app", None, None, None, None, None),
        ("new", MONDAY, 0, 0, 0, None),
        ("web", MONDAY, 50, 56, 60, 50 / 60),
    ]
    [whole] = rows(statistics.keep_up(ledger, MONDAY, MONDAY + DAY, by="pass"), "group", "ratio")
    assert whole == ("sessions", None)


def test_the_oldest_survivor_is_the_last_witness_word(ledger: Ledger) -> None:
    seen(ledger, noon(MONDAY), "web", noon(MONDAY, -90))
    seen(ledger, noon(MONDAY, 60), "web", noon(MONDAY, 30))
    seen(ledger, noon(MONDAY, 60), "api", None)
    seen(ledger, noon(MONDAY, 60), "app", None, known=False)
    found = statistics.oldest_survivors(ledger, noon(MONDAY, 61))
    assert rows(found, "target", "age_seconds", "known") == [
        ("api", 0.0, True),
        ("app", None, False),
        ("web", 1800.0, True),
    ]
    assert rows(statistics.oldest_survivors(ledger, noon(MONDAY, 1)), "target", "age_seconds") == [("web", 5400.0)]


FUNCTIONS: list[Callable[..., pd.DataFrame]] = [
    *(statistics.volume, statistics.rates, statistics.durations, statistics.passes, statistics.error_rate),
    *(statistics.stop_reasons, statistics.backlog, statistics.trend, statistics.forecast, statistics.keep_up),
    statistics.oldest_survivors,
]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: str(function.__name__))
def test_columns_are_of_the_types_that_they_are_said_to_be(function: Callable[..., pd.DataFrame]) -> None:
    empty, full = open_ledger("sqlite:///:memory:"), open_ledger("sqlite:///:memory:")
    operation(full, MONDAY, "web", 1)
    seen(full, noon(MONDAY), "web", None)
    said = re.findall(r"^ *\| ([a-z0-9_, ]+) \| ?([A-Za-z0-9\[\], ]*?) ?\|", function.__doc__ or "", re.MULTILINE)
    names = [name for cell, kind in said if cell != "column" for name in cell.split(", ")]
    types = {name: kind for cell, kind in said for name in cell.split(", ") if kind and cell != "column"}
    for ledger in (empty, full):
        frame = function(ledger)
        assert list(frame) == names
        assert {name: str(frame[name].dtype) for name in types} == types
        assert len(frame) == (0 if ledger is empty else len(frame)) and (ledger is empty) == frame.empty
        ledger.close()
