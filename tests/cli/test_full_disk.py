"""Dagster's own storage on a disk without room: one line that says so, and the next pass does what was left."""

import errno
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.exc import OperationalError

from cleanup_pipeline.cli.errors import storage_fault
from tests.cli.conftest import Program
from tests.faults.bench.disk import small_disk, why_not

SETTINGS = """
stores: {main: {type: postgres, url: "${CLEANUP_POSTGRES_URL}"}}
targets: {web: {store: main, table: web, expires: {column: e}, mode: delete}}
"""


@pytest.mark.long
@pytest.mark.skipif(why_not() is not None, reason=f"no disk of its own to fill: {why_not()}")
def test_a_pass_without_room_for_its_history(tmp_path: Path, program: Program, postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as db, small_disk(tmp_path, 16) as disk:
        db.execute("CREATE TABLE web (id int, e timestamptz)")
        db.execute("INSERT INTO web SELECT n, now() - interval '1 day' FROM generate_series(1, 1000) n")
        db.execute("INSERT INTO web SELECT -n, now() + interval '1 day' FROM generate_series(1, 100) n")
        where = {"CLEANUP_POSTGRES_URL": postgres_url}
        assert program("plan", settings=SETTINGS, **where).returncode == 0
        disk.fill()
        ran = program("run", "sessions", **where)
        assert ran.returncode == 1
        assert "Dagster's storage cannot be used (" in ran.stderr and "make room on its disk" in ran.stderr
        assert len(ran.stderr.splitlines()) < 6
        disk.make_room()
        ran = program("run", "sessions", **where)
        assert ran.returncode == 0, ran.stderr
        left = db.execute("SELECT count(*) FILTER (WHERE id < 0), count(*) FROM web").fetchone()
        assert left == (100, 100)


def test_what_is_said_of_storage_holds_no_statement() -> None:
    fault = OperationalError("INSERT INTO secrets", {"x": "s3cret"}, Exception("disk I/O error\nmore"))
    told = storage_fault(fault)
    assert told is not None and "(disk I/O error)" in told and "s3cret" not in told and "secrets" not in told
    assert storage_fault(OSError(errno.ENOSPC, "No space left on device")) is not None
    assert storage_fault(OSError(errno.ENOENT, "x")) is None and storage_fault(ValueError("x")) is None
