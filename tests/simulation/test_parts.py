"""What a simulation is made of: arrivals, contention, costs, and what passes tell of them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cleanup_pipeline.ledger.seen import SeenPass
from cleanup_pipeline.model.pace import Pace
from cleanup_pipeline.model.target import ColumnExpiry, HashFieldExpiry, KeySource, TableSource, Target
from cleanup_pipeline.model.words import Mode, StoreType
from cleanup_pipeline.simulation.arrivals import Backlog, Curve
from cleanup_pipeline.simulation.coming import coming_of
from cleanup_pipeline.simulation.contention import Demand, at_work, speedup_at, stretch_of
from cleanup_pipeline.simulation.costs import LOOKS, MEASURED, OWN, SHARD, STEPS, costs_of, executor_of
from cleanup_pipeline.simulation.fitting import fitted
from cleanup_pipeline.simulation.scenario import DAY, FLAT, HOUR, Batching, Cost, Executor, Kind, Way
from tests.simulation.conftest import target

NOW = datetime(2026, 11, 20, tzinfo=UTC)
SHAPES = st.lists(st.floats(0.01, 100), min_size=24, max_size=24)


@settings(max_examples=40, deadline=None)
@given(SHAPES, st.floats(0, DAY - 1), st.floats(0, 10 * DAY))
def test_what_came_by_then_leads_back_to_then(shape: list[float], start: float, at: float) -> None:
    curve = Curve(shape, start)
    assert curve.when(curve.sum(at)) == pytest.approx(at, abs=0.01)


@settings(max_examples=40, deadline=None)
@given(SHAPES, st.floats(0, DAY - 1))
def test_a_day_brings_a_days_worth(shape: list[float], start: float) -> None:
    assert Curve(shape, start).sum(DAY) == pytest.approx(DAY)


def test_more_comes_in_busy_hours() -> None:
    curve = Curve([3.0, *[1.0] * 21, 0.0, 0.0], 22 * HOUR)
    assert curve.sum(2 * HOUR) == 0
    assert curve.sum(3 * HOUR) == pytest.approx(3 * HOUR)
    assert curve.sum(4 * HOUR) - curve.sum(3 * HOUR) == pytest.approx(HOUR)


def test_a_backlog_ages_until_it_is_gone() -> None:
    model = target(backlog=1000, oldest=500.0, rate=2.0)
    backlog = Backlog(model, Curve(FLAT, 0.0))
    assert (backlog.due(0.0), backlog.age(0.0)) == (1000, 500)
    backlog.take(500)
    assert backlog.age(100.0) == pytest.approx(100 + 250)
    backlog.take(600)
    assert backlog.due(100.0) == pytest.approx(100)
    assert backlog.age(100.0) == pytest.approx(50)
    backlog.take(100)
    assert (backlog.due(100.0), backlog.age(100.0)) == (0, 0)


def test_work_is_kept_when_a_store_is_saturated() -> None:
    curve = ((1.0, 1.0), (2.0, 1.5))
    demands = {Demand(0.01, 0.0, 0.0): 3, Demand(0.002, 0.001, 1.0): 2}
    stretch = stretch_of(curve, demands)
    work = sum(count * each.latency / (each.latency * stretch * (1 + each.share) + each.rest)
               for each, count in demands.items())  # fmt: skip
    assert work == pytest.approx(1.5)
    assert at_work(demands, stretch) / stretch == pytest.approx(1.5)


def test_alone_nobody_is_in_the_way() -> None:
    assert stretch_of(((1.0, 1.0),), {Demand(0.01, 0.0, 0.0): 1}) == 1
    # Two that rest as long as they work.
    assert stretch_of(((1.0, 1.0),), {Demand(0.01, 0.0, 1.0): 2}) == 1
    assert stretch_of(((1.0, 1.0),), {Demand(0.01, 0.0, 0.0): 2}) == pytest.approx(2)
    assert stretch_of(((1.0, 1.0),), {Demand(0.0, 0.01, 0.0): 2}) == 1


def test_between_measured_points_a_line_and_beyond_nothing() -> None:
    curve = ((1.0, 1.0), (2.0, 1.6), (4.0, 2.0))
    assert [speedup_at(curve, at) for at in (0.5, 1, 2, 3, 4, 40)] == pytest.approx([0.5, 1, 1.6, 1.8, 2, 2])


def test_passes_of_unlike_sizes_tell_what_is_fixed() -> None:
    rows = [(n, n * size, 0.0) for n in (20, 200) for size in (50, 250, 1000)]
    took = [0.002 * batches + 1e-6 * records for batches, records, _ in rows]
    fixed, per_record, per_look = fitted(rows, took, (0.0005, 5e-6, 0.0))
    assert fixed == pytest.approx(0.002, rel=0.05)
    assert per_record == pytest.approx(1e-6, rel=0.2)
    assert per_look == 0


def test_passes_that_are_alike_scale_what_was_measured_elsewhere() -> None:
    prior = (0.0006, 1.2e-6, 0.0)
    fixed, per_record, _ = fitted([(280, 70_000, 0.0)] * 3, [3 * 280 * 0.0009] * 3, prior)
    assert fixed / per_record == pytest.approx(prior[0] / prior[1])
    assert 280 * fixed + 70_000 * per_record == pytest.approx(3 * 280 * 0.0009)


def test_nothing_tells_nothing() -> None:
    assert fitted([], [], (0.1, 0.2)) == (0.1, 0.2)
    assert fitted([(1, 1)], [0.0], (0.1, 0.2)) == (0.1, 0.2)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1e4), st.floats(0, 1e6), st.floats(0, 1e4)), min_size=1, max_size=8))
def test_no_cost_is_below_zero(rows: list[tuple[float, float, float]]) -> None:
    assert min(fitted([row[:2] for row in rows], [row[2] for row in rows], (0.001, 1e-6))) >= 0


PG = Target(
    "web", "main", StoreType.POSTGRES, "p", "session", TableSource("web"), ColumnExpiry("e"), mode=Mode.DELETE
)  # fmt: skip
KEYS = Target(
    "keys", "cache", StoreType.REDIS, "p", "session", KeySource("s:*", "hash"), HashFieldExpiry("e"), mode=Mode.DELETE
)  # fmt: skip


def seen(number: int = 0, **more: Any) -> SeenPass:
    began = NOW - timedelta(hours=48 - number)
    plain: dict[str, Any] = {
        "run_id": f"r{number}", "target": "web", "strategy": "index_walk", "pass_started": began,
        "pass_ended": began + timedelta(seconds=20), "cutoff": began, "planned_at": began, "expired_found": 1000,
        "survivors": 0, "oldest_expired": None, "records_before": 100_000, "bytes_before": 35_000_000, "seconds": 2.0,
        "shards": 1, "failed": 0, "deleted": 1000, "scanned": 1000, "batches": 4, "deleting": 0.5, "paused": 0.1,
        "waited": 0.0,
    }  # fmt: skip
    return SeenPass(**{**plain, **more})


def took(of: Batching, batches: int, removed: int, shards: int = 1) -> dict[str, Any]:
    """What a pass with these batches writes down, by the very model that is to be found."""
    size = removed / batches
    latency = of.cost.seconds(size, size)
    rests = batches - shards
    paused = rests * (of.pause * size / 1000 + of.pace.pause_share * latency)
    deleting = batches * (latency + of.own) + paused + shards * SHARD
    return {"batches": batches, "deleted": removed, "shards": shards, "paused": paused, "deleting": deleting}


def test_the_ledger_tells_batches_from_what_the_cleaner_does_itself() -> None:
    of = Batching(Cost(0.002, 4e-6), own=0.0008)
    runs = [seen(n, **took(of, batches, batches * 250)) for n, batches in enumerate((40, 400, 4000))]
    costs = costs_of(PG, runs)
    assert costs.passes == 3
    assert costs.batch is not None
    assert costs.batch.seconds(250, 250) == pytest.approx(0.003, rel=0.01)
    assert costs.own == pytest.approx(0.0008, rel=0.05)
    assert costs.way is Way.WALK


def test_pauses_that_tell_nothing_leave_the_whole_what_it_was() -> None:
    of = Batching(Cost(0.002, 4e-6), own=0.0005, pace=Pace(pause_share=0.0))
    runs = [seen(n, **took(of, batches, batches * 250)) for n, batches in enumerate((400, 4000))]
    costs = costs_of(replace(PG, pace=of.pace), runs)
    assert costs.batch is not None
    assert costs.batch.seconds(250, 250) + costs.own == pytest.approx(0.0035, rel=0.02)


def test_without_passes_costs_are_those_measured_elsewhere() -> None:
    costs = costs_of(PG, [])
    assert (costs.batch, costs.own, costs.shard) == (MEASURED[StoreType.POSTGRES, Way.WALK], OWN, SHARD)
    assert costs.passes == 0
    few = [seen(deleted=10, failed=0), seen(1, failed=1, deleted=100_000)]
    assert costs_of(PG, few).passes == 0
    assert costs_of(replace(PG, store_type=StoreType.MONGO), []).batch is None
    assert costs_of(KEYS, []).way is Way.SWEEP


def test_counting_costs_what_looking_took_besides_deleting() -> None:
    runs = [seen(n, records_before=size, seconds=0.5 + 0.1 + size * 3e-6) for n, size in enumerate((10_000, 1_000_000))]
    costs = costs_of(PG, runs)
    assert costs.look_fixed + costs.look_per_record * 1_000_000 == pytest.approx(3.1, rel=0.05)
    assert LOOKS[StoreType.POSTGRES][1] != costs.look_per_record


def test_runs_tell_what_a_step_costs() -> None:
    looks = {"web": (0.0, 0.0)}
    runs = [
        seen(n, shards=shards, seconds=2.0, pass_ended=NOW - timedelta(hours=48 - n) + timedelta(seconds=took))
        for n, (shards, took) in enumerate(((1, 2 + 1 + 5 * 0.2), (46, 2 + 1 + 50 * 0.2)))
    ]
    executor = executor_of(Kind.IN_PROCESS, 1, runs, looks)
    assert executor.run_seconds + 5 * executor.step_seconds == pytest.approx(2.0, rel=0.05)
    assert executor.step_seconds == pytest.approx(0.2, rel=0.05)
    assert executor_of(Kind.CELERY, 4, runs, looks) == Executor(Kind.CELERY, 4, step_seconds=STEPS[Kind.CELERY][0])


def test_what_fell_due_is_what_was_found_less_what_was_left() -> None:
    runs = [seen(n, expired_found=3600 + 100, survivors=100) for n in range(5)]
    coming = coming_of(runs, NOW - timedelta(hours=44 - 1))
    assert coming.rate == pytest.approx(1.0)
    assert coming.curve == FLAT, "four hours are no day"
    assert coming.backlog == pytest.approx(100 + 3600)
    assert coming.records == 100_000 - 3700


def test_a_day_on_record_gives_its_shape() -> None:
    def found(number: int) -> int:
        return 7200 if (NOW - timedelta(hours=48 - number + 1)).hour < 12 else 3600

    runs = [seen(number, expired_found=found(number)) for number in range(48)]
    coming = coming_of(runs, NOW)
    assert coming.rate == pytest.approx(1.5, rel=0.01)
    assert coming.curve[3] == pytest.approx(4 / 3, rel=0.01)
    assert coming.curve[20] == pytest.approx(2 / 3, rel=0.01)


def test_unknown_is_not_nothing() -> None:
    assert coming_of([], NOW).rate is None
    assert coming_of([], NOW).backlog is None
    runs = [seen(n, expired_found=None, survivors=None) for n in range(3)]
    coming = coming_of(runs, NOW)
    assert coming.rate is None
    assert coming.backlog is None
