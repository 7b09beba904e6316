"""The sections of a scenario file, which says what is not there yet (docs/simulate.md, docs/scenario.schema.json)."""

import re
from datetime import timedelta
from itertools import pairwise
from typing import Annotated, Any

from pydantic import Field

from cleanup_pipeline.layouts.field_types import (
    DURATION_SCHEMA,
    Kind,
    Section,
    duration,
    number,
    one_of,
    reads,
    refuse,
    shown_as,
    whole_number,
)
from cleanup_pipeline.model.target import MAX_BATCH
from cleanup_pipeline.settings.pace import GovernorSection, Window

MOST = 10_000
"""Stores or targets that one template makes."""
_EVER = 10**15
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_RATE = re.compile(r"\s*([0-9][0-9_,]*(?:\.[0-9]+)?|\.[0-9]+)\s*/\s*(s|m|h|d)\s*")
_MICROSECOND = timedelta(microseconds=1)


def parse_rate(text: str) -> float:
    """Records a second that "200/s", "1,500/m" or "2.5/h" stands for. Raises ValueError."""
    match = _RATE.fullmatch(text)
    if match is None:
        raise ValueError("not a rate")
    return float(match[1].replace(",", "").replace("_", "")) / _UNITS[match[2]]


def _rate(value: Any) -> float:
    if value == 0 and not isinstance(value, bool):
        return 0.0
    try:
        return parse_rate(value if isinstance(value, str) else "")
    except ValueError:
        raise refuse("records in a time, such as 200/s, 5000/h or 0") from None


def _seconds(value: Any) -> float:
    """A duration that may be shorter than what a timedelta holds: 0.2us."""
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*(ns|us|µs|ms|s)\s*", value) if isinstance(value, str) else None
    if value == 0 and not isinstance(value, bool):
        return 0.0
    if match is None:
        raise refuse("a time such as 0.8ms, 1.5us or 0")
    return float(match[1]) * {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0}[match[2]]


def _shape(value: Any) -> tuple[float, ...]:
    expected = "24 numbers of 0 or more, one for each hour of the UTC day, not all 0"
    if not isinstance(value, list | tuple) or len(value) != 24:
        raise refuse(expected)
    if any(isinstance(each, bool) or not isinstance(each, int | float) or each < 0 for each in value) or not sum(value):
        raise refuse(expected)
    mean = sum(value) / 24
    return tuple(each / mean for each in value)


def _speedup(value: Any) -> tuple[tuple[float, float], ...]:
    expected = "batches at once and how many times the work of one they do, growing, such as {2: 1.6, 4: 2.4}"
    if not isinstance(value, dict):
        raise refuse(expected)
    points = [(1.0, 1.0)]
    for at_once, times in value.items():
        known = str(at_once).strip()
        if not re.fullmatch(r"[0-9]{1,4}", known) or isinstance(times, bool) or not isinstance(times, int | float):
            raise refuse(expected)
        if int(known) == 1 and times == 1:
            continue
        points.append((float(known), float(times)))
    points.sort()
    for (low, slow), (high, fast) in pairwise(points):
        if high <= low or fast < slow or fast > high:
            raise refuse(expected)
    return tuple(points)


_RATE_SCHEMA = {"anyOf": [{"const": 0}, {"type": "string", "pattern": _RATE.pattern.replace("(?:", "(")}]}
_SECONDS_SCHEMA = {"anyOf": [{"const": 0}, {"type": "string", "pattern": r"^\s*[0-9]*\.?[0-9]+\s*(ns|us|µs|ms|s)\s*$"}]}
_SHAPE_SCHEMA = {"type": "array", "items": {"type": "number", "minimum": 0}, "minItems": 24, "maxItems": 24}
_SPEEDUP_SCHEMA = {"type": "object", "additionalProperties": {"type": "number"}}

Rate = Annotated[float, reads(_rate, _RATE_SCHEMA)]
Seconds = Annotated[float, reads(_seconds, _SECONDS_SCHEMA)]
Count = Annotated[int, whole_number(1, MOST)]
Records = Annotated[int, whole_number(0, _EVER)]
_Long = Annotated[timedelta, duration(timedelta(0), timedelta(days=36_500))]


class BatchSection(Section):
    """What one batch takes while nothing else goes on in its store."""

    fixed: Annotated[Seconds, Field(description="Whatever its size: the way there and back, the commit.")]
    per_record: Annotated[Seconds, Field(description="For each record that is removed.")]
    per_look: Annotated[Seconds, Field(description="For each record that a sweep reads and leaves.")] = 0.0


