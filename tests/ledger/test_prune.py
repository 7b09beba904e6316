"""Retention changes no total: not of a day, a target or a kind, however often and by however many it is done."""

import random
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from threading import Thread

import pytest
from sqlalchemy import insert, select, update

from cleanup_pipeline.ledger import Ledger, Pruned, Totals, pruning
from cleanup_pipeline.ledger.tables import days, passes, shards, targets
from tests.ledger.records import PLAN, REPORT, everything, outcome

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
Deleted = Counter[tuple[date, str, str]]


def fill(ledger: Ledger, seed: int, count: int) -> None:
    """Passes of the last 40 days with whatever can become of them; every fifth pass deletes across midnight."""
    dice = random.Random(seed)
    with ledger.place.writing() as connection:
        for number in range(count):
            began = NOW - timedelta(days=dice.uniform(0, 40))
            ended = began + timedelta(hours=dice.choice([0, 0, 0, 0, 20]), seconds=1)
            run_id, dry_run = f"r{seed}-{number}", dice.random() < 0.1
            status = dice.choice(["succeeded", "succeeded", "partial", "failed", "lost", "skipped"])
            of_pass = {"pass_name": dice.choice(["sessions", "tokens"]), "heartbeat_at": began, "dry_run": dry_run}
            connection.execute(
                insert(passes).values(run_id=run_id, started_at=began, ended_at=ended, status=status, **of_pass)
            )
            for target, kind in (("web", "session"), ("api", "token")):
                belongs = {"run_id": run_id, "target": target, "store": "main", "kind": kind}
                error = "left" if status == "partial" else None
                known = {"dry_run": dry_run, "survivors_known": True, "stop_reason": "exhausted", "error": error}
                connection.execute(insert(targets).values(**belongs, **known, reported_at=ended))
                for shard in range(0 if dry_run else dice.randrange(4)):
                    deleted = dice.randrange(10_000)
                    done = {"deleted": deleted, "scanned": deleted * 2, "batches": 3, "largest_batch": deleted // 3}
                    connection.execute(
                        insert(shards).values(
                            **belongs,
                            **done,
                            shard=shard,
                            started_at=began,
                            ended_at=dice.choice([ended, None]),
                            at_most=deleted + dice.choice([0, 0, 250]),
                            bytes_freed=dice.choice([None, 100]),
                            seconds=dice.choice([0.5, 2.0]),
                            stop_reason=dice.choice(["exhausted", "lost"]),
                            latency_ms=[dice.randrange(9) for _ in range(12)],
                        )
                    )


def by_day(ledger: Ledger) -> dict[str, Deleted]:
    """Per day, target and kind, from shards and days together."""
    found: dict[str, Deleted] = {name: Counter() for name in ("deleted", "at_most", "scanned", "seconds", "latency")}
    with ledger.place.reading() as connection:
        rows = [
            ((row["ended_at"] or row["started_at"]).date(), row)
            for row in connection.execute(select(shards)).mappings()
        ]
        rows += [(row["day"], row) for row in connection.execute(select(days)).mappings() if row["target"]]
    for day, row in rows:
        key = (day, row["target"], row["kind"])
        for name in ("deleted", "at_most", "scanned", "seconds"):
            found[name][key] += row[name]
        found["latency"][key] += sum(row["latency_ms"] or ())
    return {name: +count for name, count in found.items()}


@pytest.mark.parametrize("seed", range(3))
def test_totals_stay_to_the_last_record(ledger: Ledger, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "CHUNK", 7)
    fill(ledger, seed, 60)
    before, totals = by_day(ledger), ledger.totals_by_target()
    assert sum(before["deleted"].values()) == ledger.totals().deleted > 0
    gone = 0
    for keep in (30, 20, 10, 1):
        done = ledger.prune(keep * DAY, NOW)
        gone += done.passes
        assert by_day(ledger) == before and ledger.totals_by_target() == totals
        assert all(row.started_at >= NOW - keep * DAY for row in ledger.history(100))
        once = everything(ledger)
        assert ledger.prune(keep * DAY, NOW) == Pruned(0, 0)
        assert everything(ledger) == once
    assert gone + len(ledger.history(100)) == 60
    # Written again, as by a restored backup of the rows only: it adds up, it does not replace.
    fill(ledger, seed + 100, 10)
    more = ledger.totals()
    ledger.prune(DAY, NOW)
    assert ledger.totals() == more


def test_what_a_day_says(ledger: Ledger) -> None:
    began = datetime(2025, 1, 1, 23, 0, tzinfo=UTC)
    for number, status in enumerate(("succeeded", "partial", "lost")):
        ledger.begin_pass(f"r{number}", "sessions", started_at=began)
        ledger.record_plan(f"r{number}", PLAN)
        ledger.record_shard(f"r{number}", outcome(0, 100 + number))
        ledger.close_pass(f"r{number}", status, ended_at=began + timedelta(seconds=10))
    ledger.record_target("r0", REPORT)
    ledger.begin_pass("dry", "sessions", dry_run=True, started_at=began)
    ledger.close_pass("dry", "dry_run", ended_at=began)
    ended = began + timedelta(hours=2)
    with ledger.place.writing() as connection:
        connection.execute(update(shards).values(ended_at=ended))
        connection.execute(update(targets).where(targets.c.reported_at.is_not(None)).values(reported_at=ended))
    assert ledger.prune(400 * DAY, NOW) == Pruned(4, 3)
    with ledger.place.reading() as connection:
        rows = connection.execute(select(days).order_by(days.c.day, days.c.target)).mappings().all()
    of_pass, of_target, of_shards = rows
    assert (of_pass["day"], of_pass["target"], of_pass["passes"], of_pass["failed"], of_pass["seconds"]) == (
        began.date(),
        "",
        3,
        2,
        30,
    )
    assert (of_target["target"], of_target["passes"], of_target["failed"]) == ("web", 3, 2)
    assert (of_shards["day"], of_shards["shards"], of_shards["deleted"]) == (date(2025, 1, 2), 3, 303)
    assert (of_shards["store"], of_shards["kind"], of_shards["largest_batch"]) == ("main", "session", 102)
    assert of_shards["latency_ms"] == [0, 3, *[0] * 10] and of_shards["seconds"] == 4.5
    # What was last a success is known beyond retention.
    assert ledger.last_success(pass_name="sessions") == began + timedelta(seconds=10)
    assert ledger.last_success(target="web") == ended
    assert ledger.totals(since=datetime(2025, 1, 2, tzinfo=UTC)) == Totals(303, 303)
    assert ledger.totals(since=datetime(2025, 1, 2, 0, 0, 1, tzinfo=UTC)) == Totals(0, 0)


def test_unknown_stays_unknown(ledger: Ledger) -> None:
    ledger.begin_pass("r1", "sessions", started_at=NOW - 9 * DAY)
    ledger.begin_shard("r1", PLAN, 0, at_most=None)
    ledger.close_pass("r1", "lost", ended_at=NOW - 9 * DAY)
    for _ in range(2):
        assert ledger.totals() == ledger.totals("web") == Totals(0, None)
        ledger.prune(DAY, NOW)


def test_who_still_runs_stays(ledger: Ledger) -> None:
    ledger.begin_pass("alive", "sessions", started_at=NOW - 500 * DAY)
    ledger.begin_pass("silent", "sessions", started_at=NOW - 500 * DAY)
    with ledger.place.writing() as connection:
        for run_id, heard in (("alive", NOW - DAY), ("silent", NOW - 450 * DAY)):
            connection.execute(update(passes).where(passes.c.run_id == run_id).values(heartbeat_at=heard))
    assert ledger.prune(400 * DAY, NOW) == Pruned(1, 0)
    assert [row.run_id for row in ledger.history()] == ["alive"]
    for keep in (timedelta(0), -DAY):
        with pytest.raises(ValueError, match="keep must be above zero"):
            ledger.prune(keep)


def test_two_that_prune_at_the_same_time(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "CHUNK", 3)
    fill(ledger, 9, 60)
    before, done = by_day(ledger), []
    threads = [Thread(target=lambda: done.append(ledger.prune(DAY, NOW))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert by_day(ledger) == before
    assert sum(part.passes for part in done) + len(ledger.history(100)) == 60
    assert all(row.started_at >= NOW - DAY for row in ledger.history(100))
