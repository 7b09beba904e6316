"""Settings that change under a code location that is loaded: the next pass has them, without a reload."""

from pathlib import Path

import dagster as dg
import psycopg
import pytest
from dagster._core.workspace.context import WorkspaceProcessContext

from tests.dagster.conftest import ids
from tests.e2e.support import wait_for
from tests.e2e.test_partitions import LAUNCH, SELECTOR, ask, ui  # noqa: F401


def passes(ui: WorkspaceProcessContext) -> dg.DagsterRun:  # noqa: F811
    """A pass as the launchpad starts it, and how it ended."""
    job = {"pipelineName": "clean_sessions", **SELECTOR}
    launched = ask(ui, LAUNCH, p={"selector": job, "runConfigData": {}, "mode": "default"})
    run_id = launched["launchRun"]["run"]["runId"]

    def ended() -> dg.DagsterRun | None:
        run = ui.instance.get_run_by_id(run_id)
        return run if run and run.is_finished else None

    return wait_for("the run", ended, 60)


@pytest.mark.long
@pytest.mark.timeout(180)
def test_the_next_pass_has_changed_limits(ui: WorkspaceProcessContext, postgres_url: str, tmp_path: Path) -> None:  # noqa: F811
    file = tmp_path / "cleanup.yaml"
    as_loaded = file.read_text()
    file.write_text(as_loaded.replace("pause: 0s", "pause: 0s, row_limit: 3"))
    with psycopg.connect(postgres_url, autocommit=True) as db:
        first = passes(ui)
        assert first.status is dg.DagsterRunStatus.FAILURE
        assert len(ids(db, "web")) == 7
        file.write_text(as_loaded.replace("pause: 0s", "pause: 0s, enabled: false"))
        assert passes(ui).tags["cleanup/status"] == "skipped"
        file.write_text(as_loaded)
        last = passes(ui)
        assert last.is_success and ids(db, "web") == set()
