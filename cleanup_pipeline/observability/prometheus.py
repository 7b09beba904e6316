"""The metrics of Prometheus, made from a snapshot each time they are asked for. docs/metrics.md says what they mean.

Unknown is no sample. Counters are sums over everything that the ledger has, so they go on where they were whoever ends.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from cleanup_pipeline import __version__
from cleanup_pipeline.ledger import LedgerError
from cleanup_pipeline.ledger.words import LOST, TERMINATED
from cleanup_pipeline.model.histogram import Histogram, at_or_below
from cleanup_pipeline.model.outcome import LATENCY_BUCKETS_MS
from cleanup_pipeline.model.words import PassStatus, StopReason
from cleanup_pipeline.observability.families import Family, ends_a_token, family
from cleanup_pipeline.observability.snapshot import Current, PassFigures, Snapshot, TargetFigures

DURATIONS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""Upper bounds in seconds of what operations are sorted into; all of them are exact (model/histogram.py)."""
LABELS = ("pass", "target", "store", "kind")
STATUSES = (
    *(str(status) for status in PassStatus if status is not PassStatus.DRY_RUN),
    *(TERMINATED, LOST),
)
_NOT_OF_SHARDS = {StopReason.DRY_RUN, StopReason.SKIPPED, StopReason.BRAKED}
STOPS = (*(str(reason) for reason in StopReason if reason not in _NOT_OF_SHARDS), LOST)

Number = int | float
Values = Iterable[tuple[Mapping[str, str], Number | None]]
"""Further labels, and what is so with them; None: unknown."""

_COUNTED: Mapping[str, tuple[str, Sequence[str], Callable[[TargetFigures], Values]]] = {
    "cleanup_sessions_deleted": (
        "Records deleted whose kind belongs to sessions.",
        (),
        lambda target: [({}, target.deleted)] if family(target.kind) is Family.SESSIONS else [],
    ),
    "cleanup_verification_tokens_deleted": (
        "Records deleted whose kind is a verification token.",
        (),
        lambda target: [({}, target.deleted)] if family(target.kind) is Family.VERIFICATION_TOKENS else [],
    ),
    "token_revoked": (
        "Sessions and tokens revoked because they expired.",
        ("reason",),
        lambda target: [({"reason": "expired"}, target.deleted)] if ends_a_token(target.kind) else [],
    ),
    "cleanup_operations": (
        "Operations: cleanings of one target in one pass.",
        ("outcome",),
        lambda target: [
            ({"outcome": "succeeded"}, target.operations - target.failed),
            ({"outcome": "failed"}, target.failed),
        ],
    ),
    "cleanup_errors": ("Operations that failed.", (), lambda target: [({}, target.failed)]),
    "cleanup_expired_found": (
        "Expired records found when passes began, where they were counted exactly.",
        (),
        lambda target: [({}, target.expired_found)],
    ),
    "cleanup_repaired": ("Records repaired rather than deleted.", (), lambda target: [({}, target.repaired)]),
    "cleanup_children_deleted": (
        "Rows of other tables that went with deleted records.",
        (),
        lambda target: [({}, target.children)],
    ),
    "cleanup_freed_bytes": ("Bytes freed, where the store says it.", (), lambda target: [({}, target.bytes_freed)]),
    "cleanup_retries": ("Batches tried again.", (), lambda target: [({}, target.retries)]),
    "cleanup_parked": (
        "Expired records stepped over because they could not be removed even alone.",
        (),
        lambda target: [({}, target.parked)],
    ),
    "cleanup_delete_seconds": (
        "Seconds that delete steps took, pauses included.",
        (),
        lambda target: [({}, target.seconds)],
    ),
    "cleanup_pause_seconds": (
        "Seconds that delete steps rested: `pause` as the settings ask, `governor` held back.",
        ("reason",),
        lambda target: [({"reason": "pause"}, target.paused_seconds), ({"reason": "governor"}, target.waited_seconds)],
    ),
    "cleanup_slowdowns": (
        "Times that the governor shrank or held back batches.",
        ("reason",),
        lambda target: [({"reason": reason}, count) for reason, count in sorted(target.slowed.items())],
    ),
    "cleanup_shards": (
        "Delete steps that ended, by why they stopped.",
        ("stop_reason",),
        lambda target: [
            ({"stop_reason": reason}, target.stops.get(reason, 0)) for reason in sorted({*STOPS, *target.stops})
        ],
    ),
}
"""Counters of targets, without the `_total` that Prometheus puts behind: help, further labels, values."""


