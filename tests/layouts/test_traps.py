"""Each trap of traps.yaml: a naive command falls into it, and ours does not. Most are in cases/, mongo_cases/ and
redis_cases/, where the naive command stands beside what it kills or misses; those that take more than records are here.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
import yaml
from psycopg import errors

from cleanup_pipeline.layouts import layouts
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.target import MAX_BATCH
from cleanup_pipeline.model.words import Severity, StoreType
from cleanup_pipeline.stores.base import StoreError
from cleanup_pipeline.stores.postgres import open_postgres
from cleanup_pipeline.stores.redis import references
from tests.layouts.case import case_names, clean, read_case, targets_for, write
from tests.layouts.key_places import RedisPlace
from tests.layouts.key_places import clean as clean_keys
from tests.layouts.keys_case import case_names as key_case_names
from tests.layouts.keys_case import encoder, read_key_case

Db = psycopg.Connection[Any]
TRAPS: dict[str, str] = yaml.safe_load((Path(__file__).parent / "traps.yaml").read_text(encoding="utf-8"))


def in_cases() -> Iterator[str]:
    for name in case_names():
        for naive in read_case(name).naive:
            assert not naive.traps or naive.kills or naive.misses, name
            yield from naive.traps
    for kind in (StoreType.MONGO, StoreType.REDIS):
        for name in key_case_names(kind):
            for told in read_key_case(kind, name, datetime.now(UTC)).naive:
                assert not told.traps or told.kills or told.misses, name
                yield from told.traps


def in_tests() -> dict[str, ast.FunctionDef]:
    """The tests of this file that are marked with a trap, by its number."""
    found = {}
    for function in ast.parse(Path(__file__).read_text(encoding="utf-8")).body:
        for mark in getattr(function, "decorator_list", ()):
            if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.trap":
                assert isinstance(function, ast.FunctionDef)
                found[ast.literal_eval(mark.args[0])] = function
    return found


def test_every_trap_is_tried() -> None:
    parts = [f"2a.{n}" for n in range(1, 18)] + [f"2b.{n}" for n in range(1, 10)]
    assert list(TRAPS) == parts
    assert set(in_cases()) | set(in_tests()) == set(TRAPS)


def test_every_test_of_a_trap_tells_both_outcomes() -> None:
    for trap, function in in_tests().items():
        assert "both" in [argument.arg for argument in function.args.args], trap


@dataclass
class Both:
    """What a test of a trap has to tell, or it is none."""

    told: dict[str, bool] = field(default_factory=dict)

    def naive(self, *, went_wrong: bool) -> None:
        assert went_wrong, "the naive command does no harm"
        self.told["naive"] = True

    def ours(self, *, was_right: bool) -> None:
        assert was_right
        self.told["ours"] = True


@pytest.fixture
def both() -> Iterator[Both]:
    outcomes = Both()
    yield outcomes
    assert set(outcomes.told) == {"naive", "ours"}


@pytest.fixture
def db(postgres_url: str) -> Iterator[Db]:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        yield connection


def names(db: Db, column: str, table: str) -> set[str]:
    return {row[0] for row in db.execute(f"SELECT {column} FROM {table}")}  # type: ignore[call-overload]


@pytest.mark.trap("2a.10")
def test_a_column_in_another_unit_is_refused(db: Db, postgres_url: str, both: Both) -> None:
    """Seconds that are read as milliseconds have all passed, in January 1970."""
    db.execute(read_case("lucia-v2").ddl)  # type: ignore[call-overload]
    ends = "extract(epoch FROM now() + interval '1 d')::bigint"
    db.execute(f"INSERT INTO user_session SELECT i, 'u', {ends}, {ends} FROM generate_series(1, 30) i")  # type: ignore[call-overload]
    with db.transaction(force_rollback=True):
        db.execute("DELETE FROM user_session WHERE to_timestamp(idle_expires / 1000.0) < now()")
        both.naive(went_wrong=not names(db, "id", "user_session"))
    with pytest.raises(StoreError, match="2001"):
        clean(postgres_url, targets_for(layouts()["lucia-v2"], {}, {}))
    both.ours(was_right=len(names(db, "id", "user_session")) == 30)


@pytest.mark.trap("2a.15")
def test_a_session_that_is_prolonged_meanwhile(db: Db, postgres_url: str, both: Both) -> None:
    db.execute(read_case("django-sessions").ddl)  # type: ignore[call-overload]
    insert = "INSERT INTO django_session VALUES (%s, '', now() - interval '1 h')"

    def prolong() -> None:
        db.execute("UPDATE django_session SET expire_date = now() + interval '1 h' WHERE session_key = 'used'")

    db.cursor().executemany(insert, [("used",), ("old",)])
    chosen = list(names(db, "session_key", "django_session WHERE expire_date < now()"))
    prolong()
    with db.transaction(force_rollback=True):
        db.execute("DELETE FROM django_session WHERE session_key = ANY (%s)", (chosen,))
        both.naive(went_wrong="used" not in names(db, "session_key", "django_session"))
    db.execute("UPDATE django_session SET expire_date = now() - interval '1 h'")
    (target,) = targets_for(layouts()["django-sessions"], {}, {})
    store = open_postgres(StoreConfig("main", StoreType.POSTGRES, postgres_url))
    try:
        cutoff = store.clock()
        work = store.plan(target, cutoff, store.census(target, cutoff, target.census_timeout))
        prolong()
        for shard in work.shards:
            store.delete_batch(target, work, shard, None, MAX_BATCH, cutoff)
    finally:
        store.close()
    both.ours(was_right=names(db, "session_key", "django_session") == {"used"})


@pytest.mark.trap("2a.16")
def test_sessions_of_another_framework(db: Db, postgres_url: str, both: Both) -> None:
    """Both have `sessions` with `expires`: of one it is the end, of the other the text of epoch milliseconds."""
    write(db, read_case("authjs-typeorm"))
    before = names(db, "id::text", "sessions")
    with db.transaction(force_rollback=True):
        db.execute("DELETE FROM sessions WHERE expires < now()::text")
        after = names(db, "id::text", "sessions")
        both.naive(went_wrong=after != before)
    for other in ("authjs-pg", "scs-postgres", "symfony-pdo-sessions", "rails-ar-sessions", "ory-kratos"):
        params = {"lifetime": "1d"} if "lifetime" in layouts()[other].params else {}
        with pytest.raises(StoreError):
            clean(postgres_url, targets_for(layouts()[other], params, {})[:1])
    both.ours(was_right=names(db, "id::text", "sessions") == before)


@pytest.mark.trap("2a.17")
def test_a_foreign_key_that_is_checked_when_the_transaction_ends(db: Db, postgres_url: str, both: Both) -> None:
    """All of a naive batch is undone at COMMIT, after it was counted; ours removes what may go, and only that."""
    write(db, read_case("simplejwt-blacklist"))
    table = "token_blacklist_outstandingtoken"
    before = names(db, "id::text", table)
    with pytest.raises(errors.ForeignKeyViolation), db.transaction():
        counted = db.execute(f"DELETE FROM {table} WHERE expires_at < now()").rowcount  # type: ignore[call-overload]
        assert counted > 0, "the statement itself says that all is well"
    both.naive(went_wrong=names(db, "id::text", table) == before)
    reports = clean(postgres_url, targets_for(layouts()["simplejwt-blacklist"], {"kept": "0s"}, {}))
    gone = before - names(db, "id::text", table)
    both.ours(was_right=bool(gone) and sum(report.deleted for report in reports.values()) >= len(gone))


@pytest.mark.trap("2b.1")
def test_row_security_without_a_policy(db: Db, postgres_url: str, both: Both) -> None:
    """DELETE 0, and no error: nothing was expired, or so it looks."""
    write(db, read_case("supabase-auth"))
    db.execute("""
        CREATE ROLE cleaner LOGIN;
        GRANT USAGE ON SCHEMA auth TO cleaner;
        GRANT ALL ON ALL TABLES IN SCHEMA auth TO cleaner;
        ALTER TABLE auth.flow_state ENABLE ROW LEVEL SECURITY""")
    try:
        as_cleaner = postgres_url.replace("//postgres@", "//cleaner@")
        with psycopg.connect(as_cleaner, autocommit=True) as other:
            deleted = other.execute("DELETE FROM auth.flow_state WHERE created_at < now() - interval '1 d'").rowcount
        both.naive(went_wrong=deleted == 0)
        store = open_postgres(StoreConfig("main", StoreType.POSTGRES, as_cleaner))
        try:
            target = next(t for t in targets_for(layouts()["supabase-auth"], {}, {}) if t.name == "t_flow_states")
            found = store.preflight(replace(target, children_first=False, cascade=True))
            told = [finding.what for finding in found if finding.severity is Severity.WARNING]
        finally:
            store.close()
        both.ours(was_right=any("row security applies to cleaner" in what for what in told))
    finally:
        db.execute("DROP OWNED BY cleaner; DROP ROLE cleaner")


@pytest.mark.trap("2b.8")
def test_a_first_pass_over_everything(db: Db, postgres_url: str, both: Both) -> None:
    db.execute(read_case("authjs-pg").ddl)  # type: ignore[call-overload]
    db.execute("""
        INSERT INTO sessions ("userId", expires, "sessionToken")
        SELECT 1, now() - interval '1 d', i::text FROM generate_series(1, 2500) i""")
    with db.transaction(force_rollback=True):
        at_once = db.execute("DELETE FROM sessions WHERE expires < now()").rowcount
        both.naive(went_wrong=at_once > MAX_BATCH)
    (target, _) = targets_for(layouts()["authjs-pg"], {}, {})
    with psycopg.connect(postgres_url, autocommit=True) as watcher:
        watcher.execute("""
            CREATE TABLE seen (transaction xid8, rows bigint);
            CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                INSERT INTO seen SELECT pg_current_xact_id(), count(*) FROM gone; RETURN NULL; END $$;
            CREATE TRIGGER note AFTER DELETE ON sessions REFERENCING OLD TABLE AS gone
            FOR EACH STATEMENT EXECUTE FUNCTION note()""")
    clean(postgres_url, [target])
    sizes = [row[0] for row in db.execute("SELECT sum(rows)::int FROM seen GROUP BY transaction")]
    both.ours(was_right=sum(sizes) == 2500 and max(sizes) <= MAX_BATCH)


@pytest.mark.trap("2b.9")
def test_members_that_are_written_as_java_does(redis_url: str, both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compared as text, each member names a key that is not there, so that all would go."""
    monkeypatch.setattr(references, "SETTLE_SECONDS", 0)
    index = (
        "spring:session:index:org.springframework.session.FindByIndexNameSessionRepository.PRINCIPAL_NAME_INDEX_NAME:a"
    )
    with redis.Redis.from_url(redis_url) as client:
        for number in range(30):
            client.sadd(index, encoder("jdk")(f"s{number}"))
            if number:
                client.hset(f"spring:session:sessions:s{number}", "maxInactiveInterval", "1800")
        members = client.smembers(index)
        dangling = [m for m in members if not client.exists(b"spring:session:sessions:" + m)]
        both.naive(went_wrong=len(dangling) == 30)
        with pytest.raises(StoreError, match="30 of 30 members"):
            clean_keys(RedisPlace(redis_url), targets_for(layouts()["spring-session-redis"], {"codec": "raw"}, {}))
        assert client.smembers(index) == members
        clean_keys(RedisPlace(redis_url), targets_for(layouts()["spring-session-redis"], {}, {}))
        both.ours(was_right=client.smembers(index) == members - {encoder("jdk")("s0")})
