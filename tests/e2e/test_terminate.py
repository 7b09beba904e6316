""" "Terminate" in the UI: the batch under way ends, everything is written down, the lease is given back."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import psycopg
import pytest
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget

from cleanup_pipeline.dagster_defs.closing import close_pass
from cleanup_pipeline.dagster_defs.resources import ledger_url
from cleanup_pipeline.ledger import open_ledger
from cleanup_pipeline.settings import load_settings
from cleanup_pipeline.stores.base import Leases
from cleanup_pipeline.stores.open import open_store
from tests.e2e.support import wait_for
from tests.e2e.test_partitions import LAUNCH, ROOT, SELECTOR, SETTINGS, ask
from tests.storages import BOTH_LONG, instance_on

ROWS = 20_000
TERMINATE = """mutation ($id: String!) {terminateRun(runId: $id) {
  __typename ... on TerminateRunSuccess {run {runId}} ... on TerminateRunFailure {message}}}"""


@pytest.fixture
def ui(
    postgres_url: str, storage: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[WorkspaceProcessContext]:
    slowly = SETTINGS.replace("pause: 0s", "pause: 30ms, governor: {latency_target: 30s}")
    (tmp_path / "cleanup.yaml").write_text(slowly)
    monkeypatch.setenv("CLEANUP_SETTINGS", str(tmp_path / "cleanup.yaml"))
    monkeypatch.setenv("CLEANUP_POSTGRES_URL", postgres_url)
    with psycopg.connect(postgres_url, autocommit=True) as db:
        db.execute("CREATE TABLE web (id int, expires_at timestamptz)")
        db.execute(f"INSERT INTO web SELECT n, now() - interval '1 day' FROM generate_series(1, {ROWS}) n")
    direct = {"module": "dagster._core.run_coordinator", "class": "DefaultRunCoordinator"}
    with (
        instance_on(storage, run_coordinator=direct) as instance,
        WorkspaceProcessContext(instance, WorkspaceFileTarget([str(ROOT / "workspace.yaml")])) as context,
    ):
        yield context


@BOTH_LONG
@pytest.mark.timeout(120)
def test_terminated_in_the_ui(ui: WorkspaceProcessContext, postgres_url: str) -> None:
    instance = ui.instance
    with psycopg.connect(postgres_url, autocommit=True) as db:

        def rows() -> int:
            row = db.execute("SELECT count(*) FROM web").fetchone()
            return row[0] if row else 0

        job = {"pipelineName": "clean_sessions", **SELECTOR}
        launched = ask(ui, LAUNCH, p={"selector": job, "runConfigData": {}, "mode": "default"})
        run_id = launched["launchRun"]["run"]["runId"]
        wait_for("the first batches", lambda: rows() <= ROWS - 100, 60)
        settings = load_settings()
        [target] = settings.targets_of("sessions")
        store = open_store(settings.stores["main"])
        assert isinstance(store, Leases) and len(store.holders(target)) == 1
        assert ask(ui, TERMINATE, id=run_id)["terminateRun"]["__typename"] == "TerminateRunSuccess"

        def cancelled() -> bool:
            run = instance.get_run_by_id(run_id)
            return run is not None and run.status is dg.DagsterRunStatus.CANCELED

        wait_for("its end", cancelled, 60)
        left = rows()
        # Batches are of ten, however slow the machine is.
        assert 0 < left < ROWS and left % 10 == 0
        assert store.holders(target) == []
        store.close()

    report = close_pass(instance, run_id, "sessions", settings.targets_of("sessions"))
    [of_target] = report.targets
    assert (of_target.stop_reason, of_target.deleted, report.status) == ("terminated", ROWS - left, "partial")
    run = instance.get_run_by_id(run_id)
    assert run is not None and run.tags["cleanup/status"] == "terminated"
    ledger = open_ledger(ledger_url(instance))
    [row] = ledger.history()
    assert (row.status, row.deleted, row.at_most) == ("terminated", ROWS - left, ROWS - left)
    ledger.close()
