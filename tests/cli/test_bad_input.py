"""Targets that cannot be cleaned, in one pass with one that can: each says why in a line, and the rest is done."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pymongo
import pytest
import redis

from cleanup_pipeline.embedded.servers import Server, start_redis
from tests.cli.conftest import Program

PASSWORD = "right-Pw-1"
WRONG = "s3cret-Pw"

SETTINGS = """
cleanup: {pause: 0s}
stores:
  main: {type: postgres, url: "${CLEANUP_POSTGRES_URL}"}
  reader: {type: postgres, url: "${READER_URL}"}
  locked: {type: postgres, url: "${LOCKED_URL}"}
  gone: {type: postgres, url: "postgresql://nobody@127.0.0.1:9/db", connect_timeout: 1s}
  cache: {type: redis, url: "${CACHE_URL}"}
  gone_cache: {type: redis, url: "redis://127.0.0.1:9/0", connect_timeout: 1s}
  docs: {type: mongo, url: "${CLEANUP_MONGO_URL}"}
  gone_docs: {type: mongo, url: "mongodb://127.0.0.1:9/db", connect_timeout: 1s}
targets:
  no_table: {store: main, table: wep, expires: {column: expires_at}, mode: delete}
  no_column: {store: main, table: web, expires: {column: expire_at}, mode: delete}
  no_instant: {store: main, table: web, expires: {column: note}, mode: delete}
  no_delete: {store: reader, table: web, expires: {column: expires_at}, mode: delete}
  no_login: {store: locked, table: web, expires: {column: expires_at}, mode: delete}
  no_server: {store: gone, table: web, expires: {column: expires_at}, mode: delete}
  no_cache_login: {store: cache, keys: "s:*", expires: {value: s}, mode: delete}
  no_cache: {store: gone_cache, keys: "s:*", expires: {value: s}, mode: delete}
  no_collection: {store: docs, collection: logim, expires: {field: expires_at}, mode: delete}
  no_docs: {store: gone_docs, collection: login, expires: {field: expires_at}, mode: delete}
  good: {store: main, pass: sessions, table: app, expires: {column: expires_at}, mode: delete}
"""

SAYS = {
    "no_table": ["targets.no_table.table: table wep does not exist", "did you mean web?"],
    "no_column": ["targets.no_column.expires.column:", "no column expire_at", "did you mean expires_at?"],
    "no_instant": ["targets.no_instant.expires", "column note is text, not a timestamp"],
    "no_delete": ["targets.no_delete", "GRANT", "DELETE"],
    "no_login": ["stores.locked.url:", "refuses the login", "correct user and password"],
    "no_server": ["stores.gone.url:", "127.0.0.1:9", "start the server"],
    "no_cache_login": ["stores.cache.url:", "refuses the login", "correct user and password"],
    "no_cache": ["stores.gone_cache.url:", "cannot reach", "start the server"],
    "no_collection": ["targets.no_collection.collection:", "collection logim does not exist"],
    "no_docs": ["stores.gone_docs.url:", "cannot reach", "start the server"],
}


@pytest.fixture
def logins(postgres_url: str, postgres_server: Server) -> Iterator[tuple[str, str]]:
    """Two URLs of the test's database: a role that may read only, and one with a wrong password."""
    with psycopg.connect(postgres_server.url, autocommit=True) as admin:
        admin.execute("CREATE ROLE cli_reader LOGIN")
        admin.execute(f"CREATE ROLE cli_locked LOGIN PASSWORD '{PASSWORD}'")
        shown = admin.execute("SHOW hba_file").fetchone()
        assert shown
        hba = Path(shown[0])
        before = hba.read_text()
        hba.write_text(f"host all cli_locked 127.0.0.1/32 scram-sha-256\n{before}")
        admin.execute("SELECT pg_reload_conf()")
    place = postgres_url.split("@", 1)[1]
    yield f"postgresql://cli_reader@{place}", f"postgresql://cli_locked:{WRONG}@{place}"
    hba.write_text(before)
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute("SELECT pg_reload_conf()")
        admin.execute("DROP OWNED BY cli_reader, cli_locked")
        admin.execute("DROP ROLE cli_reader, cli_locked")


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Server]:
    server = start_redis(tmp_path / "redis", password=PASSWORD)
    yield server
    server.stop()


