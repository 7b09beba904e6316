"""Two workers of Celery as processes of their own, a broker, Dagster on PostgreSQL; one of the workers is killed."""

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import psycopg
import pytest

from cleanup_pipeline.cli.home import dagster_home
from cleanup_pipeline.dagster_defs import names
from cleanup_pipeline.dagster_defs.launch import instance_at
from cleanup_pipeline.dagster_defs.process import PID_TAG
from cleanup_pipeline.dagster_defs.step_storage import TABLE
from cleanup_pipeline.ledger import open_ledger
from cleanup_pipeline.settings import load_settings
from cleanup_pipeline.stores.base import Leases
from cleanup_pipeline.stores.open import open_store
from tests.e2e.support import Program, started, wait_for

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

LEAVES, ROWS = 4, 1200
SETTINGS = """
cleanup: {batch_size: 10, pause: 20ms, max_shards: 4, governor: {latency_target: 5s}}
stores: {main: {type: postgres, url: "${CLEANUP_POSTGRES_URL}"}}
execution: {executor: celery, lost_after: 5s}
targets: {web_sessions: {store: main, table: web, expires: {column: expires_at}, mode: delete}}
"""


def fill(db: psycopg.Connection[Any]) -> None:
    """So many expired rows, and two live ones, in each leaf."""
    db.execute("DROP TABLE IF EXISTS web")
    db.execute("CREATE TABLE web (leaf int, id int, expires_at timestamptz) PARTITION BY LIST (leaf)")
    for leaf in range(LEAVES):
        db.execute(f"CREATE TABLE web_{leaf} PARTITION OF web FOR VALUES IN ({leaf})")
        db.execute(f"INSERT INTO web SELECT {leaf}, n, now() - interval '1 day' FROM generate_series(1, {ROWS}) n")
        db.execute(f"INSERT INTO web SELECT {leaf}, -n, now() + interval '1 day' FROM generate_series(1, 2) n")
    db.execute("ANALYZE web")


def left(db: psycopg.Connection[Any]) -> list[int]:
    """Expired rows in each leaf. None of the live ones may ever be missing."""
    live = db.execute("SELECT count(*) FROM web WHERE id < 0").fetchone()
    assert live == (2 * LEAVES,)
    found = dict(db.execute("SELECT leaf, count(*) FROM web WHERE id > 0 GROUP BY leaf").fetchall())
    return [found.get(leaf, 0) for leaf in range(LEAVES)]


@dataclass
class Fleet:
    """The folders, variables and workers of one test."""

    folder: Path
    variables: dict[str, str]
    workers: dict[str, Program] = field(default_factory=dict)

    def place(self, name: str) -> Path:
        """A folder, as a machine of its own would have it."""
        folder = self.folder / name
        folder.mkdir()
        (folder / "cleanup.yaml").write_text(SETTINGS)
        return folder

    def work(self, name: str, opened: ExitStack) -> None:
        self.workers[name] = opened.enter_context(
            started(self.place(name), "worker", "--name", name, "--verbose", **self.variables)
        )

    def kill(self, name: str) -> None:
        """The worker and the processes that do its steps, at once, as the end of a host would."""
        process = psutil.Process(self.workers[name].process.pid)
        for each in (process, *process.children(recursive=True)):
            each.kill()


@pytest.fixture
def fleet(
    postgres_url: str, history_url: str, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Fleet]:
    made = Fleet(
        tmp_path,
        {
            "CLEANUP_POSTGRES_URL": postgres_url,
            "CLEANUP_DAGSTER_POSTGRES_URL": history_url,
            "CLEANUP_CELERY_BROKER_URL": redis_url,
        },
    )
    for name, value in made.variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    made.place("home")
    # Not in a folder in which everything is killed in the end.
    monkeypatch.chdir(made.place("here"))
    with ExitStack() as opened:
        for name in ("one", "two"):
            made.work(name, opened)
        yield made


def newest(*, finished: bool = True) -> dg.DagsterRun:
    with instance_at(dagster_home()) as instance:
        [run] = instance.get_runs(limit=1)
        assert run.is_finished is finished
        return run


