"""What the UI does with partitions, through the same GraphQL and the daemon's own loop, on the real code location."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from logging import getLogger
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster._daemon.backfill import execute_backfill_iteration
from dagster_graphql.test.utils import execute_dagster_graphql

from cleanup_pipeline.dagster_defs.launch import run_pass
from cleanup_pipeline.dagster_defs.windows import partition_tags
from cleanup_pipeline.settings import load_settings
from tests.dagster.conftest import ids
from tests.e2e.support import wait_for
from tests.storages import BOTH_LONG, instance_on

ROOT = Path(__file__).parents[2]
HOUR = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
SETTINGS = """
cleanup: {batch_size: 10, pause: 0s}
stores: {main: {type: postgres, url: "${CLEANUP_POSTGRES_URL}"}}
targets: {web_sessions: {store: main, table: web, expires: {column: expires_at}, mode: delete}}
"""
SELECTOR = {"repositoryLocationName": "cleanup_pipeline", "repositoryName": "__repository__"}
BACKFILL = """mutation ($p: LaunchBackfillParams!) {launchPartitionBackfill(backfillParams: $p) {
  __typename ... on LaunchBackfillSuccess {backfillId} ... on PythonError {message}}}"""
LAUNCH = """mutation ($p: ExecutionParams!) {launchRun(executionParams: $p) {
  __typename ... on LaunchRunSuccess {run {runId}} ... on PythonError {message}}}"""
GRID = """query ($s: RepositorySelector!) {partitionSetOrError(
  partitionSetName: "clean_sessions_partition_set", repositorySelector: $s) {
  ... on PartitionSet {partitionStatusesOrError {... on PartitionStatuses {results {partitionName runStatus}}}}}}"""


@pytest.fixture
def ui(
    postgres_url: str, storage: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[WorkspaceProcessContext]:
    """The code location in a process of its own, as the webserver and the daemon have it; runs are processes too."""
    (tmp_path / "cleanup.yaml").write_text(SETTINGS)
    monkeypatch.setenv("CLEANUP_SETTINGS", str(tmp_path / "cleanup.yaml"))
    monkeypatch.setenv("CLEANUP_POSTGRES_URL", postgres_url)
    with psycopg.connect(postgres_url, autocommit=True) as db, db.cursor() as cursor:
        cursor.execute("CREATE TABLE web (id int, expires_at timestamptz)")
        # At half past each of the last ten whole hours, the newest first.
        rows = [(n, HOUR - timedelta(minutes=30) - n * timedelta(hours=1)) for n in range(10)]
        cursor.executemany("INSERT INTO web VALUES (%s, %s)", rows)
    direct = {"module": "dagster._core.run_coordinator", "class": "DefaultRunCoordinator"}
    with (
        instance_on(storage, run_coordinator=direct) as instance,
        WorkspaceProcessContext(instance, WorkspaceFileTarget([str(ROOT / "workspace.yaml")])) as context,
    ):
        yield context


def ask(ui: WorkspaceProcessContext, query: str, **variables: Any) -> Any:
    answer = execute_dagster_graphql(ui.create_request_context(), query, variables=variables)
    assert not answer.errors, answer.errors
    return answer.data


def key(hours_ago: int) -> str:
    return f"{HOUR - timedelta(hours=hours_ago):%Y-%m-%dT%H:%M}"


@BOTH_LONG
@pytest.mark.timeout(180)
def test_a_backfill_of_the_ui_a_plain_run_and_the_grid(ui: WorkspaceProcessContext, postgres_url: str) -> None:
    instance = ui.instance
    selector = {"partitionSetName": "clean_sessions_partition_set", "repositorySelector": SELECTOR}
    launched = ask(ui, BACKFILL, p={"selector": selector, "partitionNames": [key(4), key(3)]})
    backfill_id = launched["launchPartitionBackfill"]["backfillId"]

    def completed() -> bool:
        list(execute_backfill_iteration(ui, getLogger("backfill")))
        backfill = instance.get_backfill(backfill_id)
        return backfill is not None and backfill.status.value.startswith("COMPLETED")

    wait_for("the backfill", completed, 100)
    backfill = instance.get_backfill(backfill_id)
    assert backfill and backfill.status.value == "COMPLETED_SUCCESS"
    # The windows of hours 4 and 3 ago hold the records 3 and 2: nothing older went along.
    with psycopg.connect(postgres_url, autocommit=True) as db:
        assert ids(db, "web") == set(range(10)) - {2, 3}

        # A window of the command line is in the same grid, and one that failed is red there.
        settings = load_settings()
        db.execute("ALTER TABLE web RENAME TO wep")
        tags = {**partition_tags("clean_sessions", key(6)), "cleanup/backfill": "b"}
        run_pass(settings, "sessions", instance=instance, tags=tags)
        db.execute("ALTER TABLE wep RENAME TO web")
        grid = ask(ui, GRID, s=SELECTOR)["partitionSetOrError"]["partitionStatusesOrError"]["results"]
        statuses = {one["partitionName"]: one["runStatus"] for one in grid}
        assert (statuses[key(4)], statuses[key(3)], statuses[key(6)]) == ("SUCCESS", "SUCCESS", "FAILURE")
        assert len(statuses) >= 900 and statuses[key(5)] is None

        # The launchpad without a partition: a plain pass, open below, up to now.
        job = {"pipelineName": "clean_sessions", **SELECTOR}
        launched = ask(ui, LAUNCH, p={"selector": job, "runConfigData": {}, "mode": "default"})
        run_id = launched["launchRun"]["run"]["runId"]

        def ended() -> dg.DagsterRun | None:
            run = instance.get_run_by_id(run_id)
            return run if run and run.is_finished else None

        run = wait_for("the plain run", ended, 60)
        assert run.is_success and "dagster/partition" not in run.tags
        assert ids(db, "web") == set()
