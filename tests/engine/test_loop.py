"""Why the loop stops, what it steps over, and what it counts, on a real PostgreSQL."""

from dataclasses import replace
from datetime import timedelta

import pytest

from cleanup_pipeline.engine.limits import quota
from cleanup_pipeline.engine.loop import MAX_PARKED
from cleanup_pipeline.model.outcome import Tally
from cleanup_pipeline.model.plan import Shard
from cleanup_pipeline.model.words import StopReason
from cleanup_pipeline.stores.postgres import PostgresStore
from tests.engine.conftest import QUICK, TARGET, Db, fill, ids, run


@pytest.mark.parametrize("index", [True, False], ids=["index walk", "block sweep"])
def test_one_record_that_cannot_go_does_not_keep_the_others(db: Db, store: PostgresStore, index: bool) -> None:
    if index:
        db.execute("CREATE INDEX ON s (expires_at)")
    fill(db, 1000, live=3)
    db.execute("CREATE TABLE child (parent int REFERENCES s)")
    db.execute("INSERT INTO child VALUES (400)")
    db.execute("ANALYZE s")
    [outcome] = run(store)
    assert ids(db) == {400, 1001, 1002, 1003}
    assert (outcome.tally.deleted, outcome.tally.parked, outcome.stop_reason) == (999, 1, StopReason.EXHAUSTED)
    assert outcome.error is not None and outcome.error.startswith("targets.s: 1 record was stepped over: ")
    assert "keep a row from going" in outcome.error
    assert "400" not in outcome.error


def test_more_records_that_cannot_go_than_can_be_stepped_over(db: Db, store: PostgresStore) -> None:
    fill(db, MAX_PARKED + 1)
    db.execute("CREATE TABLE child (parent int REFERENCES s)")
    db.execute("INSERT INTO child SELECT id FROM s")
    [outcome] = run(store)
    assert (outcome.tally.deleted, outcome.tally.parked, outcome.stop_reason) == (0, MAX_PARKED, StopReason.ERROR)
    assert len(ids(db)) == MAX_PARKED + 1


def test_row_limit_is_one_for_all_shards(db: Db, store: PostgresStore) -> None:
    db.execute("DROP TABLE s")
    db.execute("CREATE TABLE s (id int, expires_at timestamptz) PARTITION BY HASH (id)")
    for part in range(3):
        db.execute(f"CREATE TABLE s{part} PARTITION OF s FOR VALUES WITH (MODULUS 3, REMAINDER {part})")
    fill(db, 900)
    outcomes = run(store, replace(QUICK, row_limit=100, batch_size=30), target=replace(TARGET, max_shards=3))
    assert [outcome.stop_reason for outcome in outcomes] == [StopReason.ROW_LIMIT] * 3
    assert [outcome.tally.deleted for outcome in outcomes] == [34, 33, 33]
    assert len(ids(db)) == 800


def test_a_row_limit_smaller_than_the_number_of_shards_leaves_some_without() -> None:
    shards = [Shard(index) for index in range(4)]
    assert [quota(2, shards, shard) for shard in shards] == [1, 1, 0, 0]
    assert quota(None, shards, shards[0]) is None


def test_termination_ends_the_shard_between_two_batches(db: Db, store: PostgresStore) -> None:
    fill(db, 100)
    seen: list[Tally] = []
    [outcome] = run(
        store,
        replace(QUICK, batch_size=10),
        progress=seen.append,
        stop_asked=lambda: StopReason.TERMINATED if len(seen) == 2 else None,
    )
    assert (outcome.stop_reason, outcome.tally.deleted, len(ids(db))) == (StopReason.TERMINATED, 20, 80)
    assert outcome.tally.batches == len(seen) == 2


def test_termination_ends_a_long_pause(db: Db, store: PostgresStore) -> None:
    fill(db, 20)
    asked = iter([None, None, None])
    limits = replace(QUICK, batch_size=10, pause=timedelta(minutes=4))
    [outcome] = run(store, limits, stop_asked=lambda: next(asked, StopReason.TERMINATED))
    assert (outcome.stop_reason, outcome.tally.deleted) == (StopReason.TERMINATED, 10)


def test_the_deadline_ends_a_shard(db: Db, store: PostgresStore) -> None:
    fill(db, 20)
    limits = replace(QUICK, batch_size=10, pause=timedelta(minutes=4), deadline=timedelta(milliseconds=300))
    [outcome] = run(store, limits)
    assert (outcome.stop_reason, outcome.tally.deleted, outcome.note) == (StopReason.DEADLINE, 10, None)


def test_the_cleaners_own_cost_is_in_the_outcome(db: Db, store: PostgresStore) -> None:
    fill(db, 10)
    [outcome] = run(store)
    assert outcome.cpu_seconds is not None and outcome.cpu_seconds > 0
    assert outcome.peak_rss is not None and outcome.peak_rss > 1024 * 1024


def test_tallies_add_up() -> None:
    one = Tally(parked=1, waited_seconds=1.0).slowed_by("veto", 2.0).slowed_by("latency")
    two = Tally().slowed_by("veto", 0.5)
    assert (one + two).slowed == {"veto": 2, "latency": 1}
    assert ((one + two).waited_seconds, (one + two).parked) == (3.5, 1)
