"""What belongs to a target and what does not, and that guards cost no batch its bound."""

from datetime import UTC, datetime, timedelta

import pytest

from cleanup_pipeline.engine.scan import scan
from cleanup_pipeline.model.outcome import Cursor
from cleanup_pipeline.stores.mongo import MongoStore
from tests.stores.mongo.conftest import Clean, Db, make_target

NOW = datetime.now(UTC)
DAY = timedelta(days=1)


@pytest.mark.parametrize("index", [False, True], ids=["id sweep", "index walk"])
def test_equal_is_not_contained(db: Db, store: MongoStore, clean: Clean, index: bool) -> None:
    guards = {
        "gone: equal": {"kind": "reset", "meta": {"used": True}},
        "stays: among others": {"kind": ["reset", "login"], "meta": {"used": True}},
        "stays: within an array": {"kind": "reset", "meta": [{"used": True}]},
        "stays: other case": {"kind": "Reset", "meta": {"used": True}},
        "stays: one is not true": {"kind": "reset", "meta": {"used": 1}},
        "stays: text is not true": {"kind": "reset", "meta": {"used": "true"}},
        "stays: missing": {"kind": "reset"},
    }
    db.c.insert_many([{"_id": name, "e": NOW - DAY} | fields for name, fields in guards.items()])
    if index:
        db.c.create_index("e")
    report = clean(store, make_target(where={"kind": "reset", "meta.used": True}))
    assert {d["_id"] for d in db.c.find()} == {name for name in guards if name.startswith("stays")}
    assert (report.expired_found, report.deleted, report.survivors) == (1, 1, 0)


@pytest.mark.parametrize("index", [False, True], ids=["id sweep", "index walk"])
@pytest.mark.parametrize("same_instant", [False, True])
def test_a_batch_looks_at_a_bounded_number_of_documents(
    db: Db, store: MongoStore, index: bool, same_instant: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """200 dead documents of another kind come first: a batch without a bound would read them all to find one."""
    monkeypatch.setattr("cleanup_pipeline.stores.mongo.batches.WINDOW", 40)
    old = NOW - 300 * DAY
    others = [
        {"_id": n, "kind": "other", "e": old if same_instant else old + n * timedelta(hours=1)} for n in range(200)
    ]
    mine = [{"_id": 1000 + n, "kind": "mine", "e": NOW - DAY + timedelta(minutes=n)} for n in range(30)]
    alive = {"_id": 2000, "kind": "mine", "e": NOW + DAY}
    db.c.insert_many([*others, *mine, alive])
    if index:
        db.c.create_index("e")
    target = make_target(where={"kind": "mine"}, batch_size=10)
    plan = scan(store, target, dry_run=False)
    batches = 0
    empty = 0
    cursor: Cursor | None = None
    while batches == 0 or cursor is not None:
        outcome = store.delete_batch(target, plan.work, plan.work.shards[0], cursor, 10, plan.cutoff)
        assert outcome.deleted <= 10
        cursor, batches, empty = outcome.cursor, batches + 1, empty + (outcome.deleted == 0)
        assert batches < 50
    assert {d["_id"] for d in db.c.find({}, {"_id": 1})} == {d["_id"] for d in [*others, alive]}
    # An instant is never split, so all that died at the same one is looked at in one batch.
    assert empty >= (1 if same_instant and index else 4)


def test_a_batch_that_was_halved_looks_at_half_as_many(db: Db, store: MongoStore) -> None:
    from cleanup_pipeline.stores.mongo.batches import WINDOW, window_of

    assert [window_of(size, 1000) for size in (1000, 500, 1)] == [WINDOW, WINDOW // 2, WINDOW // 1000]
    assert window_of(50, 50) == WINDOW
