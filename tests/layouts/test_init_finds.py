"""`init` finds every layout in the records that its framework writes, told apart from all others, and nothing else."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import psycopg
import pymongo
import pytest
import redis

from cleanup_pipeline.layouts import layouts
from cleanup_pipeline.model.words import StoreType
from tests.layouts.case import Case, read_case, targets_for
from tests.layouts.case import case_names as postgres_cases
from tests.layouts.init_places import Seen, look
from tests.layouts.key_places import RedisPlace
from tests.layouts.keys_case import before, case_names, read_key_case

NOW = datetime.now(UTC).replace(microsecond=0)


SHARED = {
    "sso-mongo-reset-password-tokens": {"sso-mongo-verify-email-tokens"},
    "sso-mongo-verify-email-tokens": {"sso-mongo-reset-password-tokens"},
    "sso-reset-password-tokens": {"sso-verify-email-tokens"},
    "sso-verify-email-tokens": {"sso-reset-password-tokens"},
    "sso-refresh-index": {"sso-sessions"},
}
"""Both kinds of tokens lie in one table, and the index of tokens beside the sessions that it names."""


@pytest.mark.parametrize("name", case_names(StoreType.MONGO))
def test_each_collection_is_its_own(name: str, mongo_url: str) -> None:
    case = read_key_case(StoreType.MONGO, name, NOW)
    own = [record for record in case.records if not record.why.startswith("one of ")]
    params = {key: value for key, value in case.params.items() if key != "database"}
    with pymongo.MongoClient[Any](mongo_url) as client:
        for record in own:
            client.get_default_database()[record.place].insert_one(before(record.written))
    seen = look(StoreType.MONGO, mongo_url)
    assert seen.names == {name} | SHARED.get(name, set())
    one = seen.one(name)
    known = {key: value for key, value in params.items() if layouts()[name].params[key].type in {"flag", "collection"}}
    assert {key: value for key, value in one.params.items() if layouts()[name].params[key].type != "database"} == known
    assert set(one.missing) == {k for k in params if layouts()[name].params[k].required} - set(one.params)


@pytest.mark.parametrize("name", case_names(StoreType.REDIS))
def test_keys_of_each_kind_are_their_own(name: str, redis_url: str) -> None:
    case = read_key_case(StoreType.REDIS, name, NOW)
    RedisPlace(redis_url).write(case, targets_for(layouts()[name], case.params, case.columns))
    seen = look(StoreType.REDIS, redis_url)
    assert seen.names == {name} | SHARED.get(name, set())
    told = [{**{k: s.default for k, s in one.preset.params.items()}, **one.params} for one in seen.found]
    assert {**{k: s.default for k, s in layouts()[name].params.items()}, **_without(case.params, "unused")} in told


def _without(params: Any, name: str) -> dict[str, Any]:
    return {key: value for key, value in params.items() if key != name}


def test_all_keys_together(redis_url: str) -> None:
    """But those that say of the same keys that they are of two frameworks."""
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
        names = [name for name in case_names(StoreType.REDIS) if not name.startswith("sso-")]
        for name in names:
            for record in read_key_case(StoreType.REDIS, name, NOW).records:
                RedisPlace._set(client, record)
    assert look(StoreType.REDIS, redis_url).names == set(names)


def test_all_tables_together(postgres_url: str) -> None:
    """Each case in a schema of its own, as it would be found in a database that many applications share."""
    with psycopg.connect(postgres_url, autocommit=True) as db:
        cases = [read_case(name) for name in postgres_cases()]
        for number, case in enumerate(cases):
            db.execute(f"CREATE SCHEMA c{number}; SET search_path = c{number}")  # type: ignore[call-overload]
            db.execute(case.ddl)  # type: ignore[call-overload]
    seen = look(StoreType.POSTGRES, postgres_url)
    in_cases = {(each.preset.name, each.location.container) for each in seen.found}
    expected = {(case.preset, f"c{number}") for number, case in enumerate(cases)}
    expected |= {("django-sessions", f"c{n}") for n, case in enumerate(cases) if "TABLE django_session " in case.ddl}
    of_its_own = {"supabase-auth": "auth", "tower-sessions": "tower_sessions", "aspnet-pg-cache": "cache"}
    expected = {(name, of_its_own.get(name, where)) for name, where in expected}
    expected |= {(other, where) for name, where in expected for other in SHARED.get(name, set())}
    assert in_cases == expected
    assert {name for name, _ in in_cases} == {p.name for p in layouts().values() if p.name in cases_of(cases)} | {
        "django-sessions"
    }


def cases_of(cases: Sequence[Case]) -> set[str]:
    return {case.preset for case in cases}


SHOP = """
CREATE TABLE users (id bigserial PRIMARY KEY, email text, password_hash text, created_at timestamptz);
CREATE TABLE orders (id uuid PRIMARY KEY, user_id bigint, status text, created_at timestamptz, expires_at timestamptz);
CREATE TABLE feature_flags (key text PRIMARY KEY, enabled boolean, expires_at timestamptz, updated_at timestamptz);
CREATE TABLE cache (key text PRIMARY KEY, value bytea, expiration integer);
CREATE TABLE jobs (id bigserial PRIMARY KEY, queue text, payload text, attempts smallint, reserved_at integer,
    available_at integer, created_at integer);
