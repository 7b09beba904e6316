"""The webserver and the daemon, as `up` and Dagster's own commands start them."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from cleanup_pipeline.embedded.servers import Server
from tests.cli.conftest import clean_environment
from tests.cli.test_bad_input import fill, ids
from tests.e2e.support import free_port, graphql, listens, marked, started, wait_for
from tests.storages import BOTH_LONG

ROOT = Path(__file__).parents[2]
DAGSTER = [sys.executable, "-m", "dagster"]

SETTINGS = """
cleanup: {pause: 0s}
passes: {sessions: {every: 1m}, verification_tokens: {every: 1m, enabled: false}}
stores:
  main: {type: postgres, url: "${CLEANUP_POSTGRES_URL}"}
  cache: {type: redis, url: "${CLEANUP_REDIS_URL}"}
targets:
  web_sessions: {store: main, table: web, expires: {column: expires_at}, mode: delete}
  cache_sessions: {store: cache, keys: "s:*", expires: {value: s}, mode: delete}
"""

RUNS = """{runsOrError(limit: 5, filter: {pipelineName: "%s"}) {... on Runs {
  results {runId status tags {key value}}}}}"""
METADATA = """{assetOrError(assetKey: {path: ["cleanup", "%s"]}) {... on Asset {
  assetMaterializations(limit: 5) {metadataEntries {label
    ... on IntMetadataEntry {intValue} ... on PipelineRunMetadataEntry {runId}}}}}}"""
CHECKS = """{assetChecksOrError: assetNodeOrError(assetKey: {path: ["cleanup", "%s"]}) {... on AssetNode {
  assetChecksOrError {... on AssetChecks {checks {name executionForLatestMaterialization {status}}}}}}}"""


def runs(port: int, job: str = "clean_sessions") -> list[dict[str, Any]]:
    answer = graphql(port, RUNS % job)
    return answer["runsOrError"]["results"] if answer else []


def passed(port: int, target: str) -> set[str]:
    """The checks of a target that passed since its last pass."""
    found = graphql(port, CHECKS % target)["assetChecksOrError"]["assetChecksOrError"]["checks"]
    latest = {check["name"]: check["executionForLatestMaterialization"] for check in found}
    return {name for name, execution in latest.items() if execution and execution["status"] == "SUCCEEDED"}


def numbers(port: int, target: str, run_id: str) -> dict[str, int]:
    """What a run put on a target's asset."""
    found = graphql(port, METADATA % target)["assetOrError"]["assetMaterializations"]
    (made,) = [one for one in found if run_id in [entry.get("runId") for entry in one["metadataEntries"]]]
    return {entry["label"]: entry["intValue"] for entry in made["metadataEntries"] if "intValue" in entry}


@BOTH_LONG
@pytest.mark.timeout(300)
def test_a_schedule_starts_a_run_whose_figures_can_be_read_back(
    tmp_path: Path, postgres_url: str, redis_url: str, storage: dict[str, str]
) -> None:
    fill(postgres_url, "web")
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        client.mset({f"s:{n}": "1000000000" if n < 7 else "9000000000" for n in range(10)})
        (tmp_path / "cleanup.yaml").write_text(SETTINGS)
        port = free_port()
        stores = {"CLEANUP_POSTGRES_URL": postgres_url, "CLEANUP_REDIS_URL": redis_url, **storage}
        with started(tmp_path, "up", "--port", str(port), **stores) as program:
            program.wait_until_it_says("Ctrl-C stops it")
            assert "pass sessions: 2 targets, every 1m, schedule on" in program.output()
            assert "pass verification_tokens: 0 targets, every 1m, schedule off" in program.output()

            def ended() -> dict[str, Any] | None:
                return next((run for run in runs(port) if run["status"] in {"SUCCESS", "FAILURE"}), None)

            run = wait_for("a run of the schedule", ended)
            tags = {tag["key"]: tag["value"] for tag in run["tags"]}
            assert run["status"] == "SUCCESS"
            assert tags["dagster/schedule_name"] == "clean_sessions_schedule"
            assert (tags["cleanup/pass"], tags["cleanup/status"], tags["cleanup/deleted"]) == (
                "sessions", "succeeded", "37",
            )  # fmt: skip
            web, cache = (numbers(port, name, run["runId"]) for name in ("web_sessions", "cache_sessions"))
            assert (web["expired_found"], web["deleted"], web["kept_live"], web["survivors"]) == (30, 30, 5, 0)
            assert (cache["expired_found"], cache["deleted"], cache["kept_live"], cache["survivors"]) == (7, 7, 3, 0)
            assert ids(postgres_url, "web") == [31, 32, 33, 34, 35]

            def witnessed() -> bool:
                behind = [tag["value"] for one in runs(port, "witness_sessions") for tag in one["tags"]
                          if tag["key"] == "cleanup/witness_of"]  # fmt: skip
                return run["runId"] in behind and passed(port, "web_sessions") == {"oldest_survivor", "freshness"}

            wait_for("the checks behind the pass", witnessed)
            assert sorted(client.keys("*")) == ["s:7", "s:8", "s:9"]

            assert program.end(signal.SIGINT) == 0
            wait_for("all processes gone", lambda: not marked(tmp_path), 15)
            assert not listens(port)

        with started(tmp_path, "up", "--port", str(port), **stores) as again:
            again.wait_until_it_says("Ctrl-C stops it")
            assert run["runId"] in [old["runId"] for old in runs(port)]
            assert again.end(signal.SIGTERM) == 0
            wait_for("all processes gone", lambda: not marked(tmp_path), 15)
            assert not listens(port)


