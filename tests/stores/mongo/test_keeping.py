"""Documents are kept before they go, go only while they are what was kept, and come back byte for byte."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import bson
import pytest
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo.errors import AutoReconnect

from cleanup_pipeline.engine.scan import scan
from cleanup_pipeline.model.plan import Shard
from cleanup_pipeline.model.removed import Fate, Lot, Removed
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.stores.base import StoreError
from cleanup_pipeline.stores.mongo import MongoStore, keeping
from tests.stores.handing import Memory
from tests.stores.mongo.conftest import Clean, Db, make_target

DEAD = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def filled(db: Db) -> Db:
    """Thirty dead documents of every kind of value, and a live one."""
    db.c.insert_many(
        [
            {
                "_id": n if n % 2 else {"a": n},
                "e": DEAD + timedelta(hours=n),
                "owner": f"user {n % 4}" if n % 5 else None,
                "z": bson.Int64(n),
                "f": n / 3,
                "d": bson.Decimal128("1.50"),
                "b": bson.Binary(bytes(range(n))),
                "list": [1, [2, {"x": None}], "ä"],
                "a": {"$odd": 1, "r": bson.Regex("a+", "i"), "t": bson.Timestamp(3, 4)},
            }
            for n in range(30)
        ]
        + [{"_id": "live", "e": datetime.now(UTC) + timedelta(days=1)}]
    )
    return db


def raw(db: Db) -> list[bytes]:
    as_sent: CodecOptions[Any] = CodecOptions(document_class=RawBSONDocument)
    return sorted(bytes(document.raw) for document in db.c.with_options(codec_options=as_sent).find({}))


def by_id(db: Db) -> dict[str, Any]:
    return {str(document["_id"]): document for document in db.c.find({})}


def told(memory: Memory, **changes: Any) -> Target:
    return make_target(handover=memory, owner="owner", **changes)


@pytest.mark.parametrize("index", [True, False])
def test_documents_come_back_byte_for_byte(filled: Db, store: MongoStore, clean: Clean, index: bool) -> None:
    if index:
        filled.c.create_index("e")
    before, memory = raw(filled), Memory()
    report = clean(store, told(memory), size=7)
    assert (report.deleted, report.survivors, len(raw(filled))) == (30, 0, 1)
    assert {r.owner for r in memory.records} == {b"", *(f"user {n}".encode() for n in range(4))}
    assert min(r.died or 0 for r in memory.records) == int(DEAD.timestamp() * 1000)
    assert memory.back_to(store, told(memory), dry_run=True) == {Fate.RESTORED: 30}
    assert len(raw(filled)) == 1
    assert memory.back_to(store, told(memory)) == {Fate.RESTORED: 30}
    assert raw(filled) == before
    filled.c.delete_one({"_id": 1})
    assert memory.back_to(store, told(memory)) == {Fate.EXISTS: 29, Fate.RESTORED: 1}


def test_only_told(filled: Db, store: MongoStore, clean: Clean) -> None:
    memory = Memory(whole=False)
    assert clean(store, told(memory)).deleted == 30
    assert not memory.held
    assert len(memory.names) == 30 and "1" in memory.names
    assert not any(r.body for r in memory.records)


UID = UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")


@pytest.mark.parametrize(
    ("value", "asked_for"),
    [
        (bson.Binary.from_uuid(UID), str(UID)),
        # In which order its bytes stand, only the application knows.
        (bson.Binary(UID.bytes, 3), UID.hex),
        (b"\x00\xff", "00ff"),
        (4711.0, "4711"),
        (-0.0, "0"),
        (float(2**60), str(2**60)),
        (0.1, "0.1"),
        (bson.Int64(175928847299117063), "175928847299117063"),
        (bson.ObjectId("65a1b2c3d4e5f6a7b8c9d0e1"), "65a1b2c3d4e5f6a7b8c9d0e1"),
        ("Zoë 4711.0", "Zoë 4711.0"),
    ],
)
def test_in_which_form_a_document_is_asked_for(
    db: Db, store: MongoStore, clean: Clean, value: Any, asked_for: str
) -> None:
    db.c.insert_one({"_id": value, "e": DEAD, "owner": value})
    memory = Memory(whole=False)
    assert clean(store, told(memory)).deleted == 1
    assert [(r.identifier.decode(), r.owner.decode()) for r in memory.records] == [(asked_for, asked_for)]


@pytest.mark.parametrize("change", ["value", "type", "more", "gone"])
def test_what_changed_meanwhile_stays(filled: Db, store: MongoStore, change: str) -> None:
    changes: dict[str, Any] = {"value": {"f": 9.5}, "type": {"z": "3"}, "more": {"more": None}}

    def meanwhile(_: Lot) -> None:
        if change == "gone":
            filled.c.delete_one({"_id": 3})
        else:
            filled.c.update_one({"_id": 3}, {"$set": changes[change]})

    memory = Memory(meanwhile=meanwhile)
    target = told(memory)
    plan = scan(store, target, dry_run=False)
    batch = store.delete_batch(target, plan.work, plan.work.shards[0], None, 100, plan.cutoff)
    assert batch.deleted == 29
    # A document that somebody else removed cannot be told from one that the batch did, only how many.
    told_of = {which is not None: len(which) for _, which, _ in memory.went if which}
    perhaps = [len(unsure) for _, _, unsure in memory.went if unsure]
    assert (told_of, perhaps) == (({}, [30]) if change == "gone" else ({True: 29}, []))
    assert filled.c.count_documents({"_id": 3}) == (change != "gone")


def test_fields_that_are_unset(filled: Db, store: MongoStore, clean: Clean) -> None:
    before, memory = by_id(filled), Memory()
    target = told(memory, unset=("e", "owner"))
    assert clean(store, target).deleted == 30
    assert filled.c.count_documents({"e": {"$exists": True}}) == 1
    filled.c.update_one({"_id": 1}, {"$set": {"e": DEAD}})
    assert memory.back_to(store, target) == {Fate.RESTORED: 29, Fate.EXISTS: 1}
    filled.c.update_one({"_id": 1}, {"$unset": {"e": ""}})
    assert memory.back_to(store, target) == {Fate.RESTORED: 1, Fate.EXISTS: 29}
    # Fields that come back stand at the end of a document.
    assert by_id(filled) == before


def test_a_date_beyond_every_year_that_python_has_is_read(db: Db, store: MongoStore) -> None:
    """The embedded server holds no such date: what mongod would send of it is read, and asked for again."""
    never = bson.DatetimeMS(2**62)
    body = bson.encode({"_id": 1, "e": DEAD, "owner": never, "never": never})
    document = RawBSONDocument(body, keeping.AS_SENT)
    assert document["_id"] == 1
    batch = store._batch(told(Memory()), Shard(0), {}, 1, datetime.now(UTC))
    removed = keeping.removed(batch, document)
    assert (removed.identifier, removed.owner, removed.body) == (b"1", str(2**62).encode(), body)
    for unset in [], ["e", "never"]:
        form = {"collection": [db.name, "c"], "unset": unset}
        assert store.put_back(told(Memory()), Lot([removed], (form,)), dry_run=True).fates == (
            Fate.LEFT if unset else Fate.RESTORED,
        )


def test_more_comes_back_than_one_command_may_have(db: Db, store: MongoStore) -> None:
    db.c.insert_one({"_id": 2})
    bodies = [bson.encode({"_id": n, "e": DEAD, "big": bytes(13_000_000)}) for n in range(4)]
    form = {"collection": [db.name, "c"], "unset": []}
    lot = Lot([Removed(body=body) for body in bodies], (form,))
    fates = store.put_back(told(Memory()), lot, dry_run=False).fates
    assert fates == (Fate.RESTORED, Fate.RESTORED, Fate.EXISTS, Fate.RESTORED)
    assert [len(document.get("big", b"")) for document in db.c.find({}).sort("_id")] == [13_000_000] * 2 + [
        0,
        13_000_000,
    ]


def test_elements_of_arrays_are_refused_with_the_reason(filled: Db, store: MongoStore) -> None:
    with pytest.raises(StoreError, match="elements of arrays"):
        scan(store, make_target("list.e", pull="list", quarantine=True), dry_run=False)


def test_no_more_is_in_memory_than_may_be(
    db: Db, store: MongoStore, clean: Clean, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "BYTES_A_LOT", 25_000)
    db.c.insert_many([{"_id": n, "e": DEAD, "blob": bytes(10_000)} for n in range(10)])
    before, memory = raw(db), Memory()
    report = clean(store, told(memory), size=1000)
    assert (report.deleted, report.survivors) == (10, 0)
    assert [len(lot.records) for lot in memory.held] == [3, 3, 3, 1]
    assert memory.back_to(store, told(memory)) == {Fate.RESTORED: 10} and raw(db) == before


def test_an_answer_that_is_lost_behind_a_lot_that_went_is_not_taken_for_nothing(
    db: Db, store: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "BYTES_A_LOT", 25_000)
    db.c.insert_many([{"_id": n, "e": DEAD, "blob": bytes(10_000)} for n in range(10)])
    real, memory = keeping._delete, Memory()

    def lost(*args: Any) -> int:
        number = real(*args)
        if len(memory.held) > 1:
            raise AutoReconnect("the connection was lost")
        return number

    monkeypatch.setattr(keeping, "_delete", lost)
    target = told(memory)
    plan = scan(store, target, dry_run=False)
    [shard] = plan.work.shards
    with pytest.raises(StoreError) as fault:
        store.delete_batch(target, plan.work, shard, None, 1000, plan.cutoff)
    # Six went, and whoever asked for ten of them is told that it may have been all.
    assert len(raw(db)) == 4 and fault.value.at_most is None
    assert [(len(which), len(perhaps)) for _, which, perhaps in memory.went] == [(3, 0), (0, 3)]


def test_what_went_before_a_lot_that_could_not_be_kept_is_counted(
    db: Db, store: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "BYTES_A_LOT", 25_000)
    db.c.insert_many([{"_id": n, "e": DEAD, "blob": bytes(10_000)} for n in range(10)])

    def full(_: Lot) -> None:
        if len(memory.held) > 2:
            raise StoreError("the disk is full", setting="targets.c", remedy="make room")

    memory = Memory(meanwhile=full)
    target = told(memory)
    plan = scan(store, target, dry_run=False)
    [shard] = plan.work.shards
    batch = store.delete_batch(target, plan.work, shard, None, 1000, plan.cutoff)
    assert (batch.deleted, len(raw(db))) == (6, 4)
    with pytest.raises(StoreError, match="the disk is full"):
        store.delete_batch(target, plan.work, shard, None, 1000, plan.cutoff)
    assert len(raw(db)) == 4