def _seconds(at: datetime | None) -> float | None:
    return None if at is None else at.timestamp()


_CURRENT: Mapping[str, tuple[str, Callable[[Current], Number | None]]] = {
    "cleanup_last_success_timestamp_seconds": (
        "When the target was last cleaned without fault.",
        lambda now: _seconds(now.last_success),
    ),
    "cleanup_backlog": ("Expired records that the last report found left.", lambda now: now.backlog),
    "cleanup_backlog_timestamp_seconds": ("When that report was made.", lambda now: _seconds(now.backlog_at)),
    "cleanup_backlog_growth": (
        "The backlog less that of three intervals before.",
        lambda now: now.backlog_growth,
    ),
    "cleanup_survivors": ("Expired records that the witness found left.", lambda now: now.survivors),
    "cleanup_oldest_survivor_age_seconds": (
        "Since when the oldest of them ought to be gone; 0: there is none.",
        lambda now: now.oldest_survivor_age,
    ),
    "cleanup_objective_seconds": ("How old that may become.", lambda now: now.objective_seconds),
    "cleanup_witness_timestamp_seconds": ("When the witness last looked.", lambda now: _seconds(now.checked_at)),
    "cleanup_recent_slowest_operation_seconds": (
        "The longest operation of the last two intervals.",
        lambda now: now.slowest_seconds,
    ),
    "cleanup_recent_delete_seconds": (
        "Seconds that delete steps of the last two intervals took, pauses included.",
        lambda now: now.delete_seconds,
    ),
    "cleanup_recent_wait_seconds": (
        "Of these, seconds that the governor held them back.",
        lambda now: now.wait_seconds,
    ),
    "cleanup_recent_governor_stops": (
        "Delete steps of the last two intervals that the governor ended.",
        lambda now: now.governor_stops,
    ),
    "cleanup_braked": (
        "1: a brake holds the target back and nobody let it go; 0: none does.",
        lambda now: int(now.braked),
    ),
}
"""Gauges of targets that are in the settings: help, value."""

_PASSES: Mapping[str, tuple[str, Callable[[PassFigures], Number | None]]] = {
    "cleanup_pass_interval_seconds": (
        "How often the pass is to run.",
        lambda of: of.every.total_seconds() if of.every else None,
    ),
    "cleanup_pass_enabled": (
        "1: the pass is to delete by itself; 0: it is switched off, or has no target in mode delete.",
        lambda of: int(of.enabled),
    ),
    "cleanup_pass_running": ("Runs of the pass that did not end yet.", lambda of: of.running),
    "cleanup_last_run_timestamp_seconds": (
        "When a run of the pass last ended, however.",
        lambda of: _seconds(of.last_run),
    ),
    "cleanup_pass_last_success_timestamp_seconds": (
        "When a run of the pass last succeeded.",
        lambda of: _seconds(of.last_success),
    ),
}
"""Gauges of passes that are in the settings."""


