"""Reports as JSON, CSV and Markdown."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from datetime import UTC, date, datetime
from typing import Any

from cleanup_pipeline.reporting import markdown
from cleanup_pipeline.reporting.report.document import Group, Line, Report
from cleanup_pipeline.reporting.report.words import headline, outlook, percent, rate, removed, size, span
from cleanup_pipeline.reporting.words import UNKNOWN, number

FORMAT = 1
"""Of the JSON object: goes up when a field changes its name, type or unit; new fields may come without."""


def document(report: Report) -> dict[str, Any]:
    """The JSON object of docs/json.md."""
    return {
        "format": FORMAT,
        "made_at": report.made_at,
        "version": report.version,
        "ledger": report.ledger,
        "since": report.since,
        "until": report.until,
        "time_zone": "UTC",
        "every": report.every,
        "by": report.by,
        "total": {
            **_without(_flat(report.total), "group"),
            "oldest_survivor_seconds": report.oldest_survivor_seconds,
            "oldest_survivor_unknown": report.oldest_survivor_unknown,
        },
        "groups": [_flat(group) for group in report.groups],
        "periods": [asdict(line) for line in report.periods],
        "backlog": [_without(asdict(left), "group") for left in report.backlog],
        "targets": [_named(asdict(target)) for target in report.targets],
        "passes": [_named(asdict(of_pass)) for of_pass in report.passes],
        "stop_reasons": report.stop_reasons,
        "failures": [_named(asdict(failure)) for failure in report.failures],
    }


def as_json(report: Report) -> str:
    """One object, on lines of its own."""
    return json.dumps(document(report), indent=2, default=_instant, ensure_ascii=False) + "\n"


def _flat(group: Group) -> dict[str, Any]:
    ahead = asdict(group.outlook)
    ahead["backlog_per_day"], ahead["backlog_gone_on"] = ahead.pop("per_day"), ahead.pop("gone_on")
    return {**_without(asdict(group.line), "period"), **ahead}


def _named(row: dict[str, Any]) -> dict[str, Any]:
    return {"pass" if name == "pass_name" else name: value for name, value in row.items()}


def _without(row: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != name}


def _instant(value: Any) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(type(value).__name__)


def as_csv(report: Report) -> str:
    """One tidy table: a row a period and group, empty cells for what is unknown."""
    out = io.StringIO()
    names = [field.name for field in fields(Line)]
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([_cell(getattr(line, name)) for name in names] for line in report.periods)
    return out.getvalue()


def _cell(value: Any) -> Any:
    # A spreadsheet takes what begins like this for a formula.
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def as_markdown(report: Report) -> str:
    """For a wiki, an issue, or Dagster's pages."""
    title = f"## Cleanup, {report.since} to {report.until} (UTC days)"
    if report.empty:
        return f"{title}\n\nNothing is on record in this period.\n"
    parts = [title, headline_table(report), f"### By {report.by}", groups_table(report)]
    parts += ["### Targets, as last known", targets_table(report)]
    if report.stop_reasons:
        rows = [(reason, number(count)) for reason, count in report.stop_reasons.items()]
        parts += ["### Why shards ended", _table(("reason", "shards"), rows)]
    if report.failures:
        parts += ["### What went wrong, the newest first", failures_table(report)]
    parts.append(f"Made {report.made_at:%Y-%m-%d %H:%M} UTC by cleanup-pipeline {report.version}.")
    return "\n\n".join(parts) + "\n"


def headline_table(report: Report) -> str:
    """The figures that matter most."""
    return _table(("", "", ""), headline(report))


def groups_table(report: Report) -> str:
    """A line a group."""
    head = (
        report.by,
        "removed",
        "rate",
        "bytes",
        "operations",
        "failed",
        "p50",
        "p95",
        "backlog",
        "outlook",
        "kept up",
    )
    rows = [
        (
            group.line.group,
            removed(group.line.deleted, group.line.at_most),
            rate(group.line.per_second),
            size(group.line.bytes_freed),
            number(group.line.operations),
            percent(group.line.failed_share),
            span(group.line.p50_seconds),
            span(group.line.p95_seconds),
            number(group.outlook.backlog),
            outlook(group.outlook),
            percent(group.outlook.keep_up),
        )
        for group in report.groups
    ]
    return _table(head, rows)


def targets_table(report: Report) -> str:
    """A line a target."""
    head = ("target", "store", "kind", "state", "last success (UTC)", "left", "oldest survivor")
    rows = [
        (
            target.target,
            target.store,
            target.kind,
            target.state,
            f"{target.last_success:%Y-%m-%d %H:%M}" if target.last_success else UNKNOWN,
            number(target.survivors),
            span(target.oldest_survivor_seconds),
        )
        for target in report.targets
    ]
    return _table(head, rows)


def failures_table(report: Report) -> str:
    """A line a target that ended red."""
    rows = [
        (f"{failure.at:%Y-%m-%d %H:%M}", failure.target, failure.run_id[:8], failure.error)
        for failure in report.failures
    ]
    return _table(("when (UTC)", "target", "run", "error"), rows)


_PLAIN = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", **{mark: f"\\{mark}" for mark in "\\`*[]"}})


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    return markdown.table(head, [tuple(cell.translate(_PLAIN) for cell in row) for row in rows])
