"""The report as one HTML file: no network, no script, readable on a phone, in the dark and on paper."""

from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import cast

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from cleanup_pipeline.reporting.report import words
from cleanup_pipeline.reporting.report.charts import backlog_curve, volume_bars
from cleanup_pipeline.reporting.report.document import Report
from cleanup_pipeline.reporting.statistics.figures import Every
from cleanup_pipeline.reporting.words import UNKNOWN, number

_FOLDER = Path(__file__).parent / "templates"


def as_html(report: Report) -> str:
    """The file. Whatever a person named is escaped by the template engine."""
    every = cast("Every", report.every)
    longest = max((group.line.p95_seconds or 0 for group in report.groups), default=0)
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            report=report,
            headline=words.headline(report),
            bars=volume_bars(report, every),
            curve=backlog_curve(report.backlog, report.since, report.until),
            longest=longest or 1,
            days=(report.until - report.since).days + 1,
            shards=sum(report.stop_reasons.values()),
            # Nothing can be fetched or run, whatever might slip through.
            policy="default-src 'none'; style-src 'unsafe-inline'",
        )
    )


def pictures(report: Report) -> dict[str, str]:
    """The charts as SVG images for whoever shows images only, by name; those that there is something to draw of."""
    bars = volume_bars(report, cast("Every", report.every))
    curve = backlog_curve(report.backlog, report.since, report.until)
    template = _environment().get_template("chart.svg.j2")
    found = {}
    if bars:
        title = f"Records removed by {report.every}, by {report.by}"
        found["volume"] = template.render(chart=bars, title=title, names=bars.series, colours=_COLOURS)
    if curve:
        found["backlog"] = template.render(chart=curve, title="Backlog by day", names=(), colours=_COLOURS)
    return found


_COLOURS = ("#1f6fc4", "#d55e00", "#00523f", "#a83a80", "#949189")
"""As in report.css, in the light."""


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=number, percent=words.percent, span=words.span, size=words.size, rate=words.rate, at=_at
    )
    environment.globals.update(removed=words.removed, outlook=words.outlook)
    return environment


def _at(instant: datetime | None) -> str:
    return f"{instant.astimezone(UTC):%Y-%m-%d %H:%M}" if instant else UNKNOWN
