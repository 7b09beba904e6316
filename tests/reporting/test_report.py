"""The report in all its forms, of a ledger that is made up."""

import csv
import io
import json
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest

from cleanup_pipeline.ledger import Ledger, open_ledger
from cleanup_pipeline.reporting.report import words
from cleanup_pipeline.reporting.report.build import MOST_FAILURES, build_report
from cleanup_pipeline.reporting.report.charts import backlog_curve, short, volume_bars
from cleanup_pipeline.reporting.report.document import Report
from cleanup_pipeline.reporting.report.page import as_html, pictures
from cleanup_pipeline.reporting.report.text import as_csv, as_json, as_markdown, document
from cleanup_pipeline.reporting.statistics import BY, By, Every
from tests.reporting.example import fill
from tests.reporting.rows import MONDAY, operation
from tests.unit.test_json_doc import table

NOW = datetime(2026, 11, 24, 20, 30, tzinfo=UTC)
DAY = timedelta(days=1)
HOSTILE = "<script>alert(1)</script>\"'&`|[x](javascript:1)\x1b[31m"


@pytest.fixture(scope="module")
def example() -> Iterator[Ledger]:
    ledger = open_ledger("sqlite:///:memory:")
    fill(ledger, NOW)
    yield ledger
    ledger.close()


@pytest.fixture(scope="module")
def report(example: Ledger) -> Report:
    return build_report(example, NOW.date() - 29 * DAY, NOW.date(), now=NOW)


def test_its_figures_are_those_of_the_ledger(example: Ledger, report: Report) -> None:
    totals = example.totals()
    assert (report.total.line.deleted, report.total.line.at_most) == (totals.deleted, totals.at_most)
    assert sum(group.line.deleted for group in report.groups) == totals.deleted
    assert sum(line.deleted for line in report.periods) == totals.deleted
    assert report.total.line.failed == sum(line.failed for line in report.periods) > MOST_FAILURES
    assert len(report.failures) == MOST_FAILURES and report.failures[0].at > report.failures[-1].at
    states = {target.target: target for target in report.targets}
    assert (states["refresh_tokens"].state, states["refresh_tokens"].survivors) == ("failed", 2140)
    assert states["verify_email"].state == "clean"
    assert report.oldest_survivor_seconds == timedelta(hours=5, minutes=12).total_seconds()
    assert report.total.outlook.backlog == 2140
    assert len(report.backlog) == 30


@pytest.mark.parametrize("by", [by for by in BY if by != "all"])
@pytest.mark.parametrize("every", ["day", "week", "month"])
def test_every_grouping_adds_up(example: Ledger, by: By, every: Every) -> None:
    one = build_report(example, NOW.date() - 29 * DAY, NOW.date(), by=by, every=every, now=NOW)
    assert sum(line.deleted for line in one.periods) == example.totals().deleted
    bars = volume_bars(one, every)
    assert bars is not None and len(bars.series) <= 5
    for part in bars.segments:
        assert part.x >= 0 and part.y >= -1e-9 and part.x + part.width <= 100.001 and part.y + part.height <= 100.001
    assert str(one.periods[0].group) in as_html(one)


def test_bars_are_as_high_as_what_was_removed(report: Report) -> None:
    bars = volume_bars(report, "day")
    assert bars is not None and bars.unsure and bars.series[-1] == "others"
    sure = [part for part in bars.segments if part.series is not None]
    [unsure] = [part for part in bars.segments if part.series is None]
    scale = sum(part.height for part in sure) / report.total.line.deleted
    assert unsure.height == pytest.approx(16_000 * scale)
    for place, name in enumerate(bars.series[:-1]):
        of = next(group.line.deleted for group in report.groups if group.line.group == name)
        assert sum(part.height for part in sure if part.series == place) == pytest.approx(of * scale)
    curve = backlog_curve(report.backlog, report.since, report.until)
    assert curve is not None and sum(len(piece) for piece in curve.pieces) == 30
    assert [short(value) for value in (0, 0.5, 999, 1500, 2_000_000)] == ["0", "0.5", "999", "1.5k", "2M"]


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.names: list[str] = []
        self.values: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.names += [name for name, _ in attrs]
        self.values += [value or "" for _, value in attrs]


def read(text: str) -> _Page:
    page = _Page()
    page.feed(text)
    return page


def test_the_page_fetches_and_runs_nothing(report: Report) -> None:
    text = as_html(report)
    page = read(text)
    assert not {"script", "link", "img", "iframe", "object", "base", "a", "form"} & set(page.tags)
    assert not {name for name in page.names if name.startswith("on") or name in {"src", "href", "action", "xlink:href"}}
    assert "://" not in re.sub(r"sqlite:///\S*", "", text) and "url(" not in text and "@import" not in text
    assert (
        "default-src 'none'; style-src 'unsafe-inline'" in page.values
        and 'name="viewport"' in text
        and "prefers-color-scheme: dark" in text
    )
    assert page.tags.count("title") > 2 and page.tags.count("desc") == 2


