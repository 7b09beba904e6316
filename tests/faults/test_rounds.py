"""Cleaners that meet, are stopped and are killed: three rounds each, or as many as CLEANUP_ROUNDS says.

`make rounds` does fifty and a hundred of them; docs/reliability.md has the figures.
"""

import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cleanup_pipeline.ledger import open_ledger
from cleanup_pipeline.model.lease import Lease
from cleanup_pipeline.settings import load_settings
from cleanup_pipeline.stores.open import open_store
from tests.e2e.support import wait_for
from tests.faults.cleaner import TARGETS, Stores, clean, ledger_url, start, write_settings

ROUNDS = int(os.environ.get("CLEANUP_ROUNDS", "3"))
SEED = int(os.environ.get("CLEANUP_SEED", "20261124"))
EACH = {"web": 400, "keys": 400, "docs": 40}


@pytest.fixture
def stores(postgres_url: str, redis_url: str, mongo_url: str) -> Stores:
    made = Stores(postgres_url, redis_url, f"{mongo_url}&serverMonitoringMode=poll")
    made.create()
    return made


def deleted(report: dict[str, Any]) -> dict[str, int]:
    return {target["target"]: target["deleted"] for target in report["targets"]}


@pytest.mark.timeout(1800)
def test_two_instances_at_the_same_time(stores: Stores, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        write_settings(folder, list(TARGETS))
    skipped = 0
    for number in range(ROUNDS):
        stores.fill(f"r{number}-", EACH)
        cleaners = [start(folder, stores) for folder in folders]
        reports = [cleaner.end() for cleaner in cleaners]
        # Nothing twice, nothing by nobody, and neither is red for the other.
        assert {name: sum(deleted(report)[name] for report in reports) for name in TARGETS} == EACH, f"round {number}"
        assert stores.left() == stores.only_live
        assert {report["status"] for report in reports} <= {"succeeded", "skipped"}, reports
        notes = [t["why"] for report in reports for t in report["targets"] if t["stop_reason"] == "skipped"]
        assert all(note.startswith("held by ") for note in notes)
        skipped += len(notes)
    print(f"{ROUNDS} rounds, {skipped} of {ROUNDS * 6} targets skipped because the other one had them")


@pytest.mark.timeout(3600)
def test_killed_at_any_moment(stores: Stores, tmp_path: Path) -> None:
    chance = random.Random(SEED)
    folder = tmp_path / "one"
    write_settings(folder, list(TARGETS), batch=20, pause="20ms", lease="1s")
    filled = dict.fromkeys(TARGETS, 0)
    longest = 3.0
    for number in range(ROUNDS):
        stores.fill(f"r{number}-", EACH)
        filled = {name: filled[name] + EACH[name] for name in TARGETS}
        victim = start(folder, stores)
        delay = chance.uniform(0.2, longest)
        victim.process.join(delay)
        victim.kill()
        began = time.monotonic()
        while True:
            report = clean(folder, stores)
            if all(target["stop_reason"] == "exhausted" for target in report["targets"]):
                break
            # What the dead one held is free a second later.
            assert time.monotonic() < began + 20, report
        assert stores.left() == stores.only_live, f"round {number}, seed {SEED}, killed after {delay:.2f} s"
        ledger = open_ledger(ledger_url(folder))
        try:
            for name in TARGETS:
                totals = ledger.totals(name)
                assert totals.at_most is not None
                assert totals.deleted <= filled[name] <= totals.at_most, f"{name}, round {number}, seed {SEED}"
            ended = ledger.history(5)
            assert all(row.status is not None and row.ended_at is not None for row in ended), ended
        finally:
            ledger.close()
    ledger = open_ledger(ledger_url(folder))
    unsure = {name: (ledger.totals(name).at_most or 0) - ledger.totals(name).deleted for name in TARGETS}
    lost = sum(1 for row in ledger.history(10_000) if row.reason and row.reason.startswith("lost"))
    ledger.close()
    assert all(unsure[name] <= ROUNDS * 20 * 2 for name in TARGETS)
    print(f"{ROUNDS} rounds, seed {SEED}: {lost} runs lost; the ledger is unsure of {unsure} of {filled}")


def _asleep(sleeper: Any, store: Any, target: Any, left: Callable[[], int]) -> Lease:
    """Stop it for as long as somebody else takes to get its lease."""
    for last in (False, False, True):
        before = left()
        # On a busy machine it may not have gone on since it was stopped before, and would be stopped in the same place.
        wait_for("another batch", lambda before=before: left() < before, 60)
        sleeper.send(signal.SIGSTOP)
        try:
            return wait_for("its lease to run out", lambda: _had(store, target, Lease("other", 0, "somewhere")), 6)
        except AssertionError:
            # Between the end of a batch and the next word of its session PostgreSQL does not count (leases.py).
            if last:
                raise
        sleeper.send(signal.SIGCONT)
    raise AssertionError


@pytest.mark.parametrize("name", list(TARGETS))
@pytest.mark.timeout(180)
def test_one_that_sleeps_longer_than_its_lease_wakes_and_deletes_nothing(
    stores: Stores, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "one"
    # Short pauses and small batches: it is stopped in the middle, wherever that is.
    write_settings(folder, [name], batch=2, pause="20ms", lease="1s")
    stores.fill("x", {name: 300})
    for variable, url in (("POSTGRES", stores.postgres), ("REDIS", stores.redis), ("MONGO", stores.mongo)):
        monkeypatch.setenv(f"CLEANUP_{variable}_URL", url)
    settings = load_settings(folder / "cleanup.yaml")
    [target] = settings.targets_of("sessions")
    store: Any = open_store(settings.stores[target.store])
    sleeper = start(folder, stores)
    try:
        wait_for("the first batches", lambda: stores.left()[name] < 300 + stores.live, 60)
        lease = _asleep(sleeper, store, target, lambda: stores.left()[name])
        left = stores.left()[name]
        assert left > stores.live
        sleeper.send(signal.SIGCONT)
        while sleeper.process.is_alive():
            # The other one holds on to it, as it would while it cleans.
            lease = store.renew(target, lease)
            sleeper.process.join(0.2)
        [report] = sleeper.end()["targets"]
        assert report["stop_reason"] == "lease_lost"
        # The embedded MongoDB is asked for its clock before a deletion, and not in it (docs/decisions/0008): who is
        # stopped in between deletes a batch.
        assert left - stores.left()[name] in ({0, 2} if name == "docs" else {0})
        assert "ran out or was taken away" in report["error"]
        # And when nobody holds it, the next pass finishes.
        store.release(target, lease)
        [report] = clean(folder, stores)["targets"]
        assert (report["stop_reason"], stores.left()[name]) == ("exhausted", stores.live)
    finally:
        sleeper.process.kill()
        store.close()


def _had(store: Any, target: Any, lease: Lease) -> Lease | None:
    answer = store.acquire(replace(target), lease)
    return answer if isinstance(answer, Lease) else None
