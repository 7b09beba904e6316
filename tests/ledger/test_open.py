"""Opening a ledger: its tables, who may read them, and many who open a new one at the same time."""

import multiprocessing
import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

from cleanup_pipeline.ledger import Ledger, LedgerError, Totals, open_ledger
from cleanup_pipeline.ledger.connect import place_of
from cleanup_pipeline.ledger.migrate import HEAD, alembic_config
from cleanup_pipeline.ledger.tables import VERSION_TABLE, metadata
from cleanup_pipeline.model.outcome import Tally
from tests.ledger.records import PLAN, outcome


def test_migrations_make_what_the_code_expects(ledger: Ledger) -> None:
    options = {"version_table": VERSION_TABLE, "compare_type": True, "compare_server_default": True}
    with ledger.place.reading() as connection:
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, metadata) == []
    assert ScriptDirectory.from_config(alembic_config()).get_heads() == [HEAD]


def test_a_column_too_many_would_be_seen(ledger: Ledger) -> None:
    with ledger.place.writing() as connection:
        connection.execute(text("ALTER TABLE cleanup_days ADD COLUMN odd TEXT"))
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        [difference] = compare_metadata(context, metadata)
    assert difference[0] == "remove_column" and difference[3].name == "odd"


def test_other_tables_of_the_database_are_left_alone(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as db:
        db.execute("CREATE TABLE alembic_version (version_num text); INSERT INTO alembic_version VALUES ('of dagster')")
        open_ledger(postgres_url).close()
        assert db.execute("SELECT version_num FROM alembic_version").fetchall() == [("of dagster",)]
        made = db.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    assert {name for (name,) in made} == {"alembic_version", VERSION_TABLE, *metadata.tables}
    assert all(name.startswith("cleanup_") for name in metadata.tables)


def test_a_ledger_of_another_version_is_refused(url: str) -> None:
    open_ledger(url).close()
    place = place_of(url)
    with place.writing() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    with pytest.raises(LedgerError, match=f"has version 9999, and this program knows {HEAD} as the newest; upgrade"):
        open_ledger(url)
    with place.writing() as connection:
        connection.execute(text(f"DROP TABLE {VERSION_TABLE}"))
    with pytest.raises(LedgerError, match="has tables and no version"):
        open_ledger(url)
    place.engine.dispose()


def test_only_its_owner_reads_the_file(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "ledger.db"
    before = os.umask(0)
    try:
        ledger = open_ledger(f"sqlite:///{file}")
        ledger.begin_pass("r1", "sessions")
        modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in file.parent.iterdir()}
    finally:
        os.umask(before)
    assert modes == {"ledger.db": 0o600, "ledger.db-wal": 0o600, "ledger.db-shm": 0o600}
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    with ledger.place.reading() as connection:
        settings = {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in PRAGMAS}
    assert settings == PRAGMAS
    ledger.close()


PRAGMAS = {"journal_mode": "wal", "synchronous": 1, "busy_timeout": 5000}


def test_what_a_session_of_postgres_is_like(postgres_url: str) -> None:
    ledger = open_ledger(postgres_url)
    with ledger.place.reading() as connection:
        names = ("statement_timeout", "lock_timeout", "application_name")
        assert [connection.execute(text(f"SHOW {name}")).scalar() for name in names] == ["5s", "5s", "cleanup-pipeline"]
    ledger.close()


def test_a_ledger_that_is_there_is_opened_without_alembic(url: str) -> None:
    open_ledger(url).close()
    code = (
        "import sys; from cleanup_pipeline.ledger import open_ledger; open_ledger(sys.argv[1]).close();"
        " print('alembic' in sys.modules, 'dagster' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, url], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_who_writes_has_the_right_to_from_the_beginning(tmp_path: Path) -> None:
    file = tmp_path / "ledger.db"
    ledger = open_ledger(f"sqlite:///{file}")
    other = sqlite3.connect(file, timeout=0, isolation_level=None)
    look = text("SELECT count(*) FROM cleanup_passes")
    with ledger.place.reading() as connection:
        connection.execute(look)
        other.execute("BEGIN IMMEDIATE")
        other.execute("ROLLBACK")
    with ledger.place.writing() as connection:
        connection.execute(look)
        with pytest.raises(sqlite3.OperationalError, match="database is locked"):
            other.execute("BEGIN IMMEDIATE")
    other.close()
    ledger.close()


def _write(url: str, number: int) -> None:
    ledger = open_ledger(url)
    run_id = f"r{number}"
    ledger.begin_pass(run_id, "sessions")
    ledger.begin_shard(run_id, PLAN, 0, at_most=0)
    for done in range(10):
        ledger.progress(run_id, "web", 0, Tally(deleted=done), done + 1)
        # All of them also write about one pass.
        ledger.progress("shared", "web", number, Tally(deleted=done), done + 1)
    ledger.record_shard(run_id, outcome(0, 10))
    ledger.record_shard("shared", outcome(number, 10))
    ledger.close()


def test_processes_that_open_a_new_one_at_the_same_time(url: str) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_write, args=(url, number)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * 4
    ledger = open_ledger(url)
    assert ledger.totals() == Totals(80, 80)
    assert {row.run_id: row.deleted for row in ledger.history()} == {"shared": 40} | {f"r{n}": 10 for n in range(4)}
    ledger.close()


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ("nonsense", "this is no URL; write sqlite:///FILE"),
        ("postgresql://u:hunter2@h:port/d", "this is no URL"),
        ("mysql://u:hunter2@h/d", "found mysql, expected sqlite or postgresql"),
        ("postgresql://u:hunter2@127.0.0.1:9/d", "cannot be used .*; correct the URL"),
        ("postgresql://127.0.0.1:9/d?password=hunter2", "cannot be used"),
        ("postgresql://u:12/hunter2@127.0.0.1:9/d", "cannot be used"),
        ("sqlite:////proc/nowhere/x.db", "cannot be used"),
        ("sqlite:////proc/version", "cannot be used"),
    ],
)
def test_a_place_that_cannot_be_one(bad: str, words: str) -> None:
    with pytest.raises(LedgerError, match=f"^CLEANUP_LEDGER_URL: .*{words}") as raised:
        open_ledger(bad)
    assert "hunter2" not in str(raised.value) and "\n" not in str(raised.value)
    assert raised.value.__cause__ is None and (raised.value.__suppress_context__ or not raised.value.__context__)


def test_a_wrong_password_is_not_told(postgres_url: str) -> None:
    place = place_of(postgres_url.replace("postgres@", "postgres:hunter2@").replace("postgres:@", "postgres:hunter2@"))
    assert "hunter2" not in repr(place) and "hunter2" not in repr(Ledger(place))
    told = place.error("used", OSError("password hunter2 is\nwrong"))
    assert "password *** is wrong" in str(told)