def shards(run_id: str) -> dict[str, tuple[str, datetime, datetime]]:
    """Which process did each shard that ended, and from when to when."""
    found: dict[str, list[Any]] = {}
    with instance_at(dagster_home()) as instance:
        for entry in instance.all_logs(run_id):
            event = entry.dagster_event
            key = event.step_key if event and event.step_key and ".delete[" in event.step_key else None
            at = datetime.fromtimestamp(entry.timestamp)  # noqa: DTZ006 - only compared with each other
            if event and key and event.is_step_start:
                found[key] = [None, at, None]
            elif event and key and event.event_type_value == "ASSET_OBSERVATION":
                observed: Any = event.event_specific_data
                found[key][0] = observed.asset_observation.metadata["process"].value
                found[key][2] = at
    return {key: tuple(value) for key, value in found.items() if value[0]}  # type: ignore[misc]


def ended(fleet: Fleet, *arguments: str) -> tuple[int, str]:
    with started(fleet.folder / "home", *arguments, **fleet.variables) as program:
        code = program.process.wait(300)
        return code, program.output()


def test_shards_of_one_target_are_done_by_both_workers_and_one_that_is_killed_leaves_a_red_pass(
    fleet: Fleet, postgres_url: str, history_url: str
) -> None:
    db = psycopg.connect(postgres_url, autocommit=True)
    fill(db)
    code, said = ended(fleet, "run", "sessions")
    assert code == 0, said
    run = newest()
    done = shards(run.run_id)
    assert len(done) == LEAVES and len({process for process, _, _ in done.values()}) == 2
    assert left(db) == [0, 0, 0, 0]

    # Killed in the middle: its shard has failed, those of the other one are done, nothing is claimed that is not so.
    fill(db)
    with started(fleet.folder / "home", "run", "sessions", **fleet.variables) as program:
        wait_for("two leaves at once", lambda: sum(ROWS - 300 > n > 0 for n in left(db)) >= 2)
        fleet.kill("one")
        assert program.process.wait(200) == 1, program.output()
        assert "sessions: partial" in program.output()
    run = newest()
    # Whether the run is lost is judged by its own process, not by one of a worker.
    assert run.tags[PID_TAG] == str(program.process.pid)
    of_run = shards(run.run_id)
    remaining = left(db)
    assert len(of_run) == LEAVES - 1 and len({process for process, _, _ in of_run.values()}) == 1
    assert sorted(remaining)[:-1] == [0, 0, 0] and 0 < max(remaining) < ROWS
    ledger = open_ledger(history_url)
    [row] = [row for row in ledger.history() if row.run_id == run.run_id]
    assert row.status == "partial" and row.at_most is not None
    # What the store lost is between what is known and what may have been.
    assert row.deleted <= LEAVES * ROWS - max(remaining) <= row.at_most

    # The other worker does the rest.
    code, said = ended(fleet, "retry")
    assert code == 0 and "1 shard again" in said, said
    assert left(db) == [0, 0, 0, 0]
    ledger.close()

    # Ended by hand: no signal reaches a worker, and it stops all the same.
    fill(db)
    with started(fleet.folder / "home", "run", "sessions", **fleet.variables) as program:
        wait_for("the first batches", lambda: min(left(db)) < ROWS - 50)
        assert program.end(signal.SIGTERM) == 130, program.output()
    before = left(db)
    assert sum(before) > LEAVES * ROWS / 4
    settings = load_settings()
    store = open_store(settings.stores["main"])
    assert isinstance(store, Leases) and store.holders(settings.targets[0]) == []
    store.close()
    assert left(db) == before
    with instance_at(dagster_home()) as instance:
        [run] = instance.get_runs(limit=1)
        assert run.is_finished and run.tags[names.STATUS_TAG] == "terminated"

        # One place in the store's pool: with two workers, one shard at a time.
        instance.event_log_storage.set_concurrency_slots(names.pool("main"), 1)
        run_ids = {each.run_id for each in instance.get_runs()}
    with psycopg.connect(history_url) as kept:
        row_ids = {row[0] for row in kept.execute(f"SELECT DISTINCT run_id FROM {TABLE}").fetchall()}
    assert row_ids == run_ids
    with ExitStack() as opened:
        fleet.work("three", opened)
        code, said = ended(fleet, "run", "sessions")
        assert code == 0, said
    spans = sorted((begin, end) for _, begin, end in shards(newest().run_id).values())
    assert len(spans) == LEAVES and all(end <= begin for (_, end), (begin, _) in pairwise(spans))
    assert left(db) == [0, 0, 0, 0]
    db.close()
