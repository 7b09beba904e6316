"""`cleanup-pipeline metrics`: where it finds the ledger, what it prints, what it says when something is wrong."""

import os
import socket
from pathlib import Path

import dagster as dg
import pytest

from cleanup_pipeline.cli.home import dagster_home
from cleanup_pipeline.cli.ledger_place import folder_of
from cleanup_pipeline.cli.ledger_place import ledger_url as place
from cleanup_pipeline.dagster_defs.launch import instance_at
from cleanup_pipeline.dagster_defs.resources import ledger_url
from tests.cli.conftest import Program
from tests.cli.test_run import SETTINGS

URL = "postgresql://user@127.0.0.1:1/db"
OWN = """
local_artifact_storage:
  module: dagster._core.storage.root
  class: LocalArtifactStorage
  config: {{base_dir: {base}}}
"""


@pytest.fixture(autouse=True)
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("CLEANUP_", "DAGSTER_", "OTEL_"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("yaml", "variables"),
    [
        (None, {}),
        (None, {"CLEANUP_LEDGER_URL": "postgresql://user@ledger/db"}),
        ("telemetry: {enabled: false}\n", {}),
        ("", {}),
        (OWN.format(base="elsewhere/artifacts"), {}),
        (OWN.format(base="{env: OUR_PLACE}"), {"OUR_PLACE": "ours"}),
        ("telemetry: {enabled: false}\n", {"DAGSTER_HOME": "home"}),
    ],
)
def test_the_ledger_is_where_dagster_has_it(
    yaml: str | None, variables: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / variables.get("DAGSTER_HOME", "")
    home.mkdir(exist_ok=True)
    if yaml is not None:
        (home / "dagster.yaml").write_text(yaml, encoding="utf-8")
    for name, value in variables.items():
        monkeypatch.setenv(name, str(home) if name == "DAGSTER_HOME" else value)
    ours = place()
    with instance_at(dagster_home()) as instance:
        assert isinstance(instance, dg.DagsterInstance)
        assert ledger_url(instance) == ours


def test_where_history_is_in_dagsters_older_words_only_dagster_knows(tmp_path: Path) -> None:
    """As its chart writes it: files are at home, and history and ledger in a database."""
    history = "run_storage: {module: dagster_postgres.run_storage, class: PostgresRunStorage, config: {}}"
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}", encoding="utf-8")
    assert folder_of(tmp_path) == tmp_path
    (tmp_path / "dagster.yaml").write_text(history, encoding="utf-8")
    assert folder_of(tmp_path) is None


def test_once(program: Program, tmp_path: Path) -> None:
    ran = program("metrics", "--once", settings=SETTINGS, CLEANUP_POSTGRES_URL=URL)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert (
        'cleanup_sessions_deleted_total{kind="session",pass="sessions",store="main",target="web_sessions"} 0.0'
        in ran.stdout
    )
    away = program(
        "metrics", "--once", CLEANUP_POSTGRES_URL=URL, CLEANUP_LEDGER_URL="postgresql://u:hunter2@127.0.0.1:1/d"
    )
    assert away.returncode == 1 and "cleanup_ledger_up 0.0" in away.stdout and "deleted" not in away.stdout
    assert away.stderr.startswith("CLEANUP_LEDGER_URL: ") and "hunter2" not in away.stderr


def test_a_port_that_is_taken(program: Program) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ran = program("metrics", "--port", port, settings=SETTINGS, CLEANUP_POSTGRES_URL=URL)
    assert ran.returncode == 2 and ran.stdout == ""
    assert ran.stderr.startswith(f"--host, --port: cannot listen on 127.0.0.1:{port} (Address already in use)")