CREATE TABLE coupons (id int PRIMARY KEY, code text, user_id int, expires_at timestamptz);
CREATE TABLE documents (id int PRIMARY KEY, session_notes text, data text, updated_at timestamptz);
CREATE TABLE accounts (id text PRIMARY KEY, "userId" text, "refreshToken" text, "accessTokenExpiresAt" timestamptz);
CREATE TABLE devices (token text PRIMARY KEY, user_id int, created_at timestamptz);
"""


def test_an_ordinary_application_has_none_of_them(postgres_url: str, mongo_url: str, redis_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as db:
        db.execute(SHOP)
    soon = datetime.now(UTC)
    with pymongo.MongoClient[Any](mongo_url) as client:
        shop = client.get_default_database()
        shop.users.insert_one({"email": "a", "isVerified": True, "services": {"mail": {}}, "sessions": ["a"]})
        shop.orders.insert_one({"_id": "a", "user_id": "u", "expires_at": soon, "items": [{"id": 1}]})
        shop.flags.insert_one({"name": "new", "expires": soon, "value": "x"})
        shop.cache.insert_one({"_id": "k", "data": b"x", "expires_at": soon})
        shop.jobs.insert_one({"token": "lock", "state": "waiting", "expiresAt": soon})
    with redis.Redis.from_url(redis_url) as client_:
        for n in range(30):
            client_.set(f"cache:product:{n}", '{"price": 3, "expires_at": 2000000000}')
            client_.hset(f"cart:{n}", mapping={"user_id": n, "expires_at": 2000000000})
            client_.zadd("bull:mail:delayed", {f"job{n}": 2000000000000 + n})
            client_.lpush("queue:default", "{}")
            client_.sadd(f"online:{n}", "cache:product:1", "x")
            client_.set(f"flag{n}", "on")
        client_.hset(
            "user:7", mapping={"provider": "github", "refresh_token": "r", "user_id": 7, "expires_at": 2000000000}
        )
    for store_type, url in (
        (StoreType.POSTGRES, postgres_url),
        (StoreType.MONGO, mongo_url),
        (StoreType.REDIS, redis_url),
    ):
        assert look(store_type, url) == Seen([], [], []), store_type


def test_tables_under_other_names(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as db:
        db.execute("CREATE TABLE shop_websession (session_key text, session_data text, expire_date timestamptz)")
        db.execute(
            "CREATE TABLE app_session (id text, user_id text, token text, ip_address text, user_agent text,"
            " created_at timestamp, updated_at timestamp, expires_at timestamp);"
            "CREATE TABLE app_verification (id text, identifier text, value text, created_at timestamp,"
            " updated_at timestamp, expires_at timestamp)"
        )
        columns = "(id bigint, application_id bigint, token text, expires_in integer, revoked_at timestamp,"
        columns += " created_at timestamp"
        db.execute(f"CREATE TABLE sso_oauth_access_tokens {columns}, refresh_token text)")  # type: ignore[call-overload]
        db.execute(f"CREATE TABLE sso_oauth_access_grants {columns})")  # type: ignore[call-overload]
        db.execute("CREATE TABLE login_tokens (id int, secret text, valid_until timestamptz)")
        db.execute("CREATE TABLE texts_session_key (session_key text, session_data text, expire_date text)")
    seen = look(StoreType.POSTGRES, postgres_url)
    assert seen.names == {"django-sessions", "better-auth", "doorkeeper"}
    assert seen.one("django-sessions").params == {"table": "shop_websession"}
    better = seen.one("better-auth")
    assert better.params == {"session_table": "app_session", "verification_table": "app_verification"}
    assert better.columns == {"userId": "user_id", "expiresAt": "expires_at"}
    assert better.missing == ("zone",)
    assert better.doubts == ("known by its columns, not by its name",)
    assert seen.one("doorkeeper").params == {"prefix": "sso_"}
    assert [each.phrase.split(" (")[0] for each in seen.strangers] == [
        "table public.login_tokens",
        "table public.texts_session_key",
    ]


def test_keys_under_other_prefixes(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        for n in range(5):
            client.set(
                f"shop:s:{n}abcdef0123456789", '{"cookie":{"originalMaxAge":1,"expires":"2030-01-01T00:00:00Z"}}'
            )
            client.set(f"web:login:{n}", b"\x81\xaa_permanent\xc3", ex=900)
            client.hset(f"api:live:{n}", mapping={"user_id": n, "refresh_token": "r", "expires_at": 2_000_000_000})
            client.set(f"api:x:{n}", '{"jti": "a", "sub": "b", "exp": 2000000000}')
            client.sadd(f"app:index:{INDEX}:u{n}", b"\xac\xed\x00\x05t\x00\x01a")
            client.set(f"otp:{n}", "123456")
    seen = look(StoreType.REDIS, redis_url)
    told = {each.preset.name: each.params for each in seen.found}
    assert told == {
        "connect-redis": {"prefix": "shop:s:"},
        "flask-session-redis": {"prefix": "web:login:"},
        "redis-refresh-json": {"prefix": "api:x:", "path": "exp", "unit": "s"},
        "spring-session-redis": {"namespace": "app"},
    }
    [own] = seen.described
    assert own.source == {"keys": "api:live:*", "expires": {"hash_field": "expires_at", "unit": "s"}}
    assert [each.phrase for each in seen.strangers] == ["string keys otp:*: 5 looked at, 5 of them without TTL"]
    assert seen.one("flask-session-redis").seen == ("string keys web:login:*: 5 looked at, all of them with a TTL",)


INDEX = "org.springframework.session.FindByIndexNameSessionRepository.PRINCIPAL_NAME_INDEX_NAME"


def test_collections_under_other_names(mongo_url: str) -> None:
    soon = datetime.now(UTC)
    with pymongo.MongoClient[Any](mongo_url) as client:
        own = client.get_default_database()
        own.web_sessions.insert_one({"_id": "a", "session": "{}", "expires": soon})
        own.members.insert_one({"sessions": [{"id": "a", "createdAt": soon, "expiresAt": soon}]})
        own.invite_tokens.insert_one({"secret": "a", "expiresOn": soon})
    seen = look(StoreType.MONGO, mongo_url)
    assert {each.preset.name: each.params for each in seen.found} == {
        "connect-mongo": {"collection": "web_sessions"},
        "payload": {"collection": "members"},
    }
    assert [each.phrase for each in seen.strangers] == ["collection invite_tokens (expiresOn date)"]
