"""Each brake on a real store and a real ledger: it holds its case and nothing else, and is let go by its own word."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pymongo
import pytest
from sqlalchemy import select, update

from cleanup_pipeline.engine.brakes import History, Look, judge_brakes
from cleanup_pipeline.engine.looks import look_of
from cleanup_pipeline.engine.scan import scan
from cleanup_pipeline.ledger import Ledger, open_ledger
from cleanup_pipeline.ledger.judging import judged
from cleanup_pipeline.ledger.tables import brakes, looks
from cleanup_pipeline.model.brake import Brake, BrakeName, BrakeSettings, Release
from cleanup_pipeline.model.outcome import TargetReport
from cleanup_pipeline.model.rules import ColumnExpiry
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.target import CollectionSource, FieldExpiry, TableSource, Target
from cleanup_pipeline.model.window import Window
from cleanup_pipeline.model.words import EpochUnit, Mode, StopReason, StoreType
from cleanup_pipeline.stores.base import Store
from cleanup_pipeline.stores.open import open_store

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
WEB = Target(
    name="web",
    store="main",
    store_type=StoreType.POSTGRES,
    pass_name="sessions",
    kind="session",
    source=TableSource("web"),
    expiry=ColumnExpiry("expires_at"),
    mode=Mode.DELETE,
    brakes=BrakeSettings(unusual_from=200),
)
EPOCHS = replace(WEB, expiry=ColumnExpiry("expires_at", unit=EpochUnit.SECONDS))


@dataclass
class Cleaner:
    """Passes over a target, as the ops of a run do them, but for the deleting itself."""

    ledger: Ledger
    store: Store
    passes: int = 0

    def held(self, target: Target, *, dry_run: bool = False, window: Window | None = None) -> set[str]:
        """What holds the next pass; if nothing does, it deletes and ends green."""
        self.passes += 1
        run_id, now = f"run{self.passes}", datetime.now(UTC)
        plan = scan(self.store, target, dry_run=dry_run, window=window)
        look = look_of(plan, {})
        found = judged(lambda question: question(self.ledger), target, plan, look, now)
        if dry_run:
            return {brake.name for brake in found.plan.brakes}
        self.ledger.brakes.saw(run_id, look, target.name, found.found, found.unjudged, now)
        if not found.plan.braked:
            self.ledger.brakes.went_ahead(run_id, target.name, plan.rule, look, now)
            self.green(run_id)
        return {brake.name for brake in found.plan.brakes}

    def green(self, run_id: str) -> None:
        report = TargetReport("web", "main", StoreType.POSTGRES, "session", "x", StopReason.EXHAUSTED, survivors=0)
        self.ledger.record_target(run_id, report)

    def past(self, passes: int, expired: int, *, every: timedelta = HOUR, live: int = 1000) -> None:
        """Green passes, the last of which was an interval ago."""
        now = datetime.now(UTC)
        for number in range(passes, 0, -1):
            at = now - number * every
            self.ledger.brakes.went_ahead(f"past{number}", "web", "", Look(at, expired, live, 0, 0), at)
            self.green(f"past{number}")

    def let_go(self, *, once: bool = False) -> set[str]:
        held = self.ledger.brakes.release("web", "ann@host", once=once, now=datetime.now(UTC))
        return {each.brake.name for each in held}


@pytest.fixture
def url(tmp_path: Path) -> str:
    """One kind of ledger will do for what stores say; the statements themselves are tested on both, below."""
    return f"sqlite:///{tmp_path / 'ledger.db'}"


@pytest.fixture
def db(postgres_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE web (id serial, expires_at timestamptz)")
        connection.execute("CREATE INDEX ON web (expires_at)")
        yield connection


@pytest.fixture
def cleaner(ledger: Ledger, postgres_url: str) -> Iterator[Cleaner]:
    store = open_store(StoreConfig("main", StoreType.POSTGRES, postgres_url))
    yield Cleaner(ledger, store)
    store.close()


def insert(db: psycopg.Connection[Any], count: int, ends: str, step: str = "1 second") -> None:
    """`count` records, that end at now() + `ends` and then each `step` later."""
    db.execute(
        "INSERT INTO web (expires_at) SELECT now() + %s::interval + n * %s::interval FROM generate_series(1, %s) n",
        (ends, step, count),
    )


def clean(db: psycopg.Connection[Any]) -> None:
    db.execute("DELETE FROM web WHERE expires_at < now()")


def test_far_more_than_ever(db: psycopg.Connection[Any], cleaner: Cleaner) -> None:
    cleaner.past(30, expired=20)
    insert(db, 2000, "-2 hours")
    assert cleaner.held(WEB, dry_run=True) == {"unusual"}
    assert cleaner.ledger.brakes.held() == []
    assert cleaner.held(WEB) == {"unusual"}
    [first] = cleaner.ledger.brakes.held()
    insert(db, 400, "-2 hours")
    assert cleaner.held(WEB) == {"unusual"}
    [again] = cleaner.ledger.brakes.held("web")
    assert again.id == first.id, "a quarter more is still the same"
    assert cleaner.let_go() == {"unusual"}
    assert cleaner.held(WEB) == set()


def test_a_word_covers_what_was_seen_and_no_more(db: psycopg.Connection[Any], cleaner: Cleaner) -> None:
    cleaner.past(30, expired=20)
    assert cleaner.let_go() == set(), "nothing is braked, so nothing can be let go in advance"
    insert(db, 2000, "-2 hours")
    assert cleaner.held(WEB) == {"unusual"}
    cleaner.let_go()
    insert(db, 1000, "-2 hours")
    assert cleaner.held(WEB) == {"unusual"}, "half as many more"
    assert cleaner.let_go(once=True) == {"unusual"}
    assert cleaner.held(WEB) == set()
    assert cleaner.held(WEB) == {"unusual"}, "once is once, and one odd pass is not the measure of the next"
    cleaner.let_go()
    with cleaner.ledger.place.writing() as connection:
        connection.execute(update(brakes).values(released_until=datetime.now(UTC) - HOUR))
    before = {each.id for each in cleaner.ledger.brakes.held()}
    assert cleaner.held(WEB) == {"unusual"}, "it was let go for a day"
    assert before.isdisjoint(each.id for each in cleaner.ledger.brakes.held()), "and is told of again"


def test_waiting_is_no_way_out(db: psycopg.Connection[Any], cleaner: Cleaner) -> None:
    cleaner.past(30, expired=20)
    insert(db, 2000, "-2 hours")
    assert cleaner.held(WEB) == {"unusual"}
    # A month later, in which 20 an hour would have come to more than that.
    _shift(cleaner.ledger, 30 * DAY)
    assert cleaner.held(WEB) == {"unusual"}
    clean(db)
    assert cleaner.held(WEB) == set()
    assert cleaner.ledger.brakes.held() == []


def test_a_backlog_after_downtime_is_not_unusual(db: psycopg.Connection[Any], cleaner: Cleaner) -> None:
    cleaner.past(30, expired=20)
    _shift(cleaner.ledger, 14 * DAY)
    insert(db, 5000, "-13 days", "3 minutes")
    assert cleaner.held(WEB) == set()


def test_a_first_pass_and_a_small_table_are_not_unusual(db: psycopg.Connection[Any], cleaner: Cleaner) -> None:
    insert(db, 5000, "-30 days")
    assert cleaner.held(WEB) == set()
    clean(db)
    cleaner.past(30, expired=1)
    insert(db, 190, "-2 hours")
    assert cleaner.held(WEB) == set()


def test_a_window_or_a_count_that_is_cut_short_is_no_way_round(db: psycopg.Connection[Any], cleaner: Cleaner) -> None:
    cleaner.past(30, expired=20)
    insert(db, 2000, "-2 hours")
    assert cleaner.held(WEB) == {"unusual"}
    now = datetime.now(UTC)
    assert cleaner.held(WEB, window=Window(now - 3 * HOUR, now, open_below=False)) == {"unusual"}
    insert(db, 100_000, "30 days", "1 millisecond")
    assert cleaner.held(replace(WEB, census_timeout=timedelta(milliseconds=1))) == {"unusual"}
    cleaner.let_go()
    assert cleaner.held(WEB, window=Window(now - 3 * HOUR, now, open_below=False)) == set()


def test_a_live_table_from_a_backup(db: psycopg.Connection[Any], cleaner: Cleaner) -> None:
    insert(db, 500, "1 minute", "5 minutes")
    insert(db, 9, "30 days")
    insert(db, 10, "-1 minute")
    assert cleaner.held(WEB) == set()
    clean(db)
    db.execute("DELETE FROM web WHERE id IN (SELECT id FROM web ORDER BY expires_at DESC LIMIT 9)")
    assert cleaner.held(WEB) == set(), "some of the newest logged out"
    db.execute("UPDATE web SET expires_at = expires_at - interval '20 hours'")
    assert cleaner.held(WEB) == {"restored"}
    [held] = cleaner.ledger.brakes.held()
    assert held.brake.what.startswith("the newest records expire 21h earlier")
    # It is not forgotten with time, only when new records come.
    _shift(cleaner.ledger, 30 * DAY, looked=True)
    assert cleaner.held(WEB) == {"restored"}
    cleaner.let_go(once=True)
    assert cleaner.held(WEB) == set()
    assert cleaner.held(WEB) == set(), "once let go, that is what later ones are compared with"
    insert(db, 20, "2 days")
    assert cleaner.held(WEB) == set()
    # Nobody wrote anything for a day: nothing is older than it was.
    db.execute("UPDATE web SET expires_at = expires_at")
    assert cleaner.held(WEB) == set()


def insert_epochs(db: psycopg.Connection[Any], count: int, ends: str, per_second: str = "1") -> None:
    db.execute(
        "INSERT INTO web (expires_at) SELECT (extract(epoch FROM now() + %s::interval) * %s::numeric)::bigint"
        " FROM generate_series(1, %s)",
        (ends, per_second, count),
    )


@pytest.fixture
def numbers(db: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
    db.execute("ALTER TABLE web ALTER expires_at TYPE bigint USING extract(epoch FROM expires_at)::bigint")
    return db


def test_another_unit(numbers: psycopg.Connection[Any], cleaner: Cleaner) -> None:
    insert_epochs(numbers, 1000, "1 day")
    insert_epochs(numbers, 60, "1 day", "0.0166")
    assert cleaner.held(EPOCHS) == set()
    # Minutes instead of seconds read as 1970.
    insert_epochs(numbers, 300, "1 day", "0.0166")
    assert cleaner.held(EPOCHS) == {"changed"}
    [held] = cleaner.ledger.brakes.held()
    assert held.brake.what.startswith("26% of the expiries cannot be read or cannot be right, and it was 6% last time")
    insert_epochs(numbers, 1000, "1 day", "0.0166")
    assert cleaner.held(EPOCHS) == {"changed", "unreadable"}
    assert cleaner.let_go() == {"changed", "unreadable"}
    assert cleaner.held(EPOCHS) == set()
    assert cleaner.held(EPOCHS) == set()


def test_another_type(numbers: psycopg.Connection[Any], cleaner: Cleaner) -> None:
    insert_epochs(numbers, 10, "1 day")
    assert cleaner.held(EPOCHS) == set()
    numbers.execute("ALTER TABLE web ALTER expires_at TYPE text")
    assert cleaner.held(EPOCHS) == {"changed"}
    assert cleaner.held(replace(EPOCHS, brakes=BrakeSettings(changed=False))) == set()


def test_the_type_and_the_newest_of_a_collection(ledger: Ledger, mongo_url: str) -> None:
    store = open_store(StoreConfig("main", StoreType.MONGO, mongo_url))
    target = replace(WEB, store_type=StoreType.MONGO, source=CollectionSource("web"), expiry=FieldExpiry("expires_at"))
    cleaner, now = Cleaner(ledger, store), datetime.now(UTC)
    with pymongo.MongoClient[Any](mongo_url) as client:
        web = client.get_default_database().web
        web.create_index("expires_at")
        web.insert_many([{"expires_at": now + n * timedelta(minutes=5)} for n in range(1, 501)])
        assert cleaner.held(target) == set()
        web.delete_many({"expires_at": {"$gt": now + DAY}})
        assert cleaner.held(target) == {"restored"}
        cleaner.let_go()
        web.update_many({}, [{"$set": {"expires_at": {"$toLong": "$expires_at"}}}])
        assert cleaner.held(target) == {"changed", "unreadable"}
        whats = " ".join(each.brake.what for each in ledger.brakes.held())
        assert "the expiry was date when it was last cleaned, and is number now" in whats
    store.close()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_what_a_ledger_keeps(kind: str, url: str, postgres_url: str) -> None:
    ledger = open_ledger(url if kind == "sqlite" else postgres_url)
    now = datetime.now(UTC)
    look = Look(now, expired=5, live=7, without_expiry=1, unparsable=2, newest=now + DAY, shape="date")
    ledger.brakes.went_ahead("run1", "web", "rule", look, now - HOUR)
    ledger.brakes.went_ahead("run1", "web", "rule", look, now)
    ledger.brakes.went_ahead("run2", "web", "rule", replace(look, windowed=True), now)
    history = ledger.brakes.history("web", "rule")
    assert (history.recent, history.green, history.braked_at) == ((look,), (), None)
    assert ledger.brakes.history("web", "another rule").recent == ()
    assert ledger.brakes.history("app", "rule").recent == ()
    unusual = Brake(BrakeName.UNUSUAL, "much", "look", figures={"expired": 100.0})
    restored = Brake(BrakeName.RESTORED, "old", about="it", figures={})
    first = ledger.brakes.saw("run3", look, "web", (unusual, restored), (), now)
    assert [held.brake for held in first] == [restored, unusual]
    [kept, changed] = ledger.brakes.saw("run4", look, "web", (unusual, replace(restored, about="other")), (), now)
    assert (changed.id, changed.run_id) == (first[1].id, "run3")
    assert kept.id != first[0].id
    assert ledger.brakes.history("web", "rule").braked_at == now
    assert ledger.brakes.saw("run5", look, "web", (), {"unusual"}, now) == [replace(changed, seen_at=now)]
    [held] = ledger.brakes.release("web", "ann@host", once=True, now=now)
    assert held.release == Release(unusual, "ann@host", now + DAY, True)
    assert ledger.brakes.release("web", "eve@host", once=False, now=now) == []
    ledger.brakes.went_ahead("run6", "web", "rule", look, now)
    assert ledger.brakes.held() == []
    assert ledger.prune(DAY, now + 3 * DAY).watched == 5
    ledger.close()


def test_weekends_and_first_days() -> None:
    """Two weeks, hourly: 40 an hour by night and at weekends, 900 by day."""
    monday = datetime(2026, 11, 2, tzinfo=UTC)
    hours = [monday + n * HOUR for n in range(24 * 14)]
    found = [900 if at.weekday() < 5 and 8 <= at.hour < 18 else 40 for at in hours]
    settings = BrakeSettings(unusual_from=200)
    for n, at in enumerate(hours):
        green = [Look(when, count, 20_000) for when, count in zip(hours[:n], found[:n], strict=True)][::-1]
        assert judge_brakes(Look(at, found[n], 20_000), History(tuple(green)), settings) == (), at


def _shift(ledger: Ledger, back: timedelta, *, looked: bool = False) -> None:
    """As if the passes on record, and what held them, had been so much earlier."""
    with ledger.place.writing() as connection:
        for table in (looks, brakes):
            for row in connection.execute(select(table)).mappings().all():
                values = {} if looked else {"cutoff": row["cutoff"] - back}
                if table is looks:
                    values["looked_at"] = row["looked_at"] - back
                if values:
                    same = [column == row[column.name] for column in table.primary_key.columns]
                    connection.execute(update(table).where(*same).values(values))
