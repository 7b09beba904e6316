"""Lifetimes, fields of mixed types, guards on fields and elements, unset, and documents told apart by type."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import Binary, Int64, ObjectId

from cleanup_pipeline.engine.scan import scan
from cleanup_pipeline.model.plan import Shard
from cleanup_pipeline.model.rules import FieldGuard, FieldTest
from cleanup_pipeline.model.words import EpochUnit, Severity
from cleanup_pipeline.stores.base import SourceMissingError, StoreError
from cleanup_pipeline.stores.mongo import MongoStore, batches
from tests.stores.mongo.conftest import Clean, Db, make_target

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)


def ms(instant: datetime) -> int:
    return int(instant.timestamp() * 1000)


def left(db: Db) -> set[Any]:
    return {document["_id"] for document in db.c.find()}


@pytest.mark.parametrize("indexed", [False, True])
def test_a_lifetime_counts_from_the_field(db: Db, store: MongoStore, clean: Clean, indexed: bool) -> None:
    ages: list[tuple[str, Any]] = [
        ("fresh", NOW),
        ("an hour left", NOW - 2 * DAY + HOUR),
        ("dead for an hour", NOW - 2 * DAY - HOUR),
        ("old", NOW - 900 * DAY),
        ("null", None),
        ("text", "2001-01-01"),
        ("to come", NOW + 900 * DAY),
    ]
    db.c.insert_many([{"_id": name, "c": value} for name, value in ages] + [{"_id": "missing"}])
    if indexed:
        db.c.create_index("c")
    target = make_target("c", lifetime=2 * DAY)
    plan = scan(store, target, dry_run=False)
    assert (plan.census.live, plan.census.expired) == (3, 2)
    assert (plan.census.without_expiry, plan.census.unparsable) == (2, 1)
    assert plan.census.oldest_expired == NOW - 898 * DAY
    assert plan.work.strategy == ("index_walk" if indexed else "id_sweep")
    remains = store.remains(target, plan.cutoff, timedelta(seconds=9))
    assert (remains.count, remains.oldest) == (2, NOW - 898 * DAY)
    assert clean(store, target).deleted == 2
    assert left(db) == {"fresh", "an hour left", "null", "text", "to come", "missing"}


def test_a_window_is_about_death_not_about_the_beginning(db: Db, store: MongoStore, clean: Clean) -> None:
    db.c.insert_many([{"_id": days, "c": NOW - days * DAY} for days in (2.5, 5, 9)])
    target = make_target("c", lifetime=2 * DAY, since=NOW - 4 * DAY)
    assert clean(store, target).deleted == 2
    assert left(db) == {9}


def test_a_date_or_a_number_whichever_it_is(db: Db, store: MongoStore, clean: Clean) -> None:
    values: list[tuple[str, Any]] = [
        ("date past", NOW - DAY),
        ("date to come", NOW + DAY),
        ("number past", ms(NOW - 2 * DAY)),
        ("float past", float(ms(NOW - DAY))),
        ("number to come", ms(NOW + DAY)),
        ("seconds", ms(NOW - DAY) // 1000),
        ("zero", 0),
        ("text", str(ms(NOW - DAY))),
        ("array", [NOW - DAY]),
        ("null", None),
    ]
    db.c.insert_many([{"_id": name, "e": value} for name, value in values] + [{"_id": "missing"}])
    db.c.create_index("e", sparse=True)
    target = make_target("e", or_unit=EpochUnit.MILLISECONDS)
    plan = scan(store, target, dry_run=False)
    census = plan.census
    assert (census.live, census.expired, census.without_expiry, census.unparsable) == (2, 3, 3, 3)
    assert census.oldest_expired == NOW - 2 * DAY
    assert store.remains(target, plan.cutoff, timedelta(seconds=9)).oldest == NOW - 2 * DAY
    assert clean(store, target).deleted == 3
    assert left(db) == {"date to come", "number to come", "seconds", "zero", "text", "array", "null", "missing"}


def test_elements_of_mixed_types_are_pulled_and_those_without_stay(db: Db, store: MongoStore, clean: Clean) -> None:
    tokens: list[dict[str, Any]] = [
        {"n": "date", "when": NOW - 9 * DAY},
        {"n": "number", "when": ms(NOW - 9 * DAY)},
        {"n": "fresh date", "when": NOW},
        {"n": "fresh number", "when": ms(NOW)},
        {"n": "personal", "type": "personalAccessToken"},
        {"n": "kept", "type": "kept", "when": NOW - 9 * DAY},
        {"n": "null", "when": None},
    ]
    db.c.insert_many([{"_id": 1, "s": {"t": tokens}}, {"_id": 2, "s": {"t": tokens[:1]}}, {"_id": 3, "s": {}}])
    target = make_target(
        "s.t.when",
        pull="s.t",
        lifetime=2 * DAY,
        or_unit=EpochUnit.MILLISECONDS,
        guards=(FieldGuard("s.t.type", FieldTest.MISSING),),
    )
    plan = scan(store, target, dry_run=False)
    assert (plan.census.expired, plan.census.live, plan.census.without_expiry) == (3, 2, 1)
    assert plan.census.oldest_expired == NOW - 7 * DAY
    report = clean(store, target)
    assert (report.deleted, report.survivors) == (3, 0)
    found = {d["_id"]: [t["n"] for t in d["s"].get("t", ())] for d in db.c.find()}
    assert found == {1: ["fresh date", "fresh number", "personal", "kept", "null"], 2: [], 3: []}


GUARDS: list[tuple[FieldGuard, set[str]]] = [
    (FieldGuard("a.b", FieldTest.IN, ("x", 1)), {"x", "one"}),
    (FieldGuard("a.b", FieldTest.IN, ("x",), or_missing=True), {"x", "without b", "without a"}),
    (FieldGuard("a.b", FieldTest.EXISTS), {"x", "one", "minus", "minus one", "object"}),
    (FieldGuard("a.b", FieldTest.MISSING), {"null", "without b", "without a"}),
    (FieldGuard("a.b", FieldTest.LACKS, ("-",)), {"x"}),
    (FieldGuard("a.b", FieldTest.AT_LEAST, (0,)), {"one"}),
]


@pytest.mark.parametrize(("guard", "goes"), GUARDS, ids=lambda value: getattr(value, "test", ""))
def test_a_guard_keeps_whatever_is_not_as_it_says(
    db: Db, store: MongoStore, clean: Clean, guard: FieldGuard, goes: set[str]
) -> None:
    values: list[tuple[str, Any]] = [
        ("x", "x"),
        ("one", 1),
        ("minus", "PT-1S"),
        ("minus one", -1),
        ("null", None),
        ("array", ["x"]),
        ("empty array", []),
        ("object", {"c": "x"}),
    ]
    documents: list[dict[str, Any]] = [{"_id": name, "a": {"b": value}} for name, value in values]
    documents += [{"_id": "without b", "a": {}}, {"_id": "without a"}, {"_id": "array above", "a": [{"b": "x"}]}]
    db.c.insert_many([document | {"e": NOW - DAY} for document in documents])
    report = clean(store, make_target(guards=(guard,)))
    assert {str(document["_id"]) for document in documents} - left(db) == goes
    assert (report.deleted, report.survivors) == (len(goes), 0)


@pytest.mark.parametrize("indexed", [False, True])
def test_fields_are_unset_and_documents_stay(db: Db, store: MongoStore, clean: Clean, indexed: bool) -> None:
    db.c.insert_many(
        [{"_id": n, "name": "x", "reset": {"token": "t", "e": NOW - DAY}} for n in range(25)]
        + [{"_id": 100, "name": "x", "reset": {"token": "t", "e": NOW + DAY}}, {"_id": 101, "name": "x"}]
    )
    if indexed:
        db.c.create_index("reset.e", sparse=True)
    target = make_target("reset.e", unset=("reset",), batch_size=10)
    report = clean(store, target, size=10)
    assert (report.deleted, report.survivors) == (25, 0)
    assert db.c.count_documents({"name": "x"}) == 27
    assert [document["_id"] for document in db.c.find({"reset": {"$exists": True}})] == [100]


def test_what_was_renewed_meanwhile_keeps_its_fields(db: Db, store: MongoStore) -> None:

    db.c.insert_many([{"_id": n, "r": "t", "e": NOW - DAY} for n in range(3)])
    target = make_target("e", unset=("r", "e"))
    batch = store._batch(target, Shard(0), {}, 10, NOW)
    db.c.update_one({"_id": 1}, {"$set": {"e": NOW + DAY}})
    assert batches._delete(batch, [0, 1, 2]) == 2
    assert db.c.find_one({"_id": 1}) == {"_id": 1, "r": "t", "e": NOW + DAY}


def test_documents_of_another_framework_are_told_apart_by_type(db: Db, store: MongoStore, clean: Clean) -> None:
    """SCS and Flask-Session both call the field `expiration`, in a collection that both call sessions."""
    past = Int64(int((NOW - DAY).timestamp()) * 10**9)
    db.c.insert_many(
        [
            {"_id": "scs", "token": "t", "object": Binary(b"x"), "expiration": past},
            {"_id": "flask", "id": "session:1", "val": Binary(b"x"), "expiration": NOW - DAY},
            {"_id": "text", "token": "t", "object": "x", "expiration": past},
            {"_id": "array", "token": ["t"], "object": Binary(b"x"), "expiration": past},
        ]
    )
    types = (("token", ("string",)), ("object", ("binData",)))
    target = make_target("expiration", unit=EpochUnit.NANOSECONDS, types=types, layout="scs-mongo")
    assert clean(store, target).deleted == 1
    assert left(db) == {"flask", "text", "array"}
    db.c.delete_many({"_id": {"$ne": "flask"}})
    with pytest.raises(SourceMissingError, match="have no object, no token"):
        scan(store, target, dry_run=False)
    db.c.delete_many({})
    db.c.insert_one({"_id": ObjectId(), "token": "t", "object": {"a": 1}, "expiration": past})
    with pytest.raises(SourceMissingError, match="object as object"):
        scan(store, target, dry_run=False)


def test_a_ttl_index_that_should_be_there_and_is_not(db: Db, store: MongoStore) -> None:
    db.c.insert_one({"_id": 1, "e": "2026-01-01T00:00:00Z"})
    target = make_target("e", ttl_index=True)
    assert any("no TTL index on e" in finding.what for finding in store.preflight(target))
    found = [finding.what for finding in store.preflight(target) if finding.severity is Severity.WARNING]
    assert any("e is string, not a date, in 1 of 1" in what for what in found)
    db.c.create_index("e")
    assert any("no TTL index on e" in finding.what for finding in store.preflight(target))
    db.c.drop_indexes()
    db.c.create_index("e", expireAfterSeconds=0)
    assert any("TTL index e_1 removes dates" in finding.what for finding in store.preflight(target))


def test_milliseconds_taken_for_seconds_are_refused(db: Db, store: MongoStore) -> None:
    db.c.insert_many([{"_id": n, "e": Int64(ms(NOW) + n)} for n in range(3)] + [{"_id": 9, "e": None}])
    with pytest.raises(StoreError, match="all 3 records that have an expiry have one after 2100"):
        scan(store, make_target("e", unit=EpochUnit.SECONDS), dry_run=False)
    assert scan(store, make_target("e", unit=EpochUnit.MILLISECONDS), dry_run=False).census.without_expiry == 1
    db.c.insert_one({"_id": 10, "e": int(NOW.timestamp()) + 86_400})
    assert scan(store, make_target("e", unit=EpochUnit.SECONDS), dry_run=False).census.live == 4
