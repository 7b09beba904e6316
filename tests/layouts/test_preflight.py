"""What is looked at before the first delete: each check has something that provokes it, and the same without it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pymongo
import pytest
import redis
from psycopg import sql

from cleanup_pipeline.engine.scan import scan
from cleanup_pipeline.layouts import layouts
from cleanup_pipeline.model.plan import Finding
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.model.words import Severity, StoreType
from cleanup_pipeline.stores.base import SourceMissingError, StoreError
from cleanup_pipeline.stores.postgres import PostgresStore, open_postgres
from cleanup_pipeline.stores.postgres.entries import JSON_TYPES
from cleanup_pipeline.stores.postgres.predicate import columns_in
from cleanup_pipeline.stores.postgres.relation import source_of
from tests.layouts.case import case_names, left, read_case, targets_for, write
from tests.layouts.key_places import MongoPlace, RedisPlace
from tests.layouts.keys_case import case_names as key_case_names
from tests.layouts.keys_case import read_key_case

Db = psycopg.Connection[Any]
EMPTY = "is empty, so every record would look as if what it points to were gone"


@pytest.fixture
def db(postgres_url: str) -> Iterator[Db]:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        yield connection


@contextmanager
def opened(url: str) -> Iterator[PostgresStore]:
    store = open_postgres(StoreConfig("main", StoreType.POSTGRES, url))
    try:
        yield store
    finally:
        store.close()


def errors_of(findings: Any) -> list[str]:
    return [finding.what for finding in findings if finding.severity is Severity.ERROR]


def test_columns_and_their_types(db: Db, postgres_url: str) -> None:
    """Every PostgreSQL preset: nothing is said against its framework's tables; a column that is missing or of another
    type is refused by its name."""
    with opened(postgres_url) as store:
        for name in case_names():
            case = read_case(name)
            db.execute("DROP SCHEMA IF EXISTS public, auth, cache, tower_sessions CASCADE; CREATE SCHEMA public")
            db.execute(case.ddl)  # type: ignore[call-overload]
            targets = targets_for(layouts()[case.preset], case.params, case.columns)
            for target in targets:
                assert all(EMPTY in what for what in errors_of(store.preflight(target))), (name, target.name)
            table, column = _expiry_column(targets[0])
            altered = sql.SQL("ALTER TABLE {} ALTER COLUMN {} DROP DEFAULT, ALTER COLUMN {} TYPE boolean USING NULL")
            db.execute(altered.format(table, *[sql.Identifier(column)] * 2))
            with pytest.raises(StoreError, match=f"column {column} is boolean, not"):
                store.preflight(targets[0])
            db.execute(sql.SQL("ALTER TABLE {} DROP COLUMN {} CASCADE").format(table, sql.Identifier(column)))
            with pytest.raises(StoreError, match=f"no column (.*, )?{column}"):
                store.preflight(targets[0])


def _expiry_column(target: Target) -> tuple[sql.Identifier, str]:
    source, rule = source_of(target)
    own = [column.column for column in columns_in(rule) if column.of is None] or [getattr(rule, "column", "")]
    related = [column.of for column in columns_in(rule) if column.of is not None]
    if not own[0]:
        assert related[0] is not None
        return sql.Identifier(related[0].table), columns_in(rule)[0].column
    place = [part for part in (source.schema, source.table) if part]
    return sql.Identifier(*place), own[0]


def test_types_that_need_a_word_more(db: Db, postgres_url: str) -> None:
    """A zone for what has none, a unit for a number, neither for an instant; and with it nobody complains."""
    tries: Mapping[str, tuple[str, dict[str, Any], str | None]] = {
        "better-auth": ("timestamptz", {}, None),
        "better-auth with a zone": ("timestamptz", {"zone": "UTC"}, "needs neither zone nor unit"),
        "better-auth of Prisma": ("timestamp(3)", {"zone": "UTC"}, None),
        "better-auth of Prisma without a zone": ("timestamp(3)", {}, "does not say whose clock it was"),
        "better-auth with numbers": ("bigint", {}, "not a timestamp"),
    }
    for name, (kind, params, said) in tries.items():
        db.execute("DROP TABLE IF EXISTS verification")
        db.execute(f'CREATE TABLE verification (id text, identifier text, value text, "expiresAt" {kind})')  # type: ignore[call-overload]
        (target,) = [
            t
            for t in targets_for(layouts()["better-auth"], params | {"sessions": False}, {})
            if "verification" in t.name
        ]
        with opened(postgres_url) as store:
            if said is None:
                assert not errors_of(store.preflight(target)), name
            else:
                with pytest.raises(StoreError, match=said):
                    store.preflight(target)
    assert {"json", "jsonb"} == JSON_TYPES


S, MS, NS = 1, 1000, 10**9
UNITS: list[tuple[str, int, str]] = [
    ("lucia-v2", S, "before 2001"),
    ("lucia-v2", NS, "after 2100"),
    ("symfony-pdo-sessions", MS, "after 2100"),
    ("laravel-cache", MS, "after 2100"),
    ("spring-session-jdbc", S, "before 2001"),
]


@pytest.mark.parametrize(("name", "per_second", "said"), UNITS)
def test_a_wrong_unit_in_a_table_is_refused(db: Db, postgres_url: str, name: str, per_second: int, said: str) -> None:
    case = read_case(name)
    write(db, case)
    (target, *_) = targets_for(layouts()[case.preset], case.params, case.columns)
    table, column = _expiry_column(target)
    source, _ = source_of(target)
    with opened(postgres_url) as store:
        assert scan(store, target, dry_run=True).census.expired
    ends = f"extract(epoch FROM now())::bigint * {per_second}"
    db.execute(sql.SQL("ALTER TABLE {} ALTER COLUMN {} TYPE bigint").format(table, sql.Identifier(column)))
    db.execute(sql.SQL("UPDATE {} SET {} = {}").format(table, sql.Identifier(column), sql.SQL(ends)))  # type: ignore[arg-type]
    before = left(db, [source.table])
    with opened(postgres_url) as store, pytest.raises(StoreError, match=said):
        scan(store, target, dry_run=True)
    assert left(db, [source.table]) == before


def test_a_wrong_unit_in_keys_and_documents(redis_url: str, mongo_url: str) -> None:
    """Too late for any unit is refused. Too early is before 2001, where nothing is removed, and told."""
    now = datetime.now(UTC).timestamp()
    # Of a sorted set: the layout, its parameters, what a second is in the scores, and what is said of them.
    tries: list[tuple[str, dict[str, Any], int, str | int]] = [
        ("laravel-cache-tags", {}, S, 0),
        ("laravel-cache-tags", {}, MS, "after 2100"),
        ("redis-refresh-zset", {"index": "tag:", "unit": "ms"}, MS, 0),
        ("redis-refresh-zset", {"index": "tag:", "unit": "ms"}, NS, "after 2100"),
        ("redis-refresh-zset", {"index": "tag:", "unit": "ms"}, S, 5),
    ]
    with redis.Redis.from_url(redis_url) as client:
        for name, params, per_second, said in tries:
            (target,) = targets_for(layouts()[name], params, {})
            client.flushall()
            client.zadd(
                target.source_name.replace("*", "x"), {f"m{n}": (now + 60 * n) * per_second for n in range(1, 6)}
            )
            store = RedisPlace(redis_url).open()
            if isinstance(said, str):
                with pytest.raises(StoreError, match=said):
                    scan(store, target, dry_run=True)
            else:
                census = scan(store, target, dry_run=True).census
                assert (census.unparsable, census.live) == (said, 5 - said), name
            store.close()
    (target,) = targets_for(layouts()["scs-mongo"], {}, {})
    with pymongo.MongoClient[dict[str, Any]](mongo_url) as mongo:
        sessions = mongo.get_default_database().sessions
        for per_second, unparsable in ((NS, 0), (MS, 4)):
            sessions.delete_many({})
            ends = [int(now - 60) * per_second] * 4
            sessions.insert_many([{"token": f"t{n}", "object": b"x", "expiration": end} for n, end in enumerate(ends)])
            store = MongoPlace(mongo_url).open()
            census = scan(store, target, dry_run=True).census
            store.close()
            assert (census.unparsable, census.expired) == (unparsable, 4 - unparsable)


def test_row_security(db: Db, postgres_url: str) -> None:
    """Told of the table itself; an error where it may hide what keeps records alive; silence for who goes round it."""
    write(db, read_case("supabase-auth"))
    write(db, read_case("doorkeeper"))
    db.execute("""
        CREATE ROLE looker LOGIN;
        GRANT USAGE ON SCHEMA auth, public TO looker; GRANT ALL ON ALL TABLES IN SCHEMA auth, public TO looker""")
    (target,) = [t for t in targets_for(layouts()["supabase-auth"], {}, {}) if t.name == "t_challenges"]
    (anti,) = targets_for(layouts()["allauth-usersessions"], {}, {})
    write(db, read_case("allauth-usersessions"))
    db.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO looker")
    as_looker = postgres_url.replace("//postgres@", "//looker@")

    def told(url: str, one: Target) -> list[Finding]:
        with opened(url) as store:
            return [f for f in store.preflight(one) if "row security" in f.what]

    try:
        assert not told(as_looker, target) and not told(as_looker, anti)
        db.execute("ALTER TABLE auth.mfa_challenges ENABLE ROW LEVEL SECURITY")
        db.execute("ALTER TABLE django_session ENABLE ROW LEVEL SECURITY")
        (finding,) = told(as_looker, target)
        assert finding.severity is Severity.WARNING and "BYPASSRLS" in finding.remedy
        with pytest.raises(StoreError, match=r"row security may hide rows of public\.django_session"):
            told(as_looker, anti)
        assert not told(postgres_url, target) and not told(postgres_url, anti)
    finally:
        db.execute("DROP OWNED BY looker; DROP ROLE looker")


def test_cascades(db: Db, postgres_url: str) -> None:
    """Every preset whose framework cascades takes its children in bounds; the same target without that is refused."""
    tried = 0
    for name in ("spring-session-jdbc", "ory-kratos", "supertokens", "ory-hydra", "supabase-auth"):
        db.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        case = read_case(name)
        db.execute(case.ddl)  # type: ignore[call-overload]
        with opened(postgres_url) as store:
            for target in targets_for(layouts()[case.preset], case.params, case.columns):
                assert not errors_of(store.preflight(target)), target.name
                if target.children_first:
                    refused = errors_of(store.preflight(replace(target, name="naive", children_first=False)))
                    cascades = [what for what in refused if "ON DELETE CASCADE" in what]
                    tried += bool(cascades)
                    if cascades:
                        meant = replace(target, name="meant", children_first=False, cascade=True)
                        assert not errors_of(store.preflight(meant))
                store._relations.clear()
    assert tried >= 5


@pytest.mark.parametrize("kind", [StoreType.MONGO, StoreType.REDIS])
def test_nothing_is_said_against_what_a_framework_writes(kind: StoreType, request: pytest.FixtureRequest) -> None:
    mongo = kind is StoreType.MONGO
    url = request.getfixturevalue("mongo_url" if mongo else "redis_url")
    place: MongoPlace | RedisPlace = MongoPlace(url) if mongo else RedisPlace(url)
    for name in key_case_names(kind):
        case = read_key_case(kind, name, datetime.now(UTC).replace(microsecond=0))
        targets = targets_for(layouts()[name], case.params, case.columns)
        place.write(case, targets)
        store = place.open()
        for target in targets:
            assert not errors_of(store.preflight(target)), (name, target.name)
        store.close()


def test_documents_of_another_framework_are_refused(mongo_url: str) -> None:
    """Every MongoDB preset against what every other one writes to a collection of the same name."""
    place, tried, taken = MongoPlace(mongo_url), 0, set()
    now = datetime.now(UTC).replace(microsecond=0)
    known = {name: read_key_case(StoreType.MONGO, name, now) for name in key_case_names(StoreType.MONGO)}
    targets = {name: targets_for(layouts()[name], case.params, case.columns) for name, case in known.items()}
    for name, case in known.items():
        # Its own records alone: a case of one framework has some of another in it.
        with pymongo.MongoClient[dict[str, Any]](mongo_url) as client:
            client.drop_database(client.get_default_database().name)
        mine = [record for record in case.records if "one of " not in record.why]
        place.write(replace(case, records=tuple(mine)), targets[name])
        store = place.open()
        for other, theirs in targets.items():
            for target in theirs:
                here = target.source_name in {record.place for record in mine}
                # The collections of sso have no field that is theirs alone: who names the layout has to know.
                if other == name or not here or {name[:4], other[:4]} & {"sso-"}:
                    continue
                tried += 1
                try:
                    store.preflight(target)
                except SourceMissingError:
                    continue
                # Users of anybody: what is looked for is deep inside, and is not there.
                taken.add(target.source_name)
                assert store.census(target, store.clock(), target.census_timeout).expired == 0, (name, other)
        store.close()
    assert tried > 20
    assert taken == {"users"}


def test_members_that_are_written_otherwise(redis_url: str) -> None:
    """Recognised as what they are, or refused; provoked for each codec in test_key_cases.py, and here for arrays."""
    later = int((datetime.now(UTC) + timedelta(hours=1)).timestamp() * 1000)
    (target,) = [t for t in targets_for(layouts()["better-auth-redis"], {}, {}) if t.name == "t_active_sessions"]
    with redis.Redis.from_url(redis_url) as client:
        client.set("better-auth:t0", "{}")
        for text, refused in (
            (f'{{"token":"t","expiresAt":{later}}}', False),
            (f'{{"id":"t","expiresAt":{later}}}', True),
        ):
            client.set("better-auth:active-sessions-u", f"[{','.join([text] * 20)}]")
            store = RedisPlace(redis_url).open()
            if refused:
                with pytest.raises(StoreError, match="20 of 20 elements"):
                    scan(store, target, dry_run=True)
            else:
                assert scan(store, target, dry_run=True).census.live == 20
            store.close()
