"""What preflight says about documents, rights and kinds of collection; nothing is read but types of fields."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cleanup_pipeline.model.words import EpochUnit
from cleanup_pipeline.stores.base import StoreError
from cleanup_pipeline.stores.mongo import MongoStore
from cleanup_pipeline.stores.mongo.collection import missing_right
from tests.stores.mongo.conftest import Db, make_target

NOW = datetime.now(UTC)


@pytest.mark.parametrize(
    ("values", "unit", "says"),
    [
        ([NOW, None], None, []),
        ([NOW, "2020-01-01"], None, ["e is string, not a date, in 1 of 2 documents looked at"]),
        ([NOW, 5], None, ["e is int, not a date, in 1 of 2 documents looked at"]),
        ([NOW], EpochUnit.SECONDS, ["e is date, not a number, in 1 of 1 documents looked at"]),
        ([1, 1.5], EpochUnit.SECONDS, []),
        ([None, None], None, ["none of the 2 documents looked at has e"]),
        ([[NOW]], None, ["e is array, not a date, in 1 of 1 documents looked at"]),
        ([], None, []),
    ],
)
def test_types_in_the_sample(
    db: Db, store: MongoStore, values: list[Any], unit: EpochUnit | None, says: list[str]
) -> None:
    db.create_collection("c").create_index("e")
    if values:
        db.c.insert_many([{"e": value} for value in values])
    found = [finding.what for finding in store.preflight(make_target(unit=unit))]
    assert len(found) == len(says)
    assert all(what.startswith(start) for what, start in zip(found, says, strict=True))


def test_only_documents_within_the_guards_are_judged(db: Db, store: MongoStore) -> None:
    db.c.insert_many([{"kind": "other", "e": "text"}, {"kind": "mine", "e": NOW}])
    db.c.create_index("e")
    assert store.preflight(make_target(where={"kind": "mine"})) == []


def test_a_view_is_refused(db: Db, store: MongoStore) -> None:
    db.c.insert_one({"e": NOW})
    db.command("create", "recent", viewOn="c", pipeline=[])
    with pytest.raises(StoreError, match=r"targets\.t\.collection: recent is a view; name the collection that holds"):
        store.preflight(make_target(collection="recent"))


@pytest.mark.parametrize(
    ("resource", "actions", "missing"),
    [
        ({"db": "app", "collection": "c"}, ["find", "remove"], False),
        ({"db": "app", "collection": ""}, ["remove"], False),
        ({"db": "", "collection": ""}, ["remove"], False),
        ({"anyResource": True}, ["remove"], False),
        ({"db": "app", "collection": "c"}, ["find"], True),
        ({"db": "app", "collection": "other"}, ["remove"], True),
        ({"db": "other", "collection": ""}, ["remove"], True),
        ({"cluster": True}, ["remove"], True),
    ],
)
def test_the_right_to_remove(resource: dict[str, Any], actions: list[str], missing: bool) -> None:
    """As mongod lists them for showPrivileges; SecantusDB lists none."""
    assert missing_right("app", "c", [{"resource": resource, "actions": actions}]) is missing


def test_no_list_of_rights_is_not_a_missing_right() -> None:
    assert missing_right("app", "c", []) is False


def test_a_sample_takes_no_longer_than_allowed(db: Db, store: MongoStore, fail: Any) -> None:
    db.c.insert_one({"e": NOW})
    fail(["aggregate"], times=1, errorCode=50)
    with pytest.raises(StoreError, match=r"stores\.docs\.statement_timeout: a command took longer than 30 s"):
        store.preflight(make_target())


def test_counting_that_takes_too_long_is_unknown_not_zero(db: Db, store: MongoStore, fail: Any) -> None:
    db.c.insert_one({"e": NOW - timedelta(days=1)})
    fail(["aggregate"], times=2, errorCode=50)
    census = store.census(make_target(), NOW, timedelta(seconds=5))
    assert (census.expired, census.live, census.exact) == (None, None, False)
    assert store.survivors(make_target(), NOW, timedelta(seconds=5)) is None
    assert store.survivors(make_target(), NOW, timedelta(seconds=5)) == 1
