"""Runs whose process is gone, and those that only look like it: on real instances."""

import os
from pathlib import Path

import dagster as dg
import psycopg
import pytest
from dagster._core.test_utils import create_run_for_test

from cleanup_pipeline.dagster_defs import closing, names
from cleanup_pipeline.dagster_defs.closing import close_pass, fail_lost_runs
from cleanup_pipeline.dagster_defs.process import PID_TAG, died_here, process_tags
from tests.dagster.shards import LIVE, fill, write_settings
from tests.storages import BOTH_LONG

PASS = {names.PASS_TAG: "sessions"}
GONE = {**process_tags(), "cleanup/pid_started": "1.00"}
STARTED, FAILED = dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.FAILURE


def status(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dg.DagsterRunStatus:
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    return found.status


def test_a_run_that_dagster_started_anew_is_not_judged_by_the_process_of_the_one_that_was_lost(
    instance: dg.DagsterInstance,
) -> None:
    """A run of `run_retries`, and one that the UI re-executes, inherits all tags."""
    assert died_here(GONE)
    lost = create_run_for_test(instance, job_name="clean_sessions", status=STARTED, tags={**PASS, **GONE})
    fail_lost_runs(instance)
    assert status(instance, lost) is FAILED
    anew = create_run_for_test(
        instance,
        job_name="clean_sessions",
        status=STARTED,
        tags={**PASS, **GONE},
        parent_run_id=lost.run_id,
        root_run_id=lost.run_id,
    )
    fail_lost_runs(instance)
    assert status(instance, anew) is STARTED
    # Once it has said what its own process is, that counts.
    instance.add_run_tags(anew.run_id, {"cleanup/pid_started": "2.00"})
    fail_lost_runs(instance)
    assert status(instance, anew) is FAILED


@BOTH_LONG
def test_a_lost_run_gives_back_its_place_in_a_pool(instance: dg.DagsterInstance) -> None:
    """Without a daemon nobody else does, and a store's pool would fill up with the dead."""
    storage = instance.event_log_storage
    storage.set_concurrency_slots(names.pool("main"), 1)
    lost = create_run_for_test(instance, job_name="clean_sessions", status=STARTED, tags={**PASS, **GONE})
    assert storage.claim_concurrency_slot(names.pool("main"), lost.run_id, "web.delete[shard_0]").is_claimed
    assert not storage.claim_concurrency_slot(names.pool("main"), "another", "web.delete[shard_0]").is_claimed
    fail_lost_runs(instance)
    assert storage.claim_concurrency_slot(names.pool("main"), "another", "web.delete[shard_0]").is_claimed


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.CANCELED, FAILED])
def test_a_run_that_ended_red_gives_back_its_places(status: dg.DagsterRunStatus, instance: dg.DagsterInstance) -> None:
    """Steps that were revoked before they began say nothing to anybody."""
    pool, step = names.pool("main"), "web.delete[shard_0]"
    storage = instance.event_log_storage
    storage.set_concurrency_slots(pool, 1)
    ended = create_run_for_test(instance, job_name="clean_sessions", status=status, tags=PASS)
    assert storage.claim_concurrency_slot(pool, ended.run_id, step).is_claimed
    close_pass(instance, ended.run_id, "sessions", ())
    assert storage.claim_concurrency_slot(pool, "another", step).is_claimed


def test_a_run_that_ends_while_it_is_looked_at_is_not_lost(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = create_run_for_test(instance, job_name="clean_sessions", status=STARTED, tags={**PASS, **GONE})
    looked = closing.gone

    def ends_meanwhile(where: dg.DagsterInstance, which: dg.DagsterRun) -> bool:
        finished = dg.DagsterEvent(
            event_type_value=dg.DagsterEventType.RUN_SUCCESS.value, job_name="clean_sessions", message=""
        )
        where.report_dagster_event(finished, run_id=which.run_id)
        return looked(where, which)

    monkeypatch.setattr(closing, "gone", ends_meanwhile)
    fail_lost_runs(instance)
    assert status(instance, run) is dg.DagsterRunStatus.SUCCESS


@pytest.mark.parametrize("parallel", [1, pytest.param(2, marks=pytest.mark.long)])
def test_a_pass_says_which_process_it_runs_in_whatever_its_tags_said(
    parallel: int, postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLEANUP_POSTGRES_URL", postgres_url)
    file = write_settings(tmp_path)
    file.write_text(file.read_text().replace("pause: 0s", f"pause: 0s, parallel: {parallel}"))
    job = dg.build_reconstructable_job("tests.dagster.jobs", "sessions_job", (str(file),))
    with psycopg.connect(postgres_url, autocommit=True) as db, dg.instance_for_test() as instance:
        fill(db)
        quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        with dg.execute_job(job, instance, run_config=quiet, tags={**PASS, **GONE}) as result:
            assert result.success
            run = instance.get_run_by_id(result.run_id)
        assert run is not None and run.tags[PID_TAG] == str(os.getpid()) and not died_here(run.tags)
        rows = {row[0] for row in db.execute("SELECT id FROM web")}
    assert rows == LIVE