class StoreTemplate(Section):
    """One store, or `count` of them that are alike."""

    type: Annotated[str, one_of("postgres", "redis", "mongo")]
    count: Annotated[Count, Field(description="Stores like this: NAME_1, NAME_2, ...")] = 1
    at_once: Annotated[
        tuple[tuple[float, float], ...] | None,
        reads(_speedup, _SPEEDUP_SCHEMA),
        Field(description="Batches at once: times the work of one. Beyond the last none more."),
    ] = None
    steps: Annotated[
        int | None, whole_number(1, 1000), Field(description="Most delete steps in one store at once.")
    ] = None


class PassTemplate(Section):
    """When targets are cleaned."""

    every: Annotated[timedelta, duration(timedelta(minutes=1), timedelta(days=366), whole_minutes=True)]
    retries: Annotated[int, whole_number(0, 10)] = 2
    retry_after: Annotated[timedelta, duration(timedelta(seconds=1), timedelta(hours=1))] = timedelta(minutes=1)


class ExecutorSection(Section):
    """Who carries out steps, and what a step costs besides deleting."""

    type: Annotated[str, one_of("in_process", "multiprocess", "celery", "k8s")] = "in_process"
    workers: Annotated[
        int, whole_number(1, 10_000), Field(description="Steps at once: of each run, or with celery of all.")
    ] = 1
    start: Annotated[Seconds | None, Field(description="Of a run, before its first step.")] = None
    run: Annotated[Seconds | None, Field(description="Of a run, in bookkeeping.")] = None
    step: Annotated[Seconds | None, Field(description="Of a step, before it does anything.")] = None


class TargetTemplate(Section):
    """One target, or `count` of them that are alike; figures are of each."""

    store: Annotated[str, Field(description="A store; of several like it, targets take turns.")]
    of_pass: Annotated[str, Field(alias="pass", description="The pass that cleans it.")]
    count: Annotated[Count, Field(description="Targets like this: NAME_1, NAME_2, ...")] = 1
    sizes: Annotated[
        float,
        number(0, 5),
        Field(description="How unlike they are: sigma of a log-normal factor (mean 1) on records and arrivals."),
    ] = 0.0
    records: Annotated[Records, Field(description="Live ones.")] = 0
    expired: Annotated[Records, Field(description="The backlog at the beginning.")] = 0
    oldest: Annotated[_Long | None, Field(description="How long the oldest of it has been due.")] = None
    arrivals: Annotated[Rate, Field(description="Records that fall due, such as 200/s, on the mean of a day.")] = 0.0
    day: Annotated[
        tuple[float, ...] | None, reads(_shape, _SHAPE_SCHEMA), Field(description="Their shape over 24 hours, in UTC.")
    ] = None
    strategy: Annotated[
        str | None, one_of("walk", "sweep"), Field(description="By an index, or through everything.")
    ] = None
    batch: Annotated[Any, shown_as(BatchSection | None), Field(description="What a batch costs.")] = None
    count_per_record: Annotated[
        Seconds | None, Field(description="What counting takes for each record that is there.")
    ] = None
    batch_size: Annotated[int, whole_number(1, MAX_BATCH)] = MAX_BATCH
    pause: Annotated[timedelta, duration(timedelta(0), timedelta(minutes=5))] = timedelta(milliseconds=30)
    operation_timeout: Annotated[timedelta, duration(timedelta(milliseconds=1), timedelta(minutes=5))] = timedelta(
        minutes=5
    )
    census_timeout: Annotated[timedelta, duration(timedelta(milliseconds=1), timedelta(minutes=5))] = timedelta(
        seconds=10
    )
    row_limit: Annotated[int | None, whole_number(1, _EVER)] = None
    shards: Annotated[int, whole_number(1, 50)] = 1
    governor: Annotated[Any, shown_as(GovernorSection | None)] = None
    run_window: Window | None = None


class ScenarioFile(Section):
    """An installation of cleanup-pipeline that is not there yet: `cleanup-pipeline simulate FILE`."""

    days: Annotated[float, number(0.1, 3660), Field(description="How long to simulate at most.")] = 7.0
    start: Annotated[
        str | None, Field(description="The instant at which it begins, such as 2026-01-01T00:00Z; now.")
    ] = None
    executor: Annotated[Any, shown_as(ExecutorSection | None)] = None
    stores: Annotated[Any, shown_as(dict[Kind, StoreTemplate])]
    passes: Annotated[Any, shown_as(dict[Kind, PassTemplate])]
    targets: Annotated[Any, shown_as(dict[Kind, TargetTemplate])]


__all__ = ["DURATION_SCHEMA", "ScenarioFile", "TargetTemplate", "parse_rate"]