def test_whatever_people_name_is_escaped(tmp_path: Path) -> None:
    ledger = open_ledger("sqlite:///:memory:")
    for ago in range(3):
        operation(ledger, MONDAY - ago * DAY, HOSTILE, 5, error=HOSTILE, survivors=9 + ago, pass_name=HOSTILE)
    one = build_report(ledger, MONDAY - 3 * DAY, MONDAY)
    page = read(as_html(one))
    assert "script" not in page.tags and not any(name.startswith("on") for name in page.names)
    assert as_html(one).count("&lt;script&gt;") > 5
    for svg in pictures(one).values():
        assert ("<script" not in svg and "&lt;script" in svg) or "Backlog" in svg
    text = as_markdown(one)
    assert "<script" not in text and "](javascript" not in text.replace("\\](", "")
    assert next(csv.DictReader(io.StringIO(as_csv(one))))["group"] == HOSTILE
    assert json.loads(as_json(one))["groups"][0]["group"] == HOSTILE
    ledger.close()


def test_a_name_that_a_spreadsheet_would_calculate(tmp_path: Path) -> None:
    ledger = open_ledger("sqlite:///:memory:")
    operation(ledger, MONDAY, "=1+1", 5)
    assert "'=1+1" in as_csv(build_report(ledger, MONDAY, MONDAY))
    ledger.close()


def test_csv_is_one_tidy_table(report: Report) -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv(report))))
    assert len(rows) == len(report.periods) == 30 * 6
    assert sum(int(row["deleted"]) for row in rows) == report.total.line.deleted
    assert rows[0]["period"] == str(report.since) and rows[0]["bytes_freed"] == ""


def test_every_field_of_the_json_is_documented_and_every_row_is_a_field(report: Report) -> None:
    found = document(report)
    heads = {
        "The report": set(found),
        "The total": set(found["total"]),
        "A group": set(found["groups"][0]) - set(found["total"]),
        "A period": set(found["periods"][0]) - set(found["total"]),
        "A day of the backlog": set(found["backlog"][0]),
        "A target of the report": set(found["targets"][0]),
        "A pass of the report": set(found["passes"][0]),
        "A failure": set(found["failures"][0]),
    }
    for head, names in heads.items():
        assert {name for name, cells in table(head).items() if len(cells) == 3} == names, head
    read_back = json.loads(as_json(report))
    types = {"string": str, "instant": str, "day": str, "integer": int, "number": (int, float), "array": list}
    for head, value in (("The report", read_back), ("The total", read_back["total"])):
        for name, cells in table(head).items():
            kind = cells[0].split(",")[0]
            if value[name] is None:
                assert not cells[2].startswith("never"), name
            elif kind in types:
                assert isinstance(value[name], types[kind]), name  # type: ignore[arg-type]


def test_nothing_on_record_is_said_in_every_form() -> None:
    ledger = open_ledger("sqlite:///:memory:")
    one = build_report(ledger, MONDAY, MONDAY)
    assert one.empty and "Nothing is on record" in as_html(one) and "Nothing is on record" in as_markdown(one)
    assert json.loads(as_json(one))["total"]["backlog"] is None
    assert as_csv(one).count("\n") == 1 and pictures(one) == {}
    ledger.close()


def test_what_is_unknown_is_never_shown_as_nothing() -> None:
    ledger = open_ledger("sqlite:///:memory:")
    operation(ledger, MONDAY, "web", 5, at_most=None, survivors=None, error="could not count")
    one = build_report(ledger, MONDAY, MONDAY)
    shown = {name: value for name, value, _ in words.headline(one)}
    assert shown == {
        "removed": "5 or more",
        "operations": "1",
        "failed": "100 %",
        "backlog": "-",
        "oldest survivor": "-",
        "kept up": "-",
    }
    assert "Unknown: no pass counted what it left." in as_html(one)
    ledger.close()


def test_figures_in_words() -> None:
    assert [words.span(s) for s in (0, 0.25, 9.999, 42, 200, 7500, 273_600)] == [
        *("0 s", "0.25 s", "10 s", "42 s", "3 m 20 s", "2 h 5 m", "3 d 4 h")
    ]
    assert [words.percent(x) for x in (None, 0.0, 0.0001, 0.123, 0.99999, 1.0)] == [
        *("-", "0 %", "< 0.1 %", "12.3 %", "> 99.9 %", "100 %")
    ]
    assert [words.size(n) for n in (None, 12, 2048, 3 * 2**20)] == ["-", "12 B", "2.0 KiB", "3.0 MiB"]
    assert words.removed(1200, 1400) == "1,200 to 1,400" and words.removed(7, 7) == "7"
    assert date(2026, 11, 2) == MONDAY
