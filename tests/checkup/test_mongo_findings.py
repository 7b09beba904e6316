"""Each finding about MongoDB on a server that provokes it, and on one that does not.

A sharded cluster, a member that is not the primary, replicas that lag, and a login that lacks a right are no part of
what SecantusDB does: what MongoDB's own answers to `hello`, `replSetGetStatus`, `getParameter` and `connectionStatus`
say is read from those answers as its manual gives them.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pymongo
import pytest

from cleanup_pipeline.model.target import CollectionSource, FieldExpiry, Target
from cleanup_pipeline.model.words import Severity, StoreType
from cleanup_pipeline.stores.mongo import checkup
from cleanup_pipeline.stores.mongo.collection import rights_of, standing
from tests.checkup.looking import NOWHERE, WEB, Looked, look

SOON = datetime(2090, 1, 1, tzinfo=UTC)
DOCS = replace(
    WEB,
    store_type=StoreType.MONGO,
    source=CollectionSource("web"),
    expiry=FieldExpiry("expires_at"),
    children_first=False,
)
Web = Any
"""A collection."""


@pytest.fixture
def web(mongo_url: str) -> Iterator[Web]:
    with pymongo.MongoClient[Any](mongo_url) as client:
        collection = client.get_default_database().web
        collection.insert_many([{"expires_at": SOON, "said": "2026-01-01"} for _ in range(20)])
        collection.create_index("expires_at")
        yield collection


def ttl(web: Web, field: str | list[tuple[str, int]], **more: Any) -> None:
    web.create_index(field, expireAfterSeconds=0, name="ttl", **more)


def anew(web: Web, *documents: dict[str, Any]) -> None:
    web.drop()
    web.insert_many(list(documents))


PULLED = replace(DOCS, expiry=FieldExpiry("sessions.until", pull="sessions"))
BY_DOCUMENTS: dict[str, tuple[Callable[[Web], Any], Target]] = {
    "mongo.ttl-works": (lambda web: (web.drop_indexes(), ttl(web, "expires_at")), DOCS),
    "mongo.ttl-does-it": (lambda web: (web.drop_indexes(), ttl(web, "expires_at")), DOCS),
    "mongo.ttl-idle": (lambda web: ttl(web, "said"), DOCS),
    "mongo.ttl-leaves": (lambda web: (web.insert_one({"when": "text"}), anew_mixed(web)), DOCS),
    "mongo.ttl-compound": (lambda web: ttl(web, [("said", 1), ("expires_at", 1)]), DOCS),
    "mongo.ttl-partial": (
        lambda web: ttl(web, "said", partialFilterExpression={"said": {"$exists": True}}),
        DOCS,
    ),
    "mongo.no-expiry-index": (lambda web: web.drop_indexes(), DOCS),
    "mongo.field-missing": (lambda web: anew(web, {"other": 1}), DOCS),
    "mongo.field-type": (lambda web: anew(web, {"expires_at": "2026-01-01"}), DOCS),
    "mongo.ttl-array": (
        lambda web: (anew(web, {"sessions": [{"until": SOON}]}), ttl(web, "sessions.until")),
        PULLED,
    ),
    "mongo.keeping": (
        lambda web: anew(web, {"sessions": [{"until": SOON}]}),
        replace(PULLED, removals=True),
    ),
    "mongo.ttl-absent": (lambda web: None, replace(DOCS, expiry=FieldExpiry("expires_at", ttl_index=True))),
}
ALWAYS = {"mongo.version", "mongo.no-ttl"}
BY_ANSWER = {
    "mongo.members",
    "mongo.members-unknown",
    "mongo.not-primary",
    "mongo.rights",
    "mongo.sharded",
    "mongo.ttl-monitor-off",
}
PROVOKED = {*BY_DOCUMENTS, *ALWAYS, *BY_ANSWER}


def anew_mixed(web: Web) -> None:
    anew(web, {"expires_at": SOON}, {"expires_at": "2026-01-01"})
    ttl(web, "expires_at")


def test_documents_and_a_server_as_they_should_be(web: Web, mongo_url: str) -> None:
    found = look(mongo_url, DOCS)
    assert found.codes - BY_ANSWER == {*ALWAYS, "clock"}
    assert not {each.severity for each in found.findings} - {Severity.INFO}
    assert found.of("mongo.version").what.endswith("replica set secantus")
    assert not ALWAYS & look(NOWHERE).codes
    web.drop_indexes()
    ttl(web, "expires_at")
    assert "mongo.no-ttl" not in look(mongo_url, DOCS).codes


@pytest.mark.parametrize("code", sorted(BY_DOCUMENTS))
def test_provoked(web: Web, mongo_url: str, code: str) -> None:
    provoke, target = BY_DOCUMENTS[code]
    calm = look(mongo_url, DOCS).codes
    provoke(web)
    found = look(mongo_url, target)
    assert code in found.codes - calm


def test_ttl_indexes_that_silently_do_nothing(web: Web, mongo_url: str) -> None:
    ttl(web, "said")
    web.create_index("nothing", expireAfterSeconds=0, name="absent")
    found = {each.what: each for each in look(mongo_url, DOCS).findings if each.code == "mongo.ttl-idle"}
    assert sorted(found) == [
        "TTL index absent silently does nothing: no document looked at has nothing",
        "TTL index ttl silently does nothing: said is no date",
    ]
    assert {each.severity for each in found.values()} == {Severity.WARNING}
    assert found["TTL index ttl silently does nothing: said is no date"].evidence == "20 string"


def test_a_remedy_that_does_what_it_says(web: Web, mongo_url: str) -> None:
    web.drop_indexes()
    remedy = look(mongo_url, DOCS).of("mongo.no-expiry-index").remedy
    assert remedy == 'db.web.createIndex({"expires_at": 1})'
    web.create_index("expires_at")
    assert "mongo.no-expiry-index" not in look(mongo_url, DOCS).codes


def status(*members: tuple[str, float]) -> dict[str, Any]:
    """As mongod answers replSetGetStatus: states, and how many seconds behind."""
    return {"members": [{"stateStr": name, "optimeDate": SOON - timedelta(seconds=lag)} for name, lag in members]}


ANSWERS: list[tuple[str, list[Any], list[Any]]] = [
    (
        "mongo.members",
        [*checkup.members(status(("PRIMARY", 0), ("SECONDARY", 30), ("ARBITER", 0)))],
        [*checkup.members(status(("PRIMARY", 0)))],
    ),
    (
        "mongo.not-primary",
        standing({"isWritablePrimary": False, "secondary": True, "setName": "rs0"}),
        standing({"isWritablePrimary": True, "setName": "rs0"}),
    ),
    ("mongo.sharded", standing({"isWritablePrimary": True, "msg": "isdbgrid"}), standing({"isWritablePrimary": True})),
    ("mongo.ttl-monitor-off", [*checkup.ttl_monitor(False)], [*checkup.ttl_monitor(True), *checkup.ttl_monitor(None)]),
    (
        "mongo.rights",
        rights_of("app.web", [{"resource": {"db": "app", "collection": "web"}, "actions": ["find"]}]),
        rights_of("app.web", [{"resource": {"db": "app", "collection": ""}, "actions": ["find", "remove"]}]),
    ),
]


@pytest.mark.parametrize(("code", "provoked", "calm"), ANSWERS)
def test_what_other_deployments_answer(code: str, provoked: list[Any], calm: list[Any]) -> None:
    assert Looked(provoked).codes == {code}
    assert Looked(calm).codes == set()


def test_replicas_that_lag(mongo_url: str) -> None:
    [late] = checkup.members(status(("PRIMARY", 0), ("SECONDARY", 30)))
    assert (late.severity, late.what.rpartition(", ")[2]) == (Severity.WARNING, "30 s behind at most")
    [down] = checkup.members(status(("PRIMARY", 0), ("RECOVERING", 0)))
    assert (down.severity, down.what) == (
        Severity.WARNING,
        "2 members, 1 of them neither primary nor secondary, their lag unknown",
    )
    [calm] = checkup.members(status(("PRIMARY", 0), ("SECONDARY", 1)))
    assert calm.severity is Severity.INFO
    assert checkup.topology({"msg": "isdbgrid"}, "8.0").what == "MongoDB 8.0, a sharded cluster, by one of its routers"
    assert checkup.topology({}, "8.0").what == "MongoDB 8.0, a single server"


def test_a_login_that_may_not_see_the_members(web: Web, mongo_url: str) -> None:
    with pymongo.MongoClient[Any](mongo_url) as client:
        unauthorized = {"failCommands": ["replSetGetStatus"], "errorCode": 13}
        client.admin.command({"configureFailPoint": "failCommand", "mode": {"times": 1}, "data": unauthorized})
        try:
            assert look(mongo_url, DOCS).of("mongo.members-unknown").remedy == "grant clusterMonitor to see it"
        finally:
            client.admin.command({"configureFailPoint": "failCommand", "mode": "off"})
        assert "mongo.members-unknown" not in look(mongo_url, DOCS).codes
