"""Logins with the rights that `cleanup-pipeline roles` prints, and no others, do whole passes."""

import json
import re
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import msgspec
import psycopg
import psycopg.sql
import pymongo
import pytest
from psycopg import errors
from pymongo.monitoring import (
    CommandFailedEvent,
    CommandListener,
    CommandStartedEvent,
    CommandSucceededEvent,
    _Listeners,
)
from redis import Redis
from redis.exceptions import NoPermissionError, ResponseError
from typer.testing import CliRunner

from cleanup_pipeline.cli.main import app
from cleanup_pipeline.cli.roles import script
from cleanup_pipeline.dagster_defs.build import build_defs
from cleanup_pipeline.dagster_defs.closing import close_pass
from cleanup_pipeline.model.outcome import PassReport
from cleanup_pipeline.model.words import PassStatus
from cleanup_pipeline.settings import Settings, load_settings
from cleanup_pipeline.stores.base import StoreError
from cleanup_pipeline.stores.open import open_store
from tests.stores.redis.redis_support import running, valkey

ROOT = Path(__file__).parents[2]
PAST, FUTURE = 1_600_000_000, 4_000_000_000

TABLES = """
CREATE SCHEMA "odd ""$role0$";
CREATE TABLE "odd ""$role0$"."it's %s" (id int, "ends at" timestamptz, token text);
INSERT INTO "odd ""$role0$"."it's %s"
SELECT n, now() + CASE WHEN n < 20 THEN -1 ELSE 1 END * interval '9 days', 'x' FROM generate_series(1, 25) n;
CREATE TABLE parent (id int PRIMARY KEY, expires_at timestamptz, secret text);
CREATE TABLE child (id int PRIMARY KEY, parent_id int REFERENCES parent, note text);
CREATE TABLE grandchild (id int, child_id int REFERENCES child);
INSERT INTO parent SELECT n, now() + CASE WHEN n < 20 THEN -1 ELSE 1 END * interval '9 days', 'x'
FROM generate_series(1, 25) n;
INSERT INTO child SELECT n, n, 'x' FROM generate_series(1, 25) n;
INSERT INTO grandchild SELECT n, n FROM generate_series(1, 25) n;
CREATE TABLE parts (id int, expires_at timestamptz, secret text) PARTITION BY RANGE (id);
CREATE TABLE parts_low PARTITION OF parts FOR VALUES FROM (0) TO (10);
CREATE TABLE parts_high PARTITION OF parts FOR VALUES FROM (10) TO (99);
INSERT INTO parts SELECT n, now() + CASE WHEN n < 20 THEN -1 ELSE 1 END * interval '9 days', 'x'
FROM generate_series(1, 25) n;
CREATE TABLE holder (session int, active bool, secret text); INSERT INTO holder VALUES (1, true, 'x');
CREATE TABLE held (id int, expires_at timestamptz, secret text, code text);
INSERT INTO held SELECT n, now() + CASE WHEN n < 20 THEN -1 ELSE 1 END * interval '9 days', 'x', 'c'
FROM generate_series(1, 25) n;
CREATE TABLE codes (id int, code text, code_expires timestamptz, secret text);
INSERT INTO codes SELECT n, 'c', now() - interval '9 days', 'x' FROM generate_series(1, 25) n;
CREATE TABLE kept (id int PRIMARY KEY, expires_at timestamptz, user_id int, secret text);
CREATE TABLE kept_child (id int PRIMARY KEY, kept_id int REFERENCES kept, note text);
INSERT INTO kept SELECT n, now() + CASE WHEN n < 20 THEN -1 ELSE 1 END * interval '9 days', 1, 'x'
FROM generate_series(1, 25) n;
INSERT INTO kept_child SELECT n, n, 'x' FROM generate_series(1, 25) n;
CREATE TABLE secrets (value text);
"""
POSTGRES = """
cleanup: {batch_size: 10, pause: 0s}
stores: {main: {type: postgres, url: "${URL}"}}
targets:
  odd: {store: main, schema: 'odd "$role0$', table: "it's %s", expires: {column: "ends at"}, mode: delete}
  parents: {store: main, table: parent, expires: {column: expires_at}, children: delete_first, mode: delete}
  parts: {store: main, table: parts, expires: {column: expires_at}, mode: delete}
  held:
    store: main
    table: held
    expires: {column: expires_at}
    guards: [{not_referenced_by: holder, key: session, by: id, where: {active: true}}]
    mode: delete
  kept:
    {store: main, table: kept, expires: {column: expires_at}, children: delete_first, mode: delete,
     removal_ledger: true, quarantine: true, owner: user_id}
  codes: {store: main, table: codes, expires: {column: code_expires}, set_null: [code, code_expires], mode: delete}
"""


