"""docs/embedding.md as it is typed, in a project that `create-dagster` makes."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest

from cleanup_pipeline.dagster_defs.launch import instance_at
from tests.cli.conftest import clean_environment
from tests.dagster.conftest import ids
from tests.embedding.doc import commands, files

LIVE = set(range(26, 31))
BIN = Path(sys.executable).parent
COMPONENT_FILE = "src/shop/defs/my_cleanup/defs.yaml"
FUNCTION_FILE = "src/shop/defs/sessions.py"


@pytest.fixture
def web(postgres_url: str) -> Iterator["psycopg.Connection[Any]"]:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE web (id int, expires_at timestamptz)")
        yield connection


def fill(web: "psycopg.Connection[Any]") -> None:
    web.execute(
        "INSERT INTO web SELECT n, now() + CASE WHEN n <= 25 THEN -1 ELSE 1 END * interval '1 day'"
        " FROM generate_series(1, 30) n"
    )


class Project:
    """A `dg` project named shop, with this package beside it."""

    def __init__(self, folder: Path, **variables: str) -> None:
        self.root, self.home = folder / "shop", folder / "home"
        self.home.mkdir()
        self.environment = clean_environment(
            **variables,
            DAGSTER_HOME=str(self.home),
            DAGSTER_DISABLE_TELEMETRY="1",
            PYTHONPATH=str(self.root / "src"),
            PATH=f"{BIN}{os.pathsep}{os.environ['PATH']}",
            PYTHONWARNINGS="ignore",
            COLUMNS="200",
        )
        self.type("create-dagster project shop --no-uv-sync", folder)

    def type(self, command: str, folder: Path | None = None, code: int = 0) -> str:
        """What a command prints."""
        done = subprocess.run(
            command.split(), cwd=folder or self.root, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def names(self, kind: str) -> set[str]:
        """The names of a kind of definitions, as `dg` lists them."""
        return {each["name"] for each in json.loads(self.type("dg list defs --json"))[kind]}


@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_page_as_it_is_typed(tmp_path: Path, postgres_url: str, web: "psycopg.Connection[Any]") -> None:
    typed = commands()
    listing, scaffolding, checking, _, launching, looking, retrying = typed
    project = Project(tmp_path, CLEANUP_POSTGRES_URL=postgres_url)
    assert "cleanup_pipeline.CleanupComponent" in project.type(listing)
    project.type(scaffolding)
    made = project.root / COMPONENT_FILE
    assert "enabled: false" in made.read_text()
    project.type(checking)
    made.write_text(files()[COMPONENT_FILE])
    project.type(checking)
    assert {"clean_sessions", "witness_sessions", "cleanup_report"} <= project.names("jobs")

    fill(web)
    project.type(launching)
    assert ids(web, "web") == LIVE
    assert "sessions" in project.type(looking)

    # A pass that failed in their location is repeated by the command line, under that location's name.
    web.execute("CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'no'; END$$")
    web.execute("CREATE TRIGGER no BEFORE DELETE ON web FOR EACH ROW EXECUTE FUNCTION no()")
    web.execute("DELETE FROM web WHERE false")
    fill(web)
    project.type(launching, code=1)
    web.execute("DROP TRIGGER no ON web")
    project.type(retrying)
    assert ids(web, "web") == LIVE
    with instance_at(project.home) as instance:
        repeated, failed, first = instance.get_runs()
        assert (first.status, failed.status, repeated.status) == (
            dg.DagsterRunStatus.SUCCESS,
            dg.DagsterRunStatus.FAILURE,
            dg.DagsterRunStatus.SUCCESS,
        )
        assert repeated.parent_run_id == failed.run_id

    # A key that is none: `dg check yaml` says where.
    made.write_text(files()[COMPONENT_FILE].replace("expires:", "expired:"))
    told = subprocess.run(
        ["dg", "check", "yaml"], cwd=project.root, env=project.environment, capture_output=True, text=True, check=False
    )
    assert told.returncode == 1
    assert "expired" in told.stdout + told.stderr


@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_function_in_a_module_of_the_project(
    tmp_path: Path, postgres_url: str, web: "psycopg.Connection[Any]"
) -> None:
    fill(web)
    project = Project(tmp_path, CLEANUP_POSTGRES_URL=postgres_url)
    (project.root / FUNCTION_FILE).write_text(files()[FUNCTION_FILE])
    project.type("dg check defs")
    project.type("dg launch --job clean_sessions")
    assert ids(web, "web") == LIVE
