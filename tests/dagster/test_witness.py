"""The checks of targets: what they say of real stores, behind which runs they are started, where they show."""

from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import psycopg
from dagster._core.test_utils import create_run_for_test

from cleanup_pipeline.dagster_defs import names
from cleanup_pipeline.dagster_defs.build import build_defs
from cleanup_pipeline.dagster_defs.checks import request_witness
from cleanup_pipeline.dagster_defs.resources import ledger_url
from cleanup_pipeline.dagster_defs.switches import Pause, pause
from cleanup_pipeline.ledger import open_ledger
from cleanup_pipeline.settings import Settings
from tests.dagster.conftest import Run

Db = psycopg.Connection[Any]
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
Found = dict[tuple[str, str], dg.AssetCheckEvaluation]


def look(settings: Settings, instance: dg.DagsterInstance, **tags: str) -> Found:
    job = build_defs(settings).resolve_job_def("witness_sessions")
    result = job.execute_in_process(instance=instance, run_config=QUIET, tags=tags)
    # A check that fails is a result, and no reason for a red run.
    assert result.success
    return {(each.asset_key.path[-1], each.check_name): each for each in result.get_asset_check_evaluations()}


def test_before_and_after_a_pass(db: Db, settings: Settings, instance: dg.DagsterInstance, run: Run) -> None:
    db.execute("ALTER TABLE app RENAME TO away")
    found = look(settings, instance)
    assert len(found) == 4
    web, app = found["web_sessions", "oldest_survivor"], found["app_sessions", "oldest_survivor"]
    assert (web.passed, web.severity, web.metadata["survivors"].value) == (False, dg.AssetCheckSeverity.ERROR, 25)
    assert "since 1d (at most 2h), 25 left" in str(web.description)
    # A table that is not there is unknown: it has not passed, and only warns.
    assert (app.passed, app.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "unknown" in str(app.description) and "away" not in str(app.description)
    assert found["web_sessions", "freshness"].passed
    db.execute("ALTER TABLE away RENAME TO app")
    result, _ = run(settings)
    found = look(settings, instance, **{names.WITNESS_OF_TAG: result.run_id})
    assert all(each.passed for each in found.values())
    assert found["web_sessions", "freshness"].metadata["after_run"].value == result.run_id
    ledger = open_ledger(ledger_url(instance))
    rows = {row.target: row for row in ledger.witnesses()}
    ledger.close()
    assert {(r.run_id, r.survivors, r.old_enough, r.fresh) for r in rows.values()} == {(result.run_id, 0, True, True)}


def test_what_is_paused_does_not_fail(db: Db, settings: Settings, instance: dg.DagsterInstance) -> None:
    pause(instance, Pause("web_sessions", datetime.now(UTC), datetime.now(UTC) + timedelta(hours=1), "me@here"))
    found = look(settings, instance)
    web = found["web_sessions", "oldest_survivor"]
    assert web.passed and "paused by me@here" in str(web.metadata["not_judged"].value)
    assert not found["app_sessions", "oldest_survivor"].passed


def ended(instance: dg.DagsterInstance, config: dict[str, Any] | None = None, **tags: str) -> dg.DagsterRun:
    return create_run_for_test(
        instance,
        job_name="clean_sessions",
        status=dg.DagsterRunStatus.SUCCESS,
        run_config=config or {},
        tags={names.PASS_TAG: "sessions", **tags},
    )


def test_behind_which_runs_it_is_started(instance: dg.DagsterInstance) -> None:
    run = ended(instance)
    request = request_witness(instance, run)
    assert isinstance(request, dg.RunRequest)
    assert (request.run_key, request.job_name) == (run.run_id, "witness_sessions")
    assert request.tags[names.WITNESS_OF_TAG] == run.run_id
    dry = {"resources": {"pass_options": {"config": {"dry_run": True}}}}
    for other in (
        ended(instance, dry),
        ended(instance, **{names.DRY_RUN_TAG: "true"}),
        ended(instance, **{names.STATUS_TAG: "dry_run"}),
        ended(instance, **{names.DAGSTER_BACKFILL_TAG: "b"}),
        ended(instance, **{names.BACKFILL_TAG: "b"}),
    ):
        assert isinstance(request_witness(instance, other), dg.SkipReason)
    # One that waits to begin will see what this run left.
    waiting = create_run_for_test(instance, job_name="witness_sessions", status=dg.DagsterRunStatus.STARTING)
    assert isinstance(request_witness(instance, run), dg.SkipReason)
    instance.delete_run(waiting.run_id)
    create_run_for_test(instance, job_name="witness_sessions", status=dg.DagsterRunStatus.STARTED)
    assert isinstance(request_witness(instance, run), dg.RunRequest)


def test_sensors_start_it_where_a_pass_is_on(settings: Settings) -> None:
    repository = build_defs(settings).get_repository_def()
    sensors = {sensor.name for sensor in repository.sensor_defs}
    assert {"witness_passes", "witness_failed_passes"} <= sensors
    assert {"witness_sessions", "prune_history"} <= set(repository.job_names)
