"""What a store shows of itself to somebody who describes a target: names and types, and no value."""

import struct
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import Any, cast

import psycopg
import pymongo
import pytest
import redis
from bson import Int64

from cleanup_pipeline.model.seen import Seen, SeenField
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.target import TableSource
from cleanup_pipeline.model.words import EpochUnit, StoreType, plausible_unit
from cleanup_pipeline.stores.base import Describes, StoreError
from cleanup_pipeline.stores.open import open_store
from cleanup_pipeline.stores.redis import describe as redis_describe

NOW = datetime(2026, 11, 1, tzinfo=UTC)
SECONDS = int(NOW.timestamp())


@contextmanager
def described(store_type: StoreType, url: str) -> Iterator[Describes]:
    with closing(open_store(StoreConfig("it", store_type, url))) as store:
        assert isinstance(store, Describes)
        yield cast(Describes, store)


def look(store_type: StoreType, url: str) -> dict[str, Seen]:
    with described(store_type, url) as store:
        return {seen.name: seen for seen in store.describe()}


def field(seen: Seen, name: str) -> SeenField:
    (found,) = [each for each in seen.fields if each.name == name]
    return found


def test_tables_are_those_that_the_login_may_read(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as db:
        db.execute(
            """
            CREATE TABLE tokens (id bigint PRIMARY KEY, expires_at timestamptz, gone int) PARTITION BY RANGE (id);
            CREATE TABLE tokens_1 PARTITION OF tokens FOR VALUES FROM (0) TO (10);
            ALTER TABLE tokens DROP COLUMN gone;
            CREATE SCHEMA auth;
            CREATE TABLE auth.uses (token_id bigint REFERENCES tokens, "odd % name" timestamp);
            CREATE TABLE hidden (id int);
            CREATE VIEW seen AS SELECT * FROM tokens;
            DROP ROLE IF EXISTS looker;
            CREATE ROLE looker LOGIN;
            GRANT USAGE ON SCHEMA auth TO looker;
            GRANT SELECT ON tokens, auth.uses TO looker;
            """
        )
        try:
            found = look(StoreType.POSTGRES, postgres_url.replace("postgres@", "looker@", 1))
        finally:
            db.execute("DROP OWNED BY looker; DROP ROLE looker")
    assert list(found) == ["tokens", "auth.uses"]
    aware = SeenField("expires_at", "timestamp with time zone")
    assert found["tokens"].fields == (SeenField("id", "bigint"), aware)
    assert found["tokens"].referred_by == ("auth.uses",)
    assert field(found["auth.uses"], "odd % name").type == "timestamp without time zone"
    assert (found["tokens"].schema, found["auth.uses"].schema) == ("public", "auth")


@pytest.mark.parametrize(
    ("type_", "values", "unit"),
    [
        ("bigint", ["1790000000", "0"], "s"),
        ("bigint", ["1790000000000"], "ms"),
        ("text", ["1790000000000000000", "soon"], "ns"),
        ("numeric", ["1790000000.5"], "s"),
        ("bigint", ["1790000000", "1790000000000"], None),
        ("integer", ["3600"], None),
        ("text", ["soon"], None),
    ],
)
def test_a_magnitude_is_said_where_only_one_unit_makes_sense(
    postgres_url: str, type_: str, values: list[str], unit: str | None
) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as db:
        db.execute(f'CREATE TABLE "a %s table" ("ends %" {type_})')  # type: ignore[call-overload]
        for value in [*values, None]:
            db.execute(f'INSERT INTO "a %s table" VALUES (%s::{type_})'.replace("%s t", "%%s t"), (value,))  # type: ignore[call-overload]
    with described(StoreType.POSTGRES, postgres_url) as store:
        assert store.magnitude(TableSource("a %s table"), "ends %") == unit
        with pytest.raises(StoreError):
            store.magnitude(TableSource("a %s table"), "no such")


def test_fields_of_documents_with_their_types_and_arrays(mongo_url: str) -> None:
    with pymongo.MongoClient[Any](mongo_url) as client:
        database = client.get_default_database()
        tokens = [{"when": NOW, "key": "hush"}, {"when": Int64(SECONDS * 1000)}]
        database.users.insert_one({"name": "hush", "a": {"b": {"ends": SECONDS}}, "tokens": tokens, "dotted.name": NOW})
        database.users.insert_one({"name": None, "a": 3})
        database.create_collection("empty")
    found = look(StoreType.MONGO, mongo_url)
    assert set(found) == {"users", "empty"}
    users = found["users"]
    assert (users.sampled, found["empty"].fields) == (2, ())
    assert field(users, "a.b.ends") == SeenField("a.b.ends", "int", EpochUnit.SECONDS)
    assert field(users, "tokens.when") == SeenField(
        "tokens.when", "date or long", EpochUnit.MILLISECONDS, array="tokens"
    )
    assert field(users, "a").type == "object or int"
    assert "dotted.name" not in {each.name for each in users.fields}
    assert "hush" not in repr(found)


def test_shapes_of_keys_show_no_part_that_names_somebody(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        for number, name in enumerate(("alice", "bob", "carol@example.com")):
            client.set(f"user:{name}:profile", "x")
            client.set(f"reset:{number}{name}", str(SECONDS), ex=900 if number else None)
            client.hset(f"session:{number}", mapping={"exp": SECONDS * 1000, "name": name})
            client.sadd(f"session:of:{name}", "1")
        client.zadd("tags:a:entries", {"x": SECONDS, "y": -1, "z": float("inf")})
        client.zadd("tags:b:entries", {"x": SECONDS})
        client.set("lonely", "x")
        client.set(b"bin:\xff\x00", "x")
        client.set("json:1", f'{{"meta": {{"exp": {SECONDS}}}, "until": "2026-11-01T00:00:00Z", "alice@x": 1}}')
        client.set("json:2", '{"until": "2026-11-01"}')
        client.set("pack:1", b"\x81\xa3exp\xce" + struct.pack(">I", SECONDS))
        client.set("pack:2", b"\xc1")
        before = client.dbsize()
        client.acl_setuser("looker", enabled=True, nopass=True, keys=["*"], commands=["+@read", "+@connection"])
        try:
            found = look(StoreType.REDIS, redis_url.replace("redis://", "redis://looker:x@"))
        finally:
            client.acl_deluser("looker")
        assert client.dbsize() == before
    names = {"user:*:*", "reset:*", "session:*", "session:of:*", "tags:*:*", "json:*", "pack:*"}
    assert set(found) == names, set(found)
    assert not any(name in repr(found) for name in ("alice", "bob", "carol"))
    assert (found["reset:*"].without_ttl, found["reset:*"].looked, found["reset:*"].key_type) == (1, 3, "string")
    assert found["reset:*"].fields == (SeenField("", "value", EpochUnit.SECONDS),)
    assert found["session:*"].exclude == ("session:of:*",)
    assert field(found["session:*"], "exp") == SeenField("exp", "hash field", EpochUnit.MILLISECONDS)
    assert found["tags:*:*"].fields == (SeenField("", "score", EpochUnit.SECONDS),)
    assert set(found["json:*"].fields) == {
        SeenField("meta.exp", "json", EpochUnit.SECONDS),
        SeenField("until", "json", None, iso=True),
    }
    assert found["pack:*"].fields == (SeenField("exp", "msgpack", EpochUnit.SECONDS),)


def test_where_many_words_stand_in_one_place_they_name_somebody(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.mset({f"of:{letter}lice:{what}": "x" for letter in "abcdefghij" for what in ("tokens", "profile")})
        client.mset({f"{':'.join(['deep'] * 3000)}:{number}": "x" for number in range(2)})
    assert set(look(StoreType.REDIS, redis_url)) == {"of:*:*", f"{'deep:' * redis_describe.MOST_PARTS}*"}


def test_a_large_keyspace_is_sampled(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.mset({f"session:{number}": "x" for number in range(5000)})
    monkeypatch.setattr(redis_describe, "MOST_KEYS", 40)
    (seen,) = look(StoreType.REDIS, redis_url).values()
    assert (seen.name, seen.sampled, seen.looked) == ("session:*", 40, redis_describe.LOOKED_AT)


def test_a_unit_is_plausible_only_if_all_are() -> None:
    assert plausible_unit([]) is None
    assert plausible_unit([0, -1]) is None
    assert plausible_unit([0, SECONDS]) is EpochUnit.SECONDS
    assert plausible_unit([SECONDS, 5]) is None