def test_up_with_wrong_settings_starts_nothing(tmp_path: Path, redis_server: Server) -> None:
    (tmp_path / "cleanup.yaml").write_text(SETTINGS.replace("expires_at", "3") + "  web: {}\n")
    port = free_port()
    with started(tmp_path, "up", "--port", str(port)) as program:
        assert program.process.wait(30) == 2
        assert "nothing is cleaned" in program.output() and "targets.web.store: found nothing" in program.output()
        assert not marked(tmp_path) and not listens(port) and not (tmp_path / ".cleanup").exists()

    # A port that is taken, and settings that are right.
    taken = redis_server.url.rsplit(":", 1)[1].split("/")[0]
    (tmp_path / "cleanup.yaml").write_text("stores: {c: {type: redis, url: 'redis://127.0.0.1:9/0'}}\n")
    with started(tmp_path, "up", "--port", taken) as program:
        assert program.process.wait(30) == 2
        assert f"something listens on 127.0.0.1:{taken} already" in program.output()
        assert not marked(tmp_path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """What of the repository's root Dagster reads."""
    for name in ("workspace.yaml", "dagster.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def test_definitions_validate_without_any_store(root: Path) -> None:
    ran = subprocess.run(
        [*DAGSTER, "definitions", "validate"],
        cwd=root, env=clean_environment(), capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert "Validation successful for code location cleanup_pipeline" in ran.stdout + ran.stderr


LOCATIONS = "{workspaceOrError {... on Workspace {locationEntries {name loadStatus locationOrLoadError {__typename}}}}}"


@pytest.mark.long
@pytest.mark.timeout(180)
def test_dagster_dev_loads_the_code_location(root: Path) -> None:
    port = free_port()
    with started(root, "dev", "--host", "127.0.0.1", "--port", str(port), command=DAGSTER) as program:

        def loaded() -> list[dict[str, Any]] | None:
            assert program.process.poll() is None, program.output()
            answer = graphql(port, LOCATIONS)
            entries: list[dict[str, Any]] = answer["workspaceOrError"]["locationEntries"] if answer else []
            return entries if entries and entries[0]["loadStatus"] == "LOADED" else None

        (entry,) = wait_for("the code location", loaded)
        assert (entry["name"], entry["locationOrLoadError"]["__typename"]) == (
            "cleanup_pipeline", "RepositoryLocation",
        )  # fmt: skip
        assert (root / ".cleanup" / "storage").is_dir()


@pytest.mark.long
def test_a_code_location_that_does_not_load_ends_up(tmp_path: Path, postgres_url: str) -> None:
    """Dagster goes on without a code location that does not load; `up` must not."""
    (tmp_path / "cleanup.yaml").write_text(SETTINGS.split("  cache:")[0])
    (tmp_path / "workspace.yaml").write_text("load_from: [{python_module: {module_name: no_such_module}}]\n")
    with (
        psycopg.connect(postgres_url),
        started(tmp_path, "up", "--port", str(free_port()), CLEANUP_POSTGRES_URL=postgres_url) as program,
    ):
        assert program.process.wait(90) == 2
        assert "Dagster could not load the passes" in program.output() and "no_such_module" in program.output()
        wait_for("all processes gone", lambda: not marked(tmp_path), 15)
