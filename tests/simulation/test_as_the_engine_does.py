"""Batches are sized and spaced by the engine's own governor, and adding them up changes nothing."""

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from cleanup_pipeline.engine import governor, loop
from cleanup_pipeline.engine.governor import Governor, Size
from cleanup_pipeline.model.pace import Pace
from cleanup_pipeline.model.run_window import parse_run_window
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.words import StoreType
from cleanup_pipeline.simulation.rhythm import Rhythm
from cleanup_pipeline.simulation.scenario import (
    Batching,
    Cost,
    Executor,
    Kind,
    PassModel,
    Scenario,
    StoreModel,
    Way,
)
from cleanup_pipeline.simulation.simulate import simulate, simulate_once
from cleanup_pipeline.stores.postgres import open_postgres
from tests.simulation.conftest import batching, scenario, target

CASES = [
    pytest.param(Batching(Cost(0.001, 1e-6)), id="calm"),
    pytest.param(Batching(Cost(0.001, 1e-4), pause=0.0), id="halved and growing"),
    pytest.param(Batching(Cost(0.03, 1e-6), pause=0.0, batch_size=400), id="never fast enough"),
    pytest.param(Batching(Cost(0.001, 2e-4), batch_size=990, pause=0.05), id="pauses and halving"),
    pytest.param(Batching(Cost(0.02, 1e-5), pause=0.0, batch_size=30), id="below the floor"),
    pytest.param(Batching(Cost(0.001, 3e-5), pause=0.0, pace=Pace(pause_share=0.5)), id="near the target"),
]


@pytest.mark.parametrize("of", CASES)
def test_batch_by_batch_as_the_governor_of_a_shard_would(of: Batching) -> None:
    store = open_postgres(StoreConfig("pg", StoreType.POSTGRES, "postgresql://127.0.0.1:1/never_connected_to"))
    real = Governor(store, of.pace, of.batch_size, of.pause)
    rhythm = Rhythm(of, Size(of.batch_size), 1.0, 1.0)
    seconds = removed = 0.0
    for count in range(1, 301):
        size = loop.at_once(real.size, pauses=of.pause > 0)
        latency = of.cost.seconds(size, size)
        part = size / real.size
        real.observe(latency, None)
        seconds += latency + real.pause_after(part)
        removed += size
        found = rhythm.part(count)
        assert found.size.records == real.size
        assert found.seconds == pytest.approx(seconds)
        assert found.removed == pytest.approx(removed)
        assert rhythm.batches_until(seconds - 1e-9) == count


def test_a_change_of_the_governor_is_a_change_of_the_simulation(monkeypatch: pytest.MonkeyPatch) -> None:
    of = Batching(Cost(0.001, 1e-4), pause=0.0)
    slow = scenario(target(of=of, backlog=1e6, timeout=1e6))
    before = simulate_once(slow, "p").batches
    monkeypatch.setattr(governor, "GROWTH", 2)
    # Another value that means nothing to a walk: what was worked out before is not asked again.
    changed = scenario(target(of=replace(of, looks=1.0), backlog=1e6, timeout=1e6))
    assert simulate_once(changed, "p").batches != before


def test_a_change_of_the_loop_is_a_change_of_the_simulation(monkeypatch: pytest.MonkeyPatch) -> None:
    of = Batching(Cost(0.001, 1e-6))
    assert simulate_once(scenario(target(of=of, backlog=10_000)), "p").batches == 40
    monkeypatch.setattr(loop, "SPREAD", 100)
    assert simulate_once(scenario(target(of=replace(of, looks=1.0), backlog=10_000)), "p").batches == 100


def some_scenario(seed: int) -> Scenario:
    """A few targets that get in each other's way."""
    dice = random.Random(seed)
    stores = [StoreModel(name, ((1.0, 1.0), (2.0, dice.uniform(1.0, 2.0)))) for name in ("pg", "other")]
    targets = []
    for number in range(dice.randint(2, 6)):
        pace = Pace(
            latency_target=timedelta(milliseconds=dice.choice([3, 25])),
            pause_share=dice.choice([0.0, 0.5, 1.0]),
            run_window=dice.choice([None, None, parse_run_window("00:20-01:10")]),
        )
        of = batching(
            dice.uniform(0.0005, 0.004),
            dice.uniform(1e-6, 8e-6),
            per_look=dice.uniform(1e-7, 1e-6),
            way=dice.choice(list(Way)),
            pause=dice.choice([0.0, 0.01, 0.2]),
            batch_size=dice.choice([100, 700, 1000]),
            pace=pace,
            own=dice.choice([0.0, 0.0003]),
            scripts=dice.random() < 0.2,
        )
        targets.append(
            target(
                f"t{number}",
                of,
                store=dice.choice(["pg", "other"]),
                records=dice.randrange(50_000),
                backlog=dice.randrange(60_000),
                oldest=dice.uniform(0, 1e5),
                rate=dice.uniform(0, 40),
                shards=dice.randint(1, 3),
                timeout=dice.choice([5.0, 60.0, 300.0]),
                row_limit=dice.choice([None, None, 20_000]),
            )
        )
    executor = Executor(Kind.CELERY, dice.randint(1, 5), 0.5, 0.1, dice.uniform(0.01, 0.4))
    return scenario(
        *targets,
        stores=stores,
        executor=executor,
        passes=[PassModel("p", every=dice.choice([600.0, 1800.0]), retries=dice.randint(0, 1))],
        days=0.08,
        start=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=dice.randrange(120)),
    )


@pytest.mark.parametrize("seed", range(12))
def test_adding_batches_up_gives_what_batch_by_batch_gives(seed: int) -> None:
    given = some_scenario(seed)
    whole, single = simulate(given), simulate(given, one_by_one=True)
    assert (whole.verdict, whole.runs, whole.red, whole.skipped) == (
        single.verdict, single.runs, single.red, single.skipped,
    )  # fmt: skip
    assert whole.removed > 0
    for one, other in zip(whole.targets, single.targets, strict=True):
        assert one.batches == other.batches
        assert one.removed == pytest.approx(other.removed, rel=1e-6)
        assert one.reasons == other.reasons
        assert one.slowest == pytest.approx(other.slowest)
        assert one.gone == (None if other.gone is None else pytest.approx(other.gone, abs=0.001))
        assert one.oldest == pytest.approx(other.oldest, abs=0.001)
    for one, other in zip(whole.stores, single.stores, strict=True):
        assert one.used == pytest.approx(other.used, rel=1e-6)
        assert one.shards == other.shards


def test_the_same_scenario_gives_the_same() -> None:
    assert simulate(some_scenario(3)) == simulate(some_scenario(3))
