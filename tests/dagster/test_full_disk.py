"""A ledger whose disk is really full: the pass says so, and what it did is written down once there is room."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest

from cleanup_pipeline.dagster_defs import names
from cleanup_pipeline.dagster_defs.closing import write_down_late
from cleanup_pipeline.ledger import open_ledger
from cleanup_pipeline.model.words import PassStatus
from cleanup_pipeline.settings import Settings
from tests.dagster.conftest import Run
from tests.faults.bench.disk import Disk, small_disk, why_not

pytestmark = pytest.mark.skipif(why_not() is not None, reason=f"no disk of its own to fill: {why_not()}")


@pytest.fixture
def disk(open_folder: Path) -> Iterator[Disk]:
    with small_disk(open_folder / "disk", 8) as made:
        yield made
        made.make_room()


def left(connection: "psycopg.Connection[Any]") -> set[tuple[str, int]]:
    rows = connection.execute("SELECT 'web', id FROM web UNION SELECT 'app', id FROM app").fetchall()
    return {(str(table), int(number)) for table, number in rows}


LIVE = {(table, number) for table in ("web", "app") for number in range(26, 31)}


def test_a_ledger_without_room(
    disk: Disk,
    db: "psycopg.Connection[Any]",
    settings: Settings,
    run: Run,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = f"sqlite:///{disk.place / 'ledger.db'}"
    monkeypatch.setenv("CLEANUP_LEDGER_URL", url)
    with closing(open_ledger(url)) as ledger:
        assert ledger.totals("web_sessions").deleted == 0
    disk.fill()
    result, report = run(settings)
    assert (report.status, left(db)) == (PassStatus.FAILED, LIVE)
    assert report.reason is not None and "the ledger could not be written" in report.reason
    tags = instance.get_run_by_id(result.run_id).tags
    assert (tags[names.STATUS_TAG], tags[names.DELETED_TAG], tags[names.LEDGER_TAG]) == ("failed", "50", "missing")
    # Still full: nothing changes.
    by_pass = {"sessions": settings.targets_of("sessions")}
    write_down_late(instance, by_pass)
    assert instance.get_run_by_id(result.run_id).tags[names.LEDGER_TAG] == "missing"
    disk.make_room()
    write_down_late(instance, by_pass)
    with closing(sqlite3.connect(disk.place / "ledger.db")) as file:
        assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    with closing(open_ledger(url)) as ledger:
        for target in ("web_sessions", "app_sessions"):
            totals = ledger.totals(target)
            assert (totals.deleted, totals.at_most) == (25, 25)
        detail = ledger.pass_of(result.run_id)
        assert detail is not None and detail.row.status == "failed"
    assert instance.get_run_by_id(result.run_id).tags[names.LEDGER_TAG] == "late"
    _, report = run(settings)
    assert report.status is PassStatus.SUCCEEDED
