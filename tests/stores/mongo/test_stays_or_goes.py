"""(value of the expiry field) -> stays or goes, document by document, for every BSON type."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import Int64, ObjectId, Timestamp

from cleanup_pipeline.model.words import EpochUnit
from cleanup_pipeline.stores.mongo import MongoStore
from tests.stores.mongo.conftest import Clean, Db, make_target

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
MISSING = object()

DATES: dict[str, Any] = {
    "gone: yesterday": NOW - DAY,
    "gone: years ago": NOW - 3000 * DAY,
    "gone: as early as is plausible": datetime(2001, 9, 9, 2, tzinfo=UTC),
    "stays: seconds read as milliseconds": datetime(1970, 1, 20, tzinfo=UTC),
    "stays: tomorrow": NOW + DAY,
    "stays: year 9999": datetime(9999, 1, 1, tzinfo=UTC),
    "stays: epoch zero": datetime(1970, 1, 1, tzinfo=UTC),
    "stays: Go's zero time": datetime(1, 1, 1, tzinfo=UTC),
    "stays: null": None,
    "stays: missing": MISSING,
    "stays: string": "2020-01-01T00:00:00Z",
    "stays: int": 1_600_000_000,
    "stays: long": Int64(1_600_000_000_000),
    "stays: double": 1.6e9,
    "stays: bool": True,
    "stays: array of dead dates": [NOW - DAY],
    "stays: subdocument": {"at": NOW - DAY},
    "stays: timestamp": Timestamp(1_600_000_000, 1),
    "stays: object id": ObjectId(),
}
SECONDS: dict[str, Any] = {
    "gone: int": int((NOW - DAY).timestamp()),
    "gone: long": Int64((NOW - DAY).timestamp()),
    "gone: double": (NOW - DAY).timestamp(),
    "stays: int": int((NOW + DAY).timestamp()),
    "stays: Long.MAX means never": Int64(2**63 - 1),
    "stays: zero": 0,
    "stays: negative": -1,
    "stays: a lifetime": 3600,
    "stays: not a number": float("nan"),
    "stays: infinity": float("inf"),
    "stays: null": None,
    "stays: missing": MISSING,
    "stays: digits in a string": "1600000000",
    "stays: date": NOW - DAY,
    "stays: array": [1_600_000_000],
}


def fill(db: Db, values: dict[str, Any]) -> None:
    db.c.insert_many([{"_id": name} | ({} if value is MISSING else {"e": value}) for name, value in values.items()])


@pytest.mark.parametrize("index", [False, True], ids=["id sweep", "index walk"])
@pytest.mark.parametrize(
    ("unit", "values"), [(None, DATES), (EpochUnit.SECONDS, SECONDS)], ids=["dates", "epoch seconds"]
)
def test_each_document(
    db: Db, store: MongoStore, clean: Clean, unit: EpochUnit | None, values: dict[str, Any], index: bool
) -> None:
    fill(db, values)
    if index:
        db.c.create_index("e")
    report = clean(store, make_target(unit=unit))
    left = {document["_id"] for document in db.c.find()}
    assert left == {name for name in values if name.startswith("stays")}
    assert report.strategy == ("index_walk" if index else "id_sweep")
    gone = len(values) - len(left)
    assert (report.expired_found, report.deleted, report.survivors) == (gone, gone, 0)
    assert report.kept_live is not None and report.without_expiry is not None and report.unparsable is not None
    assert report.kept_live + report.without_expiry + report.unparsable == len(left)


def test_states_are_told_apart(db: Db, store: MongoStore) -> None:
    fill(db, DATES)
    census = store.census(make_target(), NOW, timedelta(seconds=10))
    assert (census.live, census.expired, census.without_expiry, census.unparsable) == (2, 3, 4, 10)
    assert census.oldest_expired == datetime(2001, 9, 9, 2, tzinfo=UTC)


def test_milliseconds_are_not_seconds(db: Db, store: MongoStore, clean: Clean) -> None:
    fill(db, {"gone": Int64((NOW - DAY).timestamp() * 1000), "stays": Int64((NOW + DAY).timestamp() * 1000)})
    clean(store, make_target(unit=EpochUnit.MILLISECONDS))
    assert [d["_id"] for d in db.c.find()] == ["stays"]


def test_a_token_in_an_array_never_costs_the_user(db: Db, store: MongoStore, clean: Clean) -> None:
    db.c.insert_many(
        [
            {"_id": "stays: user with tokens", "tokens": [{"e": NOW - DAY}, {"e": NOW + DAY}]},
            {"_id": "gone", "tokens": {"e": NOW - DAY}},
        ]
    )
    report = clean(store, make_target("tokens.e"))
    assert [d["_id"] for d in db.c.find()] == ["stays: user with tokens"]
    assert (report.deleted, report.unparsable) == (1, 1)


def test_live_devices_with_a_zero_date(db: Db, store: MongoStore, clean: Clean) -> None:
    """Go writes its zero time for "not detached": a rule on the date alone would take every live device."""
    zero = datetime(1, 1, 1, tzinfo=UTC)
    db.user_devices.insert_many(
        [
            {"_id": "gone: detached", "detached": True, "detached_at": NOW - DAY},
            {"_id": "stays: live", "detached": False, "detached_at": zero},
            {"_id": "stays: detached, date lost", "detached": True, "detached_at": zero},
            {"_id": "stays: back again", "detached": False, "detached_at": NOW - DAY},
        ]
    )
    report = clean(store, make_target("detached_at", "user_devices", where={"detached": True}))
    assert {d["_id"] for d in db.user_devices.find()} == {
        "stays: live",
        "stays: detached, date lost",
        "stays: back again",
    }
    assert (report.deleted, report.without_expiry) == (1, 1)


def test_grace_keeps_what_died_lately(db: Db, store: MongoStore, clean: Clean) -> None:
    fill(db, {"gone": NOW - 2 * DAY, "stays": NOW - DAY / 2})
    clean(store, make_target(grace=DAY))
    assert [d["_id"] for d in db.c.find()] == ["stays"]


def test_documents_of_another_application_stay(db: Db, store: MongoStore, clean: Clean) -> None:
    db.c.insert_many(
        [{"_id": "gone", "refresh_token": "x", "e": NOW - DAY}, {"_id": "stays: no token", "e": NOW - DAY}]
    )
    report = clean(store, make_target(required=("refresh_token",)))
    assert [d["_id"] for d in db.c.find()] == ["stays: no token"]
    assert (report.deleted, report.survivors, report.scanned) == (1, 0, 1)
