"""Answers of the removal ledger in words and as JSON, for the command line and the UI alike."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from cleanup_pipeline.keeping.asking import Answer
from cleanup_pipeline.keeping.period import Part, Period
from cleanup_pipeline.keeping.segments import Entry
from cleanup_pipeline.ledger.keepings import Unrecorded
from cleanup_pipeline.model.durations import format_duration
from cleanup_pipeline.model.target import Target


def document(target: Target, answer: Answer, unrecorded: Unrecorded | None) -> dict[str, Any]:
    """The answer as JSON. None: unknown."""
    return {
        "target": target.name,
        "removed": [_entry(entry) for entry in answer.entries],
        "not_searched": list(answer.lost_keys),
        **_known(answer, unrecorded),
    }


def period_document(target: Target, period: Period, unrecorded: Unrecorded | None) -> dict[str, Any]:
    """What was removed around some time as JSON. None: unknown."""
    return {
        "target": target.name,
        "from": period.begin.isoformat(),
        "to": period.end.isoformat(),
        "records": period.records,
        "removed": [_part(part) for part in period.parts],
        **_known(period, unrecorded),
    }


def _known(answer: Answer | Period, unrecorded: Unrecorded | None) -> dict[str, Any]:
    return {
        "known_since": answer.since.isoformat() if answer.since else None,
        "cut_off": [{"run": each.run, "began": each.began.isoformat()} for each in answer.cut_off],
        "without_entry": None
        if unrecorded is None
        else {
            "records": unrecorded.records,
            "from": unrecorded.first.isoformat(),
            "to": unrecorded.last.isoformat(),
        },
    }


def _entry(entry: Entry) -> dict[str, Any]:
    return {
        "at": instant(entry.at).isoformat(),
        "expired": _died(entry.died),
        **_origin(entry.origin),
        "certain": not entry.perhaps,
    }


def _part(part: Part) -> dict[str, Any]:
    return {
        "records": part.records,
        "first": instant(part.first).isoformat(),
        "last": instant(part.last).isoformat(),
        "expired_first": _died(part.died_first),
        "expired_last": _died(part.died_last),
        **_origin(part.origin),
        "uncertain": part.perhaps,
    }


def _died(milliseconds: int | None) -> str | None:
    return None if milliseconds is None else instant(milliseconds / 1000).isoformat()


def _origin(origin: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "pass": origin["pass"],
        "run": origin["run"],
        "kind": origin["kind"],
        "layout": origin["layout"] or None,
        "rule": origin["rule"],
        "cutoff": instant(origin["cutoff"]).isoformat(),
        "grace_seconds": origin["grace"],
        "did": origin["did"],
    }


def lines(entry: Entry) -> list[str]:
    """What became of one record."""
    origin = entry.origin
    at = instant(entry.at)
    did = _did(origin)
    doubt = ", by it or by the application at the same moment" if entry.perhaps else ""
    said = [f"{did} {at:%Y-%m-%d %H:%M:%S} UTC by pass {origin['pass']}, run {origin['run']}{doubt}"]
    if entry.died is not None:
        died = instant(entry.died / 1000)
        late = format_duration(timedelta(seconds=max(0, int((at - died).total_seconds()))))
        said.append(f"  expired  since {died:%Y-%m-%d %H:%M:%S} UTC, {late} before")
    else:
        said.append("  expired  when what it belongs to was gone; it has no time of its own")
    said.append(f"  rule     {rule(origin)}")
    return said


def rule(origin: Mapping[str, Any]) -> str:
    """By what it was removed."""
    grace = f", {format_duration(timedelta(seconds=origin['grace']))} of grace" if origin["grace"] else ""
    by = f"layout {origin['layout']}" if origin["layout"] else f"rule {origin['rule']}"
    return f"{origin['kind']} of {by}{grace}; cutoff {instant(origin['cutoff']):%Y-%m-%d %H:%M:%S} UTC"


def part_lines(part: Part) -> list[str]:
    """What one pass removed around some time."""
    origin = part.origin
    until = "" if part.first == part.last else f" to {instant(part.last):%H:%M:%S}"
    doubt = f", {part.perhaps:,} of them perhaps by the application" if part.perhaps else ""
    when = f"{instant(part.first):%Y-%m-%d %H:%M:%S}{until} UTC"
    said = [f"{part.records:,} {_did(origin)} {when} by pass {origin['pass']}, run {origin['run']}{doubt}"]
    if part.died_first is not None and part.died_last is not None:
        first, last = (f"{instant(died / 1000):%Y-%m-%d %H:%M:%S}" for died in (part.died_first, part.died_last))
        since = f"since {first}" if first == last else f"between {first} and {last}"
        said.append(f"  expired  {since} UTC")
    said.append(f"  rule     {rule(origin)}")
    return said


def span(period: Period) -> str:
    """From when to when it is about."""
    end = f"{period.end:%H:%M:%S}" if period.begin.date() == period.end.date() else f"{period.end:%Y-%m-%d %H:%M:%S}"
    return f"{period.begin:%Y-%m-%d %H:%M:%S} to {end} UTC"


def nothing(what: str, answer: str, since: datetime | None) -> list[str]:
    """That nothing is known of something, and how far back anything would be."""
    if since is None:
        return [f"{what}: {answer}", "its removal ledger is empty"]
    return [f"{what}: {answer}, as far back as {since:%Y-%m-%d %H:%M} UTC"]


def _did(origin: Mapping[str, Any]) -> str:
    return "emptied" if origin["did"] == "emptied" else "removed"


def doubts(
    target: Target, answer: Answer | Period, unrecorded: Unrecorded | None, *, of_hash: bool = False
) -> list[str]:
    """What may be missing from an answer, a line each. `of_hash`: to a hash that was made elsewhere."""
    said = []
    if isinstance(answer, Answer) and answer.lost_keys:
        keys = ", ".join(answer.lost_keys)
        why = "with which the hash was not made; print it again" if of_hash else "which is not in CLEANUP_REMOVAL_KEY"
        said.append(f"! not searched: entries under key {keys}, {why}")
    said += [
        f"! run {each.run} began at {each.began:%Y-%m-%d %H:%M} UTC and is under way or was cut off:"
        " its last entries may be missing"
        for each in answer.cut_off
    ]
    if unrecorded is not None:
        said.append(
            f"! {unrecorded.records:,} records went without an entry between {unrecorded.first:%Y-%m-%d %H:%M}"
            f" and {unrecorded.last:%Y-%m-%d %H:%M} UTC, when it was off"
        )
    if not target.removals:
        said.append(f"! targets.{target.name}.removal_ledger is off now")
    return said


def instant(seconds: float) -> datetime:
    """Of epoch seconds."""
    return datetime.fromtimestamp(seconds, UTC)
