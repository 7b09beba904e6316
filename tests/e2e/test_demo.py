"""`cleanup-pipeline demo`: on servers of its own, stopped half way, again, and on stores that are somebody's."""

import signal
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pymongo
import pytest
import redis

from tests.cli.test_bad_input import fill
from tests.e2e.support import marked, started, wait_for

pytestmark = pytest.mark.timeout(180)


def servers(folder: Path) -> list[str]:
    """The command lines of servers whose data is under `folder`."""
    return [line for line in marked(folder) if "valkey-server" in line or "secantusd" in line or "postgres" in line]


@pytest.mark.long
def test_the_demo_compares_every_record_and_leaves_no_process(open_folder: Path) -> None:
    with started(open_folder, "demo") as program:
        program.wait_until_it_says("before")
        assert len(servers(open_folder)) >= 3
        assert program.process.wait(120) == 0, program.output()
        assert "Compared record by record: all 3,431 expired ones are gone, all 2,500 others" in program.output()
        assert max(map(len, program.output().split("Compared")[0].splitlines())) <= 80
        assert "cleanup-pipeline up" in program.output()
        assert marked(open_folder) == []


def first_pass_runs(folder: Path) -> bool:
    """Whether a step of the first pass has begun."""
    kept = (folder / ".cleanup" / "storage" / "history" / "runs").glob("*-*.db")
    for place in kept:
        with sqlite3.connect(place) as events, suppress(sqlite3.OperationalError):
            (count,) = events.execute(
                "SELECT count(*) FROM event_logs WHERE dagster_event_type = 'STEP_START'"
            ).fetchone()
            if count:
                return True
    return False


@pytest.mark.long
def test_stopped_half_way_it_leaves_no_process_and_can_start_again(open_folder: Path) -> None:
    with started(open_folder, "demo") as program:
        program.wait_until_it_says("before")
        # Within the first pass: Dagster holds the signal, and the second pass must not start.
        wait_for("the first pass", lambda: first_pass_runs(open_folder))
        assert program.end(signal.SIGINT) == 130, program.output()
        assert "Traceback" not in program.output()
        assert "verification_tokens:" not in program.output() and "after" not in program.output().split()
        wait_for("all processes gone", lambda: not marked(open_folder), 15)
    with started(open_folder, "demo") as program:
        wait_for("a server", lambda: servers(open_folder))
        assert program.end(signal.SIGTERM) == 130, program.output()
        assert program.output().endswith("stopped\n") and "Traceback" not in program.output()
        wait_for("all processes gone", lambda: not marked(open_folder), 15)
    with started(open_folder, "demo") as program:
        assert program.process.wait(120) == 0, program.output()
        assert "Compared record by record" in program.output()


def contents(postgres_url: str, redis_url: str, mongo_url: str) -> dict[str, Any]:
    """Everything that is in the three stores."""
    with psycopg.connect(postgres_url) as login:
        tables = [row[0] for row in login.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
        found: dict[str, Any] = {f"pg:{name}": login.execute(f"TABLE {name}").fetchall() for name in tables}
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        found["redis"] = {key: (client.dump(key), client.pttl(key)) for key in sorted(client.keys("*"))}
    docs: pymongo.MongoClient[Any]
    with pymongo.MongoClient(mongo_url) as docs:
        database = docs.get_default_database()
        found |= {f"mongo:{name}": list(database[name].find()) for name in database.list_collection_names()}
    return {name: sorted(rows, key=str) if isinstance(rows, list) else rows for name, rows in found.items()}


@pytest.mark.long
def test_on_your_own_stores_it_writes_no_sample_data(
    open_folder: Path, postgres_url: str, redis_url: str, mongo_url: str
) -> None:
    fill(postgres_url, "app")
    with psycopg.connect(postgres_url, autocommit=True) as login:
        login.execute(
            "CREATE TABLE django_session (session_key varchar(40) PRIMARY KEY, session_data text NOT NULL,"
            " expire_date timestamptz NOT NULL)"
        )
        login.execute(
            "INSERT INTO django_session SELECT 'key' || n, 'data',"
            " now() + CASE WHEN n <= 30 THEN -1 ELSE 1 END * interval '1 day' FROM generate_series(1, 40) n"
        )
    with redis.Redis.from_url(redis_url) as client:
        client.mset({"cart:1": "1000000000", "cart:2": "x"})
    docs: pymongo.MongoClient[Any]
    with pymongo.MongoClient(mongo_url) as docs:
        docs.get_default_database()["orders"].insert_many([{"_id": n, "n": n} for n in range(3)])
    before = contents(postgres_url, redis_url, mongo_url)
    before["pg:django_session"] = [row for row in before["pg:django_session"] if int(row[0][3:]) > 30]
    with started(
        open_folder,
        "demo",
        CLEANUP_POSTGRES_URL=postgres_url,
        CLEANUP_REDIS_URL=redis_url,
        CLEANUP_MONGO_URL=mongo_url,
    ) as program:
        assert program.process.wait(120) == 0, program.output()
        assert "Running on your own stores" in program.output() and "Compared" not in program.output()
        assert marked(open_folder) == []
    assert contents(postgres_url, redis_url, mongo_url) == before
    assert not (open_folder / ".cleanup" / "demo").exists()