def fill(url: str, *tables: str, rows: int = 30) -> None:
    """Tables in which the first `rows` ids are expired and five more are live."""
    with psycopg.connect(url, autocommit=True) as login:
        for table in tables:
            login.execute(f"CREATE TABLE {table} (id int PRIMARY KEY, expires_at timestamptz, note text)")
            login.execute(
                f"INSERT INTO {table} SELECT n, now() + CASE WHEN n <= %s THEN -1 ELSE 1 END * interval '1 day', 'x'"
                " FROM generate_series(1, %s) n",
                (rows, rows + 5),
            )


def ids(url: str, table: str) -> list[int]:
    with psycopg.connect(url) as login:
        return [row[0] for row in login.execute(f"SELECT id FROM {table} ORDER BY id")]


def test_every_target_that_cannot_be_cleaned_says_why_and_the_good_one_is_done(
    program: Program, postgres_url: str, logins: tuple[str, str], cache: Server, mongo_url: str
) -> None:
    reader, locked = logins
    fill(postgres_url, "web", "app")
    with psycopg.connect(postgres_url, autocommit=True) as login:
        login.execute("GRANT SELECT ON web TO cli_reader")
    with redis.Redis.from_url(cache.url) as client:
        client.set("s:1", "1000000000")
    with pymongo.MongoClient(mongo_url) as docs:  # type: ignore[var-annotated]
        docs.get_default_database()["login"].insert_one({"_id": 1})
    variables = {
        "CLEANUP_POSTGRES_URL": postgres_url,
        "CLEANUP_MONGO_URL": mongo_url,
        "READER_URL": reader,
        "LOCKED_URL": locked,
        "CACHE_URL": cache.url.replace(PASSWORD, WRONG),
    }
    ran = program("run", "sessions", "--json", settings=SETTINGS, **variables)
    assert ran.returncode == 1, ran.stderr
    document = json.loads(ran.stdout)
    assert document["status"] == "partial"
    targets = {one["target"]: one for one in document["targets"]}
    for name, says in SAYS.items():
        error = targets[name]["error"]
        assert error and "\n" not in error and all(words in error for words in says), (name, error)
        assert (targets[name]["deleted"], targets[name]["survivors"]) == (0, None)
    assert (targets["good"]["deleted"], targets["good"]["survivors"], targets["good"]["error"]) == (30, 0, None)
    assert ids(postgres_url, "app") == [31, 32, 33, 34, 35] and len(ids(postgres_url, "web")) == 35
    with redis.Redis.from_url(cache.url) as client:
        assert client.get("s:1") == b"1000000000"
    assert WRONG not in ran.stdout + ran.stderr

    shown = program("plan", "sessions", **variables)
    assert shown.returncode == 1 and WRONG not in shown.stdout + shown.stderr
    faults = [line for line in shown.stderr.splitlines() if line.startswith("✗ ")]
    assert sorted(faults) == sorted(f"✗ {targets[name]['error']}" for name in SAYS)
    assert "good (session in main, postgres)" in shown.stdout


GOES_AWAY = """
cleanup: {batch_size: 10, pause: 20ms}
stores:
  main: {type: postgres, url: "${CLEANUP_POSTGRES_URL}"}
  cache: {type: redis, url: "${CLEANUP_REDIS_URL}", connect_timeout: 1s}
targets:
  breaks: {store: cache, keys: "s:*", expires: {value: s}, mode: delete}
  good: {store: main, table: app, expires: {column: expires_at}, mode: delete}
"""


@pytest.mark.long
def test_a_server_that_goes_away_in_the_middle(program: Program, postgres_url: str, cache: Server) -> None:
    fill(postgres_url, "app")
    many = 20_000
    stopped_at: list[int] = []
    with redis.Redis.from_url(cache.url) as client:
        client.mset({f"s:{n}": "1000000000" for n in range(many)})

        def stop_when_some_are_gone() -> None:
            deadline = time.monotonic() + 60
            while (left := int(client.dbsize())) >= many and time.monotonic() < deadline:
                time.sleep(0.01)
            stopped_at.append(left)
            cache.stop()

        stopper = threading.Thread(target=stop_when_some_are_gone)
        stopper.start()
        ran = program(
            "run", "sessions", settings=GOES_AWAY, CLEANUP_POSTGRES_URL=postgres_url, CLEANUP_REDIS_URL=cache.url
        )
        stopper.join()
    assert 0 < stopped_at[0] < many
    assert ran.returncode == 1
    assert ran.stdout.startswith("sessions: partial in "), ran.stdout
    assert "stores.cache.url: cannot reach" in ran.stdout and "start the server" in ran.stdout
    assert ids(postgres_url, "app") == [31, 32, 33, 34, 35]
    assert PASSWORD not in ran.stdout + ran.stderr
