"""Frameworks of Node.js in MongoDB: what they say is alive stays, what is over goes, no other document is touched."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pymongo
import pytest
from bson.raw_bson import RawBSONDocument

from tests.layouts.node import Presets, Record, Verdict, check, installed, needs, node, pass_over

pytestmark = installed

Documents = dict[Record, bytes]


@pytest.fixture
def url(mongo_url: str) -> str:
    # SecantusDB answers a streaming monitor only every 10 s; mongod at once.
    return f"{mongo_url}&serverMonitoringMode=poll"


def documents(url: str, identified_by: Mapping[str, str]) -> Documents:
    """Every document, as its bytes, by the field by which its framework speaks of it."""
    found: Documents = {}
    client: pymongo.MongoClient[RawBSONDocument]
    with pymongo.MongoClient(url, document_class=RawBSONDocument) as client:
        database = client.get_default_database()
        for name in database.list_collection_names():
            field = identified_by.get(name, "_id")
            found |= {(name, str(document[field])): document.raw for document in database[name].find()}
    return found


@contextmanager
def copy_of(url: str) -> Iterator[str]:
    """Another database with the same documents."""
    name = urlsplit(url).path.lstrip("/")
    copy = url.replace(f"/{name}", f"/{name}_copy")
    client: pymongo.MongoClient[RawBSONDocument]
    with pymongo.MongoClient(url, document_class=RawBSONDocument) as client:
        source, target = client[name], client[f"{name}_copy"]
        for collection in source.list_collection_names():
            target[collection].insert_many(list(source[collection].find()) or [{"_id": "none"}])
            target[collection].delete_one({"_id": "none"})
        yield copy
        client.drop_database(f"{name}_copy")


def asked(url: str, script: str, known: Any, *arguments: str) -> Verdict:
    """What is alive, from a copy: reading renews and removes."""
    with copy_of(url) as copy:
        verdict: Verdict = node(script, "alive", copy, *arguments, known=known)
        return verdict


def judged(
    url: str, script: str, presets: Presets, *arguments: str, identified_by: Mapping[str, str] | None = None
) -> None:
    """The framework fills the database, is asked on a copy what is alive, and our presets have the same left."""
    known = node(script, "create", url, *arguments)
    before, said = documents(url, identified_by or {}), asked(url, script, known, *arguments)
    pass_over(url, presets)
    # Of what no preset is about, all has to stay.
    collections = set(said) & {name for name, _ in before}
    check(before, documents(url, identified_by or {}), {place: said[place] for place in collections})
    assert asked(url, script, known, *arguments) == said, "they would answer otherwise now"


def compared(url: str, script: str, presets: Presets, *arguments: str) -> None:
    """The framework's own cleaner and ours leave the same, on two copies of one database that it filled."""
    node(script, "create", url, *arguments)
    before = documents(url, {})
    with copy_of(url) as copy:
        node(script, "clean", copy, *arguments)
        theirs = documents(copy, {})
    pass_over(url, presets)
    assert 0 < len(theirs) < len(before)
    assert documents(url, {}) == theirs


@needs("connect-mongo")
@pytest.mark.parametrize("auto_remove", ["disabled", "native"])
def test_connect_mongo(url: str, auto_remove: str) -> None:
    judged(url, "connect_mongo", {"connect-mongo": {}}, auto_remove)


@needs("connect-mongo")
def test_connect_mongo_and_its_own_removal(url: str) -> None:
    compared(url, "connect_mongo", {"connect-mongo": {}}, "disabled")


@needs("authjs-mongodb")
def test_authjs(url: str) -> None:
    keys = {"sessions": "sessionToken", "verification_tokens": "token"}
    judged(url, "authjs_mongodb", {"authjs-mongodb": {}}, identified_by=keys)


BETTER_AUTH = {"session": "token", "verification": "identifier"}


@needs("better-auth-mongo")
def test_better_auth(url: str) -> None:
    judged(url, "better_auth_mongo", {"better-auth-mongo": {}}, identified_by=BETTER_AUTH)


@needs("better-auth-mongo")
def test_better_auth_and_what_it_removes_itself(url: str) -> None:
    compared(url, "better_auth_mongo", {"better-auth-mongo": {"sessions": False}})


@needs("lucia-mongo")
def test_lucia(url: str) -> None:
    judged(url, "lucia_mongo", {"lucia-mongo": {}})


@needs("lucia-mongo")
def test_lucia_and_its_own_cleaner(url: str) -> None:
    compared(url, "lucia_mongo", {"lucia-mongo": {}})
