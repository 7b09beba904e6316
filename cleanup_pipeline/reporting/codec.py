"""Plans, outcomes and reports as JSON-like data and back: what Dagster's event log and `--json` carry.

Does not belong here: how a report looks to a person (tables.py).
"""

from typing import Any, TypeVar

from pydantic import TypeAdapter

from cleanup_pipeline.model.outcome import PassReport, ShardOutcome, TargetReport
from cleanup_pipeline.model.outline import Drift
from cleanup_pipeline.model.plan import Plan

T = TypeVar("T", Plan, ShardOutcome, TargetReport, PassReport, Drift)

_adapters: dict[type, TypeAdapter[Any]] = {
    kind: TypeAdapter(kind) for kind in (Plan, ShardOutcome, TargetReport, PassReport, Drift)
}


def dump(value: Plan | ShardOutcome | TargetReport | PassReport | Drift) -> dict[str, Any]:
    """As JSON-like data: instants in ISO 8601, enumerations by value, numbers as numbers."""
    data: dict[str, Any] = _adapters[type(value)].dump_python(value, mode="json")
    return data


def load(kind: type[T], data: Any) -> T:
    """The inverse of `dump`. Raises pydantic.ValidationError for anything else."""
    value: T = _adapters[kind].validate_python(data)
    return value


def pass_document(report: PassReport) -> dict[str, Any]:
    """The documented object of `run --json` (docs/json.md): `pass`, not `pass_name`, and rounded seconds."""
    data = dump(report)
    document: dict[str, Any] = {"pass": data.pop("pass_name")}
    document.update(data)
    document["seconds"] = round(report.seconds, 3)
    for target in document["targets"]:
        for name in ("seconds", "paused_seconds", "waited_seconds", "cpu_seconds"):
            target[name] = None if target[name] is None else round(target[name], 3)
        target["rate"] = None if target["rate"] is None else round(target["rate"], 1)
    return document
