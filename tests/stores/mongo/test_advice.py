"""What MongoDB could do alone: the commands that are printed are run as they stand."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cleanup_pipeline.engine.advice import advise
from cleanup_pipeline.model.advice import Advice, Native
from cleanup_pipeline.model.rules import FieldGuard, FieldTest
from cleanup_pipeline.model.words import EpochUnit
from cleanup_pipeline.stores.mongo import MongoStore
from tests.stores.mongo.conftest import Db, make_target

NOW = datetime.now(UTC)
DEAD, ALIVE = NOW - timedelta(days=30), NOW + timedelta(days=1)
WEEK = timedelta(days=7)


def run_all(db: Db, advice: Advice) -> None:
    for way in advice.ways:
        for step in way.steps:
            if step.command.startswith("db.runCommand("):
                db.command(json.loads(step.command.removeprefix("db.runCommand(").removesuffix(")")))


def ttl(db: Db) -> dict[str, Any]:
    found = db["c"].index_information()
    return {name: spec["expireAfterSeconds"] for name, spec in found.items() if "expireAfterSeconds" in spec}


def test_a_ttl_index_as_printed_and_then_it_works(store: MongoStore, db: Db) -> None:
    db["c"].insert_many([{"e": DEAD}, {"e": ALIVE}, {"x": 1}])
    target = make_target(grace=WEEK)
    advice = advise(store, target)
    assert (advice.native, advice.backlog) == (Native.POSSIBLE, 1)
    assert advice.why == (
        "e is a date in 2 of 3 documents looked at",
        "1 of them have none, and the server leaves those for ever, as a pass does",
    )
    assert any("removes all 1 that have expired at once" in line for line in advice.ways[0].loses)
    db["c"].delete_one({"e": DEAD})
    run_all(db, advice)
    assert ttl(db) == {"e_ttl": 7 * 86400}
    advice = advise(store, target)
    assert advice.native is Native.WORKS and "can be an audit" in advice.why[-1] and not advice.ways

    # The target keeps them for another time by now.
    advice = advise(store, make_target(grace=2 * WEEK))
    run_all(db, advice)
    assert (advice.native, ttl(db)) == (Native.POSSIBLE, {"e_ttl": 14 * 86400})


def test_an_index_that_is_there_becomes_one(store: MongoStore, db: Db) -> None:
    db["c"].insert_one({"e": ALIVE})
    db["c"].create_index("e")
    run_all(db, advise(store, make_target(lifetime=timedelta(days=2))))
    assert ttl(db) == {"e_1": 2 * 86400}


def test_guards_become_a_partial_index(store: MongoStore, db: Db) -> None:
    db["c"].insert_one({"e": ALIVE, "kind": 'a"b', "t": "x"})
    target = make_target(where={"kind": 'a"b'}, guards=(FieldGuard("t", FieldTest.EXISTS),))
    run_all(db, advise(store, target))
    [spec] = [each for each in db["c"].index_information().values() if "expireAfterSeconds" in each]
    assert dict(spec["partialFilterExpression"]) == {"kind": {"$eq": 'a"b'}, "t": {"$exists": True}}


@pytest.mark.parametrize(
    ("value", "changes"),
    [
        (int(ALIVE.timestamp()), {"unit": EpochUnit.SECONDS}),
        (int(ALIVE.timestamp() * 1000), {"unit": EpochUnit.MILLISECONDS}),
        (int(ALIVE.timestamp() * 1000), {"or_unit": EpochUnit.MILLISECONDS}),
        (ALIVE.isoformat(), {}),
    ],
    ids=["seconds", "milliseconds", "or milliseconds", "text"],
)
def test_what_is_no_date_has_to_become_one_first(
    store: MongoStore, db: Db, value: Any, changes: dict[str, Any]
) -> None:
    db["c"].insert_many([{"_id": 1, "e": value}, {"_id": 2, "e": "no date"}, {"_id": 3}])
    advice = advise(store, make_target(**changes))
    assert advice.native is Native.CHANGE_FIRST and "passes over anything else" in advice.why[0]
    run_all(db, advice)
    changed = {row["_id"]: row.get("e") for row in db["c"].find()}
    assert abs(changed[1] - ALIVE) < timedelta(seconds=2)
    assert (changed[2], changed[3]) == ("no date", None)


def test_why_it_could_not(store: MongoStore, db: Db) -> None:
    db["c"].insert_one({"a": [{"e": ALIVE}], "e": ALIVE})
    assert "elements of an array" in advise(store, make_target("a.e", pull="a")).why[0]
    assert "fields of a document that stays" in advise(store, make_target(unset=("e",))).why[0]
    guards = (FieldGuard("k", FieldTest.MISSING),)
    assert "guards that the filter" in advise(store, make_target(guards=guards)).why[0]
