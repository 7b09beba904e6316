"""The kept sums are the sums of all days, whatever happens to the ledger between two readings."""

import random
from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import delete, insert, select, update

from cleanup_pipeline.ledger import DayRow, Ledger
from cleanup_pipeline.ledger.daily import day_row, one_moment, read_days
from cleanup_pipeline.ledger.parts import KEYS, added_up
from cleanup_pipeline.ledger.sums import Key, Sums
from cleanup_pipeline.ledger.tables import passes, seals, shards
from cleanup_pipeline.model.words import StopReason
from tests.ledger.records import PLAN, REPORT, outcome
from tests.ledger.test_prune import DAY, NOW, fill


def kept(ledger: Ledger, sums: Sums, now: datetime) -> dict[Key, DayRow]:
    with ledger.place.reading() as connection:
        one_moment(connection)
        return sums.read(connection, now)


def anew(ledger: Ledger) -> dict[Key, DayRow]:
    """By `Ledger.days`, which keeps nothing."""
    with ledger.place.reading() as connection:
        rows = read_days(connection, None, None)
    parts = []
    for row in rows:
        part = {name: getattr(row, name) for name in row.__dataclass_fields__ if name not in KEYS}
        part["latency_ms"] = row.latency_ms and list(row.latency_ms)
        parts.append(((date.min, row.pass_name, row.target, row.store, row.kind), part))
    return {key[1:]: day_row(key, part) for key, part in added_up(parts).items()}


def rounded(rows: dict[Key, DayRow]) -> dict[Key, dict[str, object]]:
    def plain(value: object) -> object:
        return round(value, 6) if isinstance(value, float) else value or None

    return {
        key: {name: plain(getattr(row, name)) for name in row.__dataclass_fields__ if name != "day"}
        for key, row in rows.items()
    }


@pytest.mark.parametrize("seed", range(2))
def test_whatever_happens(ledger: Ledger, seed: int) -> None:
    dice, sums, now = random.Random(seed), Sums(), NOW
    fill(ledger, seed, 40)
    with ledger.place.writing() as connection:
        # As every write does it.
        connection.execute(update(passes).values(heartbeat_at=passes.c.ended_at))
    assert rounded(kept(ledger, sums, now)) == rounded(anew(ledger))
    with ledger.place.reading() as connection:
        runs = list(connection.execute(select(passes.c.run_id)).scalars())
    running: list[str] = []
    for step in range(25):
        match dice.randrange(8):
            case 0:
                ledger.seal(now)
            case 1:
                ledger.prune(dice.choice([60, 30, 20, 10, 5]) * DAY, now)
            case 2 if runs:
                ledger.record_shard(dice.choice(runs), outcome(dice.randrange(4), 77, stop_reason=StopReason.DEADLINE))
            case 3 if runs:
                run_id = dice.choice(runs)
                ledger.record_target(run_id, REPORT)
                ledger.close_pass(run_id, dice.choice(["failed", "succeeded", "lost"]))
            case 4:
                running.append(f"new{step}")
                runs.append(running[-1])
                ledger.begin_pass(running[-1], "sessions", started_at=now - dice.randrange(30) * DAY)
                ledger.record_plan(running[-1], PLAN)
                ledger.begin_shard(running[-1], PLAN, 0, at_most=100)
            case 5 if running:
                ledger.progress(dice.choice(running), "web", 0, outcome(0, dice.randrange(100)).tally, 200)
            case 6 if running:
                run_id = running.pop(dice.randrange(len(running)))
                ledger.record_shard(run_id, outcome(0, 300))
                ledger.close_pass(run_id, "succeeded")
            case _:
                with ledger.place.writing() as connection:
                    connection.execute(delete(seals).where(seals.c.day == (now - dice.randrange(40) * DAY).date()))
        assert rounded(kept(ledger, sums, now)) == rounded(anew(ledger)), step


def test_old_rows_are_not_read_again(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    really = sums_parts()
    monkeypatch.setattr("cleanup_pipeline.ledger.sums._parts", lambda c, hour: read.append(hour) or really(c, hour))
    now = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)
    with ledger.place.writing() as connection:
        for ago in range(30):
            at = now - timedelta(hours=ago)
            of_pass = {"pass_name": "sessions", "dry_run": False, "status": "succeeded"}
            connection.execute(
                insert(passes).values(run_id=f"r{ago}", started_at=at, ended_at=at, heartbeat_at=at, **of_pass)
            )
            belongs = {"target": "web", "store": "main", "kind": "session", "started_at": at, "ended_at": at}
            connection.execute(insert(shards).values(run_id=f"r{ago}", shard=0, deleted=2, **belongs))
    sums = Sums()
    assert kept(ledger, sums, now)["sessions", "web", "main", "session"].deleted == 60
    assert len(read) == 30
    read.clear()
    kept(ledger, sums, now)
    assert read == ["2026-11-20 11", "2026-11-20 12"]
    read.clear()
    with ledger.place.writing() as connection:
        connection.execute(update(shards).where(shards.c.run_id == "r20").values(deleted=3))
        connection.execute(update(passes).where(passes.c.run_id == "r20").values(heartbeat_at=now - timedelta(hours=3)))
    assert kept(ledger, sums, now)["sessions", "web", "main", "session"].deleted == 61
    assert read == ["2026-11-19 16", "2026-11-20 11", "2026-11-20 12"]


def sums_parts():  # type: ignore[no-untyped-def]
    from cleanup_pipeline.ledger import sums

    return sums._parts
