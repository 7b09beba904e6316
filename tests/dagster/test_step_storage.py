"""What steps hand on, in Dagster's database and in a folder by URL: read back as it was, repeated from, pruned."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest

from cleanup_pipeline.dagster_defs import names
from cleanup_pipeline.dagster_defs.pruning import prune
from cleanup_pipeline.dagster_defs.step_storage import TABLE, Database, Folder, HandingOn, Place, place_of
from cleanup_pipeline.model.outcome import GroupOutcome, PassReport
from cleanup_pipeline.model.plan import Finding, Shard, ShardGroup
from cleanup_pipeline.model.words import PassStatus, Severity
from cleanup_pipeline.settings.history import History
from tests.dagster.conftest import ids
from tests.dagster.shards import LIVE, SETTINGS, allow, fill, forbid, write_settings
from tests.ledger import records
from tests.storages import instance_on

QUIET: Any = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
LATER = datetime.now(UTC) + timedelta(days=40)


@pytest.fixture(params=["postgres", "url"])
def place(request: pytest.FixtureRequest, history_url: str, tmp_path: Path) -> tuple[str, Place]:
    """The setting, and the place that it means."""
    if request.param == "postgres":
        return "postgres", Database(history_url)
    url = f"file://{tmp_path}/handed"
    return url, Folder(url)


def kept(place: Place, run_id: str) -> int:
    if isinstance(place, Database):
        with psycopg.connect(place.url) as db:
            row = db.execute(f"SELECT count(*) FROM {TABLE} WHERE run_id = %s", (run_id,)).fetchone()
            return row[0] if row else 0
    assert isinstance(place, Folder)
    return len(list(Path(place.url.removeprefix("file://"), run_id).rglob("*.json")))


def execute(file: Path, instance: dg.DagsterInstance, again: dg.ReexecutionOptions | None = None) -> tuple[str, bool]:
    """Run the pass, or repeat what failed of one: its run, and whether that went well."""
    job = dg.build_reconstructable_job("tests.dagster.jobs", "sessions_job", (str(file),))
    with dg.execute_job(job, instance, run_config=QUIET, reexecution_options=again, raise_on_error=False) as result:
        return result.run_id, result.success


def test_a_pass_its_repetition_and_the_end_of_both(
    place: tuple[str, Place], history_url: str, postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting, where = place
    monkeypatch.setenv("CLEANUP_POSTGRES_URL", postgres_url)
    file = write_settings(tmp_path, f"{SETTINGS}execution: {{step_storage: '{setting}'}}\n")
    with (
        psycopg.connect(postgres_url, autocommit=True) as db,
        instance_on({"CLEANUP_DAGSTER_POSTGRES_URL": history_url}) as instance,
    ):
        fill(db)
        forbid(db, "OLD.id = 35")
        red, clean = execute(file, instance)
        # A plan, four shards, and the outcomes of three of them.
        assert not clean and kept(where, red) == 8
        allow(db)
        repeated, clean = execute(file, instance, dg.ReexecutionOptions.from_failure(red, instance))
        assert clean and ids(db, "web") == LIVE
        # Its steps read what the first run had handed on, and left their own: an outcome, two reports.
        assert kept(where, repeated) == 3
        assert not list(Path(instance.storage_directory()).rglob("web_sessions.scan"))

        # Rows of a run that somebody deleted in the UI go, too; what is newest of its job stays.
        if isinstance(where, Database):
            where.put("gone", "web.scan", "result", "Shard", "{}")
        newest, _ = execute(file, instance)
        history = History(keep_runs=timedelta(days=30))
        for run in instance.get_runs():
            instance.add_run_tags(run.run_id, {names.PASS_TAG: "sessions"})
        prune(instance, history, LATER, dry_run=True, step_storage=setting)
        assert kept(where, red) == 8
        assert prune(instance, history, LATER, step_storage=setting).runs == 2
        assert [kept(where, run) for run in (red, repeated, "gone")] == [0, 0, 0]
        assert kept(where, newest) > 0


def test_what_was_pruned_is_said_to_be(history_url: str, tmp_path: Path) -> None:
    for where in (Database(history_url), Folder(f"file://{tmp_path}")):
        assert where.get("run", "web.scan", "result") is None
        where.forget("run")
        context = dg.build_input_context(
            upstream_output=dg.build_output_context(run_id="run", step_key="web.scan", name="result")
        )
        with pytest.raises(dg.Failure, match=r"what step web.scan of run run handed on is not there: it was pruned"):
            HandingOn(where).load_input(context)


def test_a_database_is_needed_for_postgres() -> None:
    with instance_on({}) as instance:
        assert place_of("local", instance) is None
        with pytest.raises(ValueError, match="set CLEANUP_DAGSTER_POSTGRES_URL, or name a URL"):
            place_of("postgres", instance)


@pytest.mark.parametrize(
    "value",
    [
        records.PLAN,
        replace(records.PLAN, findings=(Finding(Severity.WARNING, "what", "remedy"),), skipped="paused"),
        Shard(3, {"low": 0, "high": 2**63, "after": "2026-11-01T00:00:00Z", "share": 1.0, "at": "\x00ö", "none": None}),
        [Shard(0, {"low": 0}), Shard(1)],
        [records.outcome(1, 7, error="no"), records.outcome(2, 0)],
        [],
        ShardGroup((Shard(0, {"low": 0}), Shard(1))),
        GroupOutcome((records.outcome(1, 7, error="no"), records.outcome(2, 0))),
        records.REPORT,
        PassReport("sessions", PassStatus.PARTIAL, None, 1.5, (records.REPORT,), run_id="r", reason="x"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_everything_that_steps_hand_on_comes_back_as_it_was(value: object, history_url: str, tmp_path: Path) -> None:
    for where in (Database(history_url), Folder(f"file://{tmp_path}")):
        manager = HandingOn(where)
        output = dg.build_output_context(run_id="run", step_key="web.delete[shard_0]", name="result", mapping_key="a")
        for _ in range(2):
            manager.handle_output(output, value)
        back = manager.load_input(dg.build_input_context(upstream_output=output))
        assert back == value and type(back) is type(value)
        if isinstance(value, Shard):
            # 1 and 1.0 are equal, and not the same bound.
            assert repr(back) == repr(value)
