"""Everything killed at once while a pass runs, and a daemon that was away for six windows: what comes back."""

from collections.abc import Iterator
from contextlib import chdir, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest
from dagster._core.instance.ref import InstanceRef
from dagster._core.scheduler.instigation import InstigatorType, SensorInstigatorData
from dagster._core.storage.tags import SCHEDULED_EXECUTION_TIME_TAG

from cleanup_pipeline.dagster_defs import names
from cleanup_pipeline.ledger import open_ledger
from tests.e2e.support import free_port, started, started_in, wait_for
from tests.faults.cleaner import ledger_url
from tests.storages import BOTH

ROWS = 30_000
SETTINGS = """
cleanup: {batch_size: 20, pause: 40ms, operation_timeout: 3m}
passes: {sessions: {every: 1m}}
stores: {main: {type: postgres, url: "${CLEANUP_POSTGRES_URL}"}}
targets: {web_sessions: {store: main, table: web, expires: {column: expires_at}, mode: delete}}
"""
JOB = "clean_sessions"


@contextmanager
def _instance(folder: Path) -> Iterator[dg.DagsterInstance]:
    # The storage is named relative to the folder.
    with chdir(folder), dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(folder / ".cleanup"))) as instance:
        yield instance


def key(minute: datetime) -> str:
    return f"{minute:%Y-%m-%dT%H:%M}"


@pytest.mark.long
@BOTH
@pytest.mark.timeout(600)
def test_killed_all_at_once_and_away_for_six_windows(
    tmp_path: Path, postgres_url: str, storage: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # For the instance that this process opens, too.
    for name, value in storage.items():
        monkeypatch.setenv(name, value)
    variables = {"CLEANUP_POSTGRES_URL": postgres_url, **storage}
    (tmp_path / "cleanup.yaml").write_text(SETTINGS)
    db = psycopg.connect(postgres_url, autocommit=True)
    db.execute("CREATE TABLE web (id int, expires_at timestamptz)")
    db.execute(f"INSERT INTO web SELECT n, now() - interval '1 day' FROM generate_series(1, {ROWS}) n")

    def rows() -> int:
        row = db.execute("SELECT count(*) FROM web").fetchone()
        return row[0] if row else 0

    def runs(**tags: str) -> list[dg.DagsterRun]:
        with _instance(tmp_path) as instance:
            return list(instance.get_runs(dg.RunsFilter(job_name=JOB, tags=tags or None)))

    with started(tmp_path, "up", "--port", str(free_port()), **variables) as program:
        program.wait_until_it_says("Ctrl-C stops it")
        wait_for("a scheduled run to delete", lambda: rows() < ROWS - 100)
        [first] = runs()
        scheduled = datetime.fromisoformat(first.tags[SCHEDULED_EXECUTION_TIME_TAG])
        assert scheduled.second == 0 and first.tags[names.PARTITION_TAG] == key(scheduled - timedelta(minutes=1))
        began = wait_for("its start", lambda: _start_time(tmp_path, first.run_id), 10)
        assert timedelta(0) <= began - scheduled < timedelta(seconds=45)
        wait_for("the first look at the windows", lambda: _cursor(tmp_path), 60)
        for process in started_in(tmp_path):
            process.kill()
    left = rows()
    assert 0 < left < ROWS
    # The rest in one go: what is left to see is who starts what.
    db.execute("DELETE FROM web WHERE id > 200")

    # As it would be if the last look at the windows had been six minutes earlier.
    away = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=1)
    missed = [key(away - timedelta(minutes=back)) for back in range(2, 8)]
    with _instance(tmp_path) as instance:
        _set_back(instance, key(away - timedelta(minutes=8)))
        assert instance.get_runs(dg.RunsFilter(run_ids=[first.run_id]))[0].status is dg.DagsterRunStatus.STARTED

    with started(tmp_path, "up", "--port", str(free_port()), **variables) as program:
        program.wait_until_it_says("Ctrl-C stops it")

        def done() -> bool:
            of_window = {run.tags.get(names.PARTITION_TAG, ""): run.status for run in reversed(runs())}
            return all(of_window.get(window) is dg.DagsterRunStatus.SUCCESS for window in missed)

        wait_for("all six windows", done, 240)
        lost = next(run for run in runs() if run.run_id == first.run_id)
        assert lost.status is dg.DagsterRunStatus.FAILURE
        # Its worker was killed: the daemon starts it anew, all steps, and nobody takes the new run for dead.
        [anew] = wait_for("its next run", lambda: [run for run in runs() if run.parent_run_id == lost.run_id][-1:])
        assert anew.tags["dagster/retry_strategy"] == "ALL_STEPS" and anew.root_run_id == lost.run_id
        assert rows() == 0
    ledger = open_ledger(next(iter(storage.values()), ledger_url(tmp_path)))
    [row] = [row for row in ledger.history(100) if row.run_id == first.run_id]
    assert row.reason is not None and row.reason.startswith("lost")
    assert row.at_most is not None and row.deleted <= ROWS - left <= row.at_most <= row.deleted + 20
    ledger.close()
    db.close()


def _start_time(folder: Path, run_id: str) -> datetime | None:
    with _instance(folder) as instance:
        record: Any = instance.get_run_record_by_id(run_id)
        return datetime.fromtimestamp(record.start_time, UTC) if record and record.start_time else None


def _cursor(folder: Path) -> str | None:
    with _instance(folder) as instance:
        states: Any = instance.all_instigator_state(instigator_type=InstigatorType.SENSOR)
        cursors = [state.instigator_data.cursor for state in states if state.instigator_name == "missed_windows"]
        return cursors[0] if cursors else None


def _set_back(instance: dg.DagsterInstance, window: str) -> None:
    states = instance.all_instigator_state(instigator_type=InstigatorType.SENSOR)
    [state] = [state for state in states if state.instigator_name == "missed_windows"]
    data = state.instigator_data
    assert isinstance(data, SensorInstigatorData) and data.cursor
    cursor = f'{{"sessions": "{window}"}}'
    instance.update_instigator_state(state.with_data(data._replace(cursor=cursor)))