class LedgerCollector(Collector):
    """What a registry of prometheus_client asks. `read` raises LedgerError when the ledger is away."""

    def __init__(self, read: Callable[[], Snapshot], started_at: datetime | None = None) -> None:
        self._read, self._started_at = read, started_at

    def describe(self) -> list[Metric]:
        """Nothing: registering must not read the ledger."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All metrics as of now; of a ledger that is away only that it is, and never an old number."""
        try:
            snapshot = self._read()
        except LedgerError:
            snapshot = None
        yield GaugeMetricFamily("cleanup_ledger_up", "1: the ledger could be read.", int(snapshot is not None))
        yield InfoMetricFamily("cleanup_build", "Which version exports this.", {"version": __version__})
        if self._started_at is not None:
            yield _gauge("cleanup_exporter_start_timestamp_seconds", "When the exporter started.", self._started_at)
        if snapshot is not None:
            yield from metrics_of(snapshot)


def metrics_of(snapshot: Snapshot) -> Iterator[Metric]:
    """Everything in a snapshot."""
    if snapshot.since is not None:
        yield _gauge(
            "cleanup_ledger_start_timestamp_seconds", "The day of the first pass in the ledger.", snapshot.since
        )
    for name, (text, more, values) in _COUNTED.items():
        counter = CounterMetricFamily(name, text, labels=(*LABELS, *more))
        for target in snapshot.targets:
            for labels, value in values(target):
                if value is not None:
                    counter.add_metric((*target.key, *(labels[label] for label in more)), value)
        yield counter
    yield from _histograms(snapshot.targets)
    for name, (text, of_target) in _CURRENT.items():
        gauge = GaugeMetricFamily(name, text, labels=LABELS)
        for target in snapshot.targets:
            if target.current is not None and (value := of_target(target.current)) is not None:
                gauge.add_metric(target.key, value)
        yield gauge
    yield from _of_passes(snapshot.passes)


def operation_seconds(durations: Histogram) -> float:
    """How long all operations took together, to within a twentieth: the ledger has them in buckets."""
    return sum(count * (bound - _width(bound) / 2) for bound, count in durations.items()) / 1000


def _width(bound: int) -> int:
    width: int = 10 ** max(0, len(str(bound)) - 2)
    return width


def _gauge(name: str, text: str, at: datetime) -> Metric:
    return GaugeMetricFamily(name, text, at.timestamp())


def _histograms(targets: Sequence[TargetFigures]) -> Iterator[Metric]:
    operations = HistogramMetricFamily("cleanup_operation_duration_seconds", "How long operations took.", labels=LABELS)
    batches = HistogramMetricFamily(
        "cleanup_batch_duration_seconds", "How long the store took for a batch.", labels=LABELS
    )
    for target in targets:
        total = sum(target.durations.values())
        buckets = [(str(bound), at_or_below(target.durations, bound)) for bound in DURATIONS]
        operations.add_metric(target.key, [*buckets, ("+Inf", total)], operation_seconds(target.durations))
        counts = target.latency_ms or (0,) * (len(LATENCY_BUCKETS_MS) + 1)
        bounds = [*(str(bound / 1000) for bound in LATENCY_BUCKETS_MS), "+Inf"]
        reached = [(bound, sum(counts[: i + 1])) for i, bound in enumerate(bounds)]
        # Nobody adds up how long batches took, so there is no _sum.
        batches.add_metric(target.key, reached, None)
        batches.add_sample(
            "cleanup_batch_duration_seconds_count", dict(zip(LABELS, target.key, strict=True)), sum(counts)
        )
    yield operations
    yield batches


def _of_passes(passes: Sequence[PassFigures]) -> Iterator[Metric]:
    for name, (text, of_pass) in _PASSES.items():
        gauge = GaugeMetricFamily(name, text, labels=("pass",))
        for each in passes:
            if each.every is not None and (value := of_pass(each)) is not None:
                gauge.add_metric((each.name,), value)
        yield gauge
    runs: Any = CounterMetricFamily(
        "cleanup_pass_runs", "Runs of the pass, by how they ended.", labels=("pass", "status")
    )
    for each in passes:
        for status in sorted({*(STATUSES if each.every is not None else ()), *each.runs}):
            runs.add_metric((each.name, status), each.runs.get(status, 0))
    yield runs
