"""Re-runs on a real PostgreSQL: a failed shard alone, and shards that a cancelled or killed run never started."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import psycopg
import pytest

from cleanup_pipeline.dagster_defs.again import what_to_repeat
from cleanup_pipeline.dagster_defs.closing import close_pass
from cleanup_pipeline.model.outcome import PassReport
from cleanup_pipeline.model.words import PassStatus
from cleanup_pipeline.settings import Settings, load_settings
from tests.dagster.conftest import ids
from tests.dagster.shards import LIVE, ROWS, Db, allow, fill, forbid, steps_of, write_settings

CONFIG = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@pytest.fixture
def web(postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Db]:
    monkeypatch.setenv("CLEANUP_POSTGRES_URL", postgres_url)
    write_settings(tmp_path)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        fill(connection)
        yield connection


class Passes:
    """The `sessions` pass of the settings as they are at the moment, by Dagster's own ways of starting a run."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance) -> None:
        self.file, self.instance = folder / "cleanup.yaml", instance

    @property
    def settings(self) -> Settings:
        return load_settings(self.file)

    def start(self, again: dg.ReexecutionOptions | None = None) -> str:
        job = dg.build_reconstructable_job("tests.dagster.jobs", "sessions_job", (str(self.file),))
        with dg.execute_job(
            job, self.instance, run_config=CONFIG, tags={"cleanup/pass": "sessions"}, reexecution_options=again
        ) as result:
            return result.run_id

    def from_failure(self, run_id: str) -> str:
        return self.start(dg.ReexecutionOptions.from_failure(run_id, self.instance))

    def retry(self, run_id: str) -> str:
        again = what_to_repeat(self.instance, self.run(run_id), self.settings.targets_of("sessions"))
        return self.start(dg.ReexecutionOptions(run_id, again.steps))

    def run(self, run_id: str) -> dg.DagsterRun:
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        return run

    def report(self, run_id: str) -> PassReport:
        return close_pass(self.instance, run_id, "sessions", self.settings.targets_of("sessions"))

    def steps(self, run_id: str) -> list[str]:
        return steps_of(self.instance, run_id)


@pytest.fixture
def passes(tmp_path: Path) -> Iterator[Passes]:
    with dg.instance_for_test() as instance:
        yield Passes(tmp_path, instance)


def test_a_failed_shard_is_repeated_alone(web: Db, passes: Passes) -> None:
    forbid(web, f"OLD.id = {ROWS}")
    first = passes.start()
    report = passes.report(first)
    assert len([step for step in passes.steps(first) if "delete[" in step]) == 4
    # The batch of 10 that holds the row is left as a whole.
    assert ids(web, "web") - LIVE == set(range(ROWS - 9, ROWS + 1)) and report.status is PassStatus.PARTIAL

    # A second try under the same trouble, then one without: the chain is three runs long.
    second = passes.retry(first)
    assert passes.report(second).status is not PassStatus.SUCCEEDED
    allow(web)
    third = passes.retry(second)
    wanted = ["summarize", "web_sessions.delete[shard_3]", "web_sessions.report"]
    assert passes.steps(second) == wanted[1:2] and passes.steps(third) == wanted
    report = passes.report(third)
    assert report.status is PassStatus.SUCCEEDED and ids(web, "web") == LIVE
    tags = passes.run(third).tags
    assert (tags["cleanup/deleted"], tags["cleanup/survivors"]) == ("10", "0")


def test_dagsters_own_from_failure_repeats_the_failed_shard_alone(web: Db, passes: Passes) -> None:
    forbid(web, f"OLD.id = {ROWS}")
    first = passes.start()
    allow(web)
    second = passes.from_failure(first)
    assert passes.steps(second) == ["summarize", "web_sessions.delete[shard_3]", "web_sessions.report"]
    assert passes.run(second).is_success and ids(web, "web") == LIVE
    assert passes.report(second).status is PassStatus.SUCCEEDED