FORBIDDEN = """
SELECT secret FROM parent
SELECT token FROM "odd ""$role0$"."it's %s"
SELECT note FROM child
SELECT * FROM secrets
UPDATE parent SET id = 1
INSERT INTO parent VALUES (99)
DELETE FROM holder
TRUNCATE parent
ALTER TABLE parent ADD x int
CREATE ROLE more
SET ROLE postgres
"""


def ran(settings: Settings) -> PassReport:
    with dg.instance_for_test() as instance:
        job = build_defs(settings).resolve_job_def("clean_sessions")
        quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        result = job.execute_in_process(instance=instance, run_config=quiet, raise_on_error=False)
        return close_pass(instance, result.run_id, "sessions", settings.targets_of("sessions"))


def settings_of(text: str, folder: Path, url: str) -> Settings:
    file = folder / "cleanup.yaml"
    file.write_text(text)
    key = "0123456789abcdefghijklmnopqrstuvwxyz0123"
    return load_settings(file, {"URL": url, "CLEANUP_REMOVAL_KEY": key, "CLEANUP_QUARANTINE_KEY": key})


@pytest.fixture
def db(postgres_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(TABLES)
        yield connection
        if connection.execute("SELECT FROM pg_roles WHERE rolname = 'cleanup'").fetchone():
            connection.execute("DROP OWNED BY cleanup; DROP ROLE cleanup")


def test_postgres(db: psycopg.Connection[Any], postgres_url: str, tmp_path: Path) -> None:
    settings = settings_of(POSTGRES, tmp_path, postgres_url.replace("postgres@", "cleanup@"))
    text = script(settings.stores["main"], list(settings.targets))
    for _ in range(2):  # a script may be run again
        db.execute(text)
    report = ran(settings)
    assert report.status is PassStatus.SUCCEEDED, [each.error for each in report.targets]
    children = db.execute("SELECT count(*) FROM child UNION ALL SELECT count(*) FROM grandchild").fetchall()
    assert children == [(6,), (6,)]
    assert {each.target: each.deleted for each in report.targets} == {
        "odd": 19, "parents": 19, "parts": 19, "held": 18, "kept": 19, "codes": 25,
    }  # fmt: skip
    with psycopg.connect(settings.stores["main"].url, autocommit=True) as login:
        for forbidden in FORBIDDEN.strip().splitlines():
            with pytest.raises(errors.InsufficientPrivilege):
                login.execute(forbidden)  # type: ignore[call-overload]
        assert login.execute("SHOW lock_timeout").fetchone() == ("2s",)
        # What was kept of them can be put back.
        for table in ("kept", "kept_child"):
            assert login.execute("SELECT has_table_privilege(%s, 'INSERT')", (table,)).fetchone() == (True,)


@pytest.mark.parametrize("column", ["expires_at", "ctid"])
def test_postgres_without_one_column(
    db: psycopg.Connection[Any], postgres_url: str, tmp_path: Path, column: str
) -> None:
    settings = settings_of(POSTGRES, tmp_path, postgres_url.replace("postgres@", "cleanup@"))
    db.execute(script(settings.stores["main"], list(settings.targets)))
    db.execute(f"REVOKE SELECT ({column}) ON parent FROM cleanup")  # type: ignore[call-overload]
    store = open_store(settings.stores["main"])
    with pytest.raises(StoreError, match=rf"user cleanup lacks SELECT \({column}\) on parent"):
        store.preflight(next(each for each in settings.targets if each.name == "parents"))
    store.close()


REDIS = """
cleanup: {batch_size: 10, pause: 0s}
stores: {cache: {type: redis, url: "${URL}"}}
targets:
  hashes:
    store: cache
    keys: "hash:*"
    key_type: hash
    expires: {hash_field: expires_at, repair_ttl: true}
    mode: delete
  json: {store: cache, keys: "json:*", key_type: string, expires: {json: exp, unit: s}, mode: delete}
  packed: {store: cache, keys: "packed:*", key_type: string, expires: {msgpack: exp}, mode: delete}
  plain: {store: cache, keys: "plain \\\\[*", key_type: string, expires: {value: s}, mode: delete}
  pointers:
    store: cache
    keys: "pointer:*"
    key_type: string
    expires: {pointer_to: "record:", prefix: "pointer:", matches: token, hash_field: expires_at}
    mode: delete
  members: {store: cache, keys: "set:*", key_type: set, expires: {members_of: "member:{member}"}, mode: delete}
  listed: {store: cache, keys: "list:*", key_type: list, expires: {members_of: "member:{member}"}, mode: delete}
  scores: {store: cache, keys: "scores:*", key_type: zset, expires: {score: s}, mode: delete}
  ttls: {store: cache, keys: "ttl:*", key_type: string, expires: {ttl: native}, mode: delete}
"""


def fill(client: Redis) -> None:
    for n in range(20):
        dies = PAST if n < 15 else FUTURE
        client.hset(f"hash:{n}", "expires_at", dies)
        client.set(f"json:{n}", json.dumps({"exp": dies}))
        client.set(f"packed:{n}", msgspec.msgpack.encode({"exp": datetime.fromtimestamp(dies, UTC)}))
        client.set(f"plain [{n}", dies)
        client.set(f"pointer:{n}", f"record:{n}")
        client.hset(f"record:{n}", mapping={"token": n, "expires_at": dies})
        client.sadd("set:a", n)
        client.rpush("list:a", n)
        client.zadd("scores:a", {str(n): dies})
        client.set(f"ttl:{n}", 1, ex=1000)
        if n >= 15:
            client.set(f"member:{n}", 1)


def allow(client: Redis, settings: Settings) -> None:
    for line in script(settings.stores["cache"], list(settings.targets)).splitlines():
        if not line.startswith("#"):
            # Redis before 7.2 knows no NO-TOUCH, as the script says.
            with suppress(ResponseError) if "no-touch" in line else nullcontext():
                client.execute_command(*shell_words(line))
    client.execute_command("ACL", "SETUSER", "cleanup", ">pw")


@pytest.mark.skipif(not Path("/usr/bin/redis-server").exists(), reason="no redis-server")
def test_an_older_redis_takes_the_script(tmp_path: Path) -> None:
    with running(Path("/usr/bin/redis-server"), tmp_path) as server, Redis.from_url(server.url) as client:
        settings = settings_of(REDIS, tmp_path, server.url.replace("//", "//cleanup:pw@"))
        allow(client, settings)
        store = open_store(settings.stores["cache"])
        for target in settings.targets:
            store.preflight(target)
        store.close()


def test_redis(tmp_path: Path) -> None:
    with running(valkey(), tmp_path) as server, Redis.from_url(server.url) as client:
        fill(client)
        settings = settings_of(REDIS, tmp_path, server.url.replace("//", "//cleanup:pw@"))
        allow(client, settings)
        report = ran(settings)
        assert report.status is PassStatus.SUCCEEDED, [each.error for each in report.targets]
        assert {each.target: each.deleted for each in report.targets} == {
            **dict.fromkeys(["hashes", "json", "packed", "plain", "pointers", "members", "listed", "scores"], 15),
            "ttls": 0,
        }
        assert client.hlen("record:3") == 2
        with Redis.from_url(settings.stores["cache"].url) as login:
            for forbidden in (
                ("KEYS", "*"), ("FLUSHALL",), ("GET", "other"), ("SET", "json:1", "x"), ("CONFIG", "GET", "*"),
                ("UNLINK", "record:3"), ("ACL", "LIST"), ("SHUTDOWN",), ("DUMP", "json:1"),
            ):  # fmt: skip
                with pytest.raises(NoPermissionError):
                    login.execute_command(*forbidden)


def test_redis_of_keys_that_are_kept(tmp_path: Path) -> None:
    kept = """
  kept:
    {store: cache, keys: "hash:*", key_type: hash, expires: {hash_field: expires_at}, mode: delete,
     removal_ledger: true, quarantine: true, owner: user}
  packed:
    {store: cache, keys: "packed:*", key_type: string, expires: {msgpack: exp}, mode: delete, quarantine: true}
"""
    with running(valkey(), tmp_path) as server, Redis.from_url(server.url) as client:
        fill(client)
        url = server.url.replace("//", "//cleanup:pw@")
        settings = settings_of(REDIS.partition("targets:")[0] + "targets:" + kept, tmp_path, url)
        allow(client, settings)
        report = ran(settings)
        assert report.status is PassStatus.SUCCEEDED, [each.error for each in report.targets]
        assert {each.target: each.deleted for each in report.targets} == {"kept": 15, "packed": 15}
        with Redis.from_url(url) as login:
            login.restore("hash:1", 0, client.dump("hash:19") or b"")


def shell_words(line: str) -> list[bytes]:
    """A line as redis-cli reads it: sdssplitargs of the words that this script holds."""
    words = []
    for match in re.finditer(r'"((?:[^"\\]|\\.)*)"|(\S+)', line):
        quoted, plain = match.groups()
        if plain is not None:
            words.append(plain.encode())
        else:
            words.append(re.sub(rb"\\x([0-9a-f]{2})", lambda m: bytes([int(m[1], 16)]), quoted.encode()))
    return words


MONGO = """
cleanup: {batch_size: 10, pause: 0s}
stores: {docs: {type: mongo, url: "${URL}"}}
targets:
  sessions: {store: docs, collection: sessions, expires: {field: expires_at}, mode: delete}
  tokens: {store: docs, collection: users, expires: {field: tokens.expires_at, pull: tokens}, mode: delete}
"""


class Sent(CommandListener):
    """What a login would have to be allowed: command, collection."""

    def __init__(self) -> None:
        self.seen: set[tuple[str, str]] = set()

    def started(self, event: CommandStartedEvent) -> None:
        first = next(iter(event.command.values()))
        self.seen.add((event.command_name, first if isinstance(first, str) else ""))

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """Nothing."""

    def failed(self, event: CommandFailedEvent) -> None:
        """Nothing."""


ACTIONS = {
    "find": "find", "aggregate": "find", "count": "find", "delete": "remove", "update": "update", "insert": "insert",
    "listIndexes": "listIndexes", "listCollections": "listCollections",
}  # fmt: skip
FREE = {
    "hello",
    "ismaster",
    "ping",
    "buildInfo",
    "buildinfo",
    "connectionStatus",
    "endSessions",
    "killCursors",
    "getMore",
}
OPTIONAL = {"serverStatus", "replSetGetStatus", "getParameter"}
"""By clusterMonitor; a pass goes without."""


def test_mongo_sends_nothing_but_what_the_role_allows(
    mongo_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SecantusDB checks logins, but no rights: so what is sent is compared with what the script grants."""
    now, sent = datetime.now(UTC), Sent()
    settings = settings_of(MONGO, tmp_path, mongo_url)
    text = script(settings.stores["docs"], list(settings.targets))
    with pymongo.MongoClient[dict[str, Any]](mongo_url) as client:
        database = client.get_default_database()
        database["sessions"].insert_many(
            [{"_id": n, "expires_at": now + timedelta(days=-1 if n < 15 else 1)} for n in range(20)]
        )
        database["users"].insert_one({"_id": 1, "tokens": [{"expires_at": now - timedelta(days=1)}]})
    monkeypatch.setattr("pymongo.monitoring._LISTENERS", _Listeners([sent], [], [], [], []))
    report = ran(settings)
    assert [each.deleted for each in report.targets] == [15, 1]
    targets = json.loads(text.partition("const targets = ")[2].partition(";")[0].replace(",\n]", "\n]"))
    allowed = {(action, collection) for _, collection, actions in targets for action in actions}
    allowed |= {(action, "cleanup_pipeline_leases") for action in ("find", "insert", "update")}
    allowed.add(("listCollections", ""))
    assert {database for database, *_ in targets} == {database.name}
    used = {(ACTIONS[name], place) for name, place in sent.seen if name not in FREE | OPTIONAL}
    assert used <= allowed, used - allowed
    assert {("remove", "sessions"), ("update", "users")} <= used


STORES = {"postgres.sql": "main", "redis.acl": "cache", "mongo.js": "docs"}


@pytest.mark.parametrize("name", STORES)
def test_the_files_of_deploy_are_those_of_the_example(name: str) -> None:
    """deploy/roles is what `cleanup-pipeline roles` prints for examples/cleanup.yaml."""
    urls = {
        "CLEANUP_POSTGRES_URL": "postgresql://h/app",
        "CLEANUP_REDIS_URL": "redis://h",
        "CLEANUP_MONGO_URL": "mongodb://h/app",
    }
    settings = load_settings(ROOT / "examples" / "cleanup.yaml", urls)
    targets = [each for each in settings.targets if each.store == STORES[name]]
    expected = script(settings.stores[STORES[name]], targets)
    assert (ROOT / "deploy" / "roles" / name).read_text(encoding="utf-8") == expected


def test_roles_says_which_stores_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings_of(POSTGRES, tmp_path, "postgresql://u:c4n4ry@127.0.0.1:1/app")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("URL", "postgresql://u:c4n4ry@127.0.0.1:1/app")
    for key in ("CLEANUP_REMOVAL_KEY", "CLEANUP_QUARANTINE_KEY"):
        monkeypatch.setenv(key, "0123456789abcdefghijklmnopqrstuvwxyz0123")
    monkeypatch.delenv("CLEANUP_SETTINGS", raising=False)
    ran_alone = CliRunner().invoke(app, ["roles"])
    assert ran_alone.exit_code == 0 and "GRANT SELECT" in ran_alone.stdout and "c4n4ry" not in ran_alone.output
    wrong = CliRunner().invoke(app, ["roles", "mian"])
    assert wrong.exit_code != 0 and "did you mean main?" in str(wrong.exception or wrong.output)
