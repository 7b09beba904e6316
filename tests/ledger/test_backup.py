"""A ledger into a file and back, on both databases; and what an older program makes of a newer one."""

import sqlite3
import stat
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from alembic import command
from sqlalchemy import text
from typer.testing import CliRunner

from cleanup_pipeline.cli.main import app
from cleanup_pipeline.ledger import Ledger, LedgerError, Recorder, open_ledger
from cleanup_pipeline.ledger.backup import back_up, restore
from cleanup_pipeline.ledger.connect import place_of
from cleanup_pipeline.ledger.migrate import alembic_config
from cleanup_pipeline.ledger.tables import VERSION_TABLE
from tests.ledger.records import PLAN, REPORT, everything, outcome

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


def fill(ledger: Ledger, run_id: str = "run") -> None:
    ledger.begin_pass(run_id, "sessions", window="2026-11-26T11:00")
    ledger.record_plan(run_id, PLAN)
    for shard in (0, 1):
        ledger.begin_shard(run_id, PLAN, shard, at_most=40)
        ledger.record_shard(run_id, outcome(shard, 20, error="no" if shard else None))
    ledger.record_target(run_id, REPORT)
    ledger.close_pass(run_id, "succeeded")
    ledger.seal(datetime.now(UTC) + timedelta(days=3))
    ledger.plans.key(NOW)


def test_every_row_comes_back_also_in_the_other_database(
    ledger: Ledger, url: str, tmp_path: Path, postgres_url: str
) -> None:
    fill(ledger)
    file = tmp_path / "backups" / "ledger.db"
    made = back_up(url, file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    # One file, without a journal beside it.
    assert [each.name for each in file.parent.iterdir()] == ["ledger.db"]
    assert made.passes == 1 and made.rows > 5
    other = f"sqlite:///{tmp_path / 'other.db'}" if url.startswith("postgresql") else postgres_url
    assert restore(file, other) == made
    opened = open_ledger(other)
    assert everything(opened) == everything(ledger)
    opened.close()


def test_it_shows_one_instant_while_others_write(ledger: Ledger, url: str, tmp_path: Path) -> None:
    fill(ledger)
    before = everything(ledger)
    with ledger.place.writing() as connection:
        # Somebody is in the middle of writing; their row is not in the backup, and they are not kept from it.
        connection.execute(text("UPDATE cleanup_passes SET status = 'failed'"))
        back_up(url, tmp_path / "ledger.db")
    opened = open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    assert everything(opened) == before
    opened.close()


def test_a_ledger_with_anything_in_it_is_not_restored_over(ledger: Ledger, url: str, tmp_path: Path) -> None:
    fill(ledger)
    back_up(url, tmp_path / "ledger.db")
    fill(ledger, "later")
    before = everything(ledger)
    with pytest.raises(LedgerError, match=r"is not empty \(cleanup_.*\); stop what writes to it"):
        restore(tmp_path / "ledger.db", url)
    assert everything(ledger) == before


def test_what_cannot_be_backed_up_or_restored_is_said(tmp_path: Path, postgres_url: str) -> None:
    there, other = tmp_path / "there", tmp_path / "other.db"
    there.write_text("no database")
    with closing(sqlite3.connect(other)) as empty:
        empty.execute("CREATE TABLE t (n)")
    with pytest.raises(LedgerError, match=r"there exists; name a file that does not"):
        back_up(postgres_url, there)
    with pytest.raises(LedgerError, match=r"there is no ledger at .*missing\.db"):
        back_up(f"sqlite:///{tmp_path / 'missing.db'}", tmp_path / "new.db")
    with pytest.raises(LedgerError, match=r"there is no ledger; back up with the version that wrote it"):
        back_up(postgres_url, tmp_path / "new.db")
    for file in (there, other):
        with pytest.raises(LedgerError, match=r"is no backup of a ledger"):
            restore(file, postgres_url)
    with pytest.raises(LedgerError, match=r"missing\.db: cannot be read \(No such file or directory\)$"):
        restore(tmp_path / "missing.db", postgres_url)
    assert not (tmp_path / "new.db").exists() and not (tmp_path / "missing.db").exists()


def test_a_backup_of_an_older_version_is_brought_up(url: str, tmp_path: Path) -> None:
    file = tmp_path / "old.db"
    place = place_of(f"sqlite:///{file}")
    with place.writing() as connection:
        config = alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.execute(
            text(
                "INSERT INTO cleanup_passes (run_id, pass_name, dry_run, host, started_at, heartbeat_at)"
                " VALUES ('old', 'sessions', false, '', '2026-01-01 00:00:00.000000', '2026-01-01 00:00:00.000000')"
            )
        )
    place.engine.dispose()
    assert restore(file, url).passes == 1
    opened = open_ledger(url)
    assert [row.run_id for row in opened.history(5)] == ["old"]
    opened.close()


def test_an_older_program_leaves_a_newer_ledger_alone_and_passes_go_on(url: str, tmp_path: Path) -> None:
    newer = open_ledger(url)
    fill(newer)
    with newer.place.writing() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    before = everything(newer)
    with pytest.raises(LedgerError, match="upgrade cleanup-pipeline here, too"):
        open_ledger(url)
    # What a pass writes through: it never fails for it, and never writes into tables that it does not know.
    recorder = Recorder(url)
    recorder.begin_pass("rolled_back", "sessions", dry_run=False, window=None, parent_run_id=None, host="h")
    recorder.close_pass("rolled_back", "succeeded", None)
    assert "upgrade cleanup-pipeline here, too" in str(recorder.trouble)
    recorder.close()
    assert everything(newer) == before
    if url.startswith("sqlite"):
        back_up(url, tmp_path / "newer.db")
        with pytest.raises(LedgerError, match="upgrade cleanup-pipeline here, too"):
            restore(tmp_path / "newer.db", f"sqlite:///{tmp_path / 'new.db'}")
    newer.close()


def test_the_command_moves_a_ledger_from_a_file_to_a_server(
    tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    of_file = open_ledger(f"sqlite:///{tmp_path / 'laptop.db'}")
    fill(of_file)
    of_file.close()
    monkeypatch.setenv("CLEANUP_LEDGER_URL", f"sqlite:///{tmp_path / 'laptop.db'}")
    told = CliRunner().invoke(app, ["ledger", "backup", "moved.db"], catch_exceptions=False).output
    assert told.startswith("moved.db: 1 passes, ")
    (tmp_path / "daily").mkdir()
    for day in range(1, 9):
        (tmp_path / "daily" / f"ledger-2026110{day}T031000Z.db").write_text("")
    (tmp_path / "daily" / "somebody's.db").write_text("")
    CliRunner().invoke(app, ["ledger", "backup", "daily", "--keep", "3"], catch_exceptions=False)
    kept = sorted(each.name for each in (tmp_path / "daily").iterdir())
    assert kept[:2] == ["ledger-20261107T031000Z.db", "ledger-20261108T031000Z.db"]
    assert len(kept) == 4 and kept[3] == "somebody's.db"
    monkeypatch.setenv("CLEANUP_LEDGER_URL", postgres_url)
    told = CliRunner().invoke(app, ["ledger", "restore", "moved.db"], catch_exceptions=False).output
    assert "1 passes" in told and told.rstrip().endswith("are back from moved.db")
    with psycopg.connect(postgres_url) as db:
        assert db.execute("SELECT run_id, status FROM cleanup_passes").fetchall() == [("run", "succeeded")]
