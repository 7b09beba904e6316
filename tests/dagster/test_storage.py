"""Which storage Dagster gets, and what is said where the variable and the dagster.yaml do not agree."""

from pathlib import Path

import pytest
from dagster._core.storage.runs.sqlite import SqliteRunStorage
from sqlalchemy.engine import make_url

from cleanup_pipeline.dagster_defs.launch import instance_at
from cleanup_pipeline.dagster_defs.storage import dagster_url, database_of, is_shared
from cleanup_pipeline.ledger import LedgerError
from cleanup_pipeline.ledger.database import database_url
from tests.storages import instance_on

NAME = "CLEANUP_DAGSTER_POSTGRES_URL"


def test_none_is_files() -> None:
    assert database_url({}) is None and database_url({NAME: " ", f"{NAME}_FILE": ""}) is None


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg2", "postgresql+psycopg"])
def test_every_way_to_write_it_is_one_url(scheme: str) -> None:
    assert database_url({NAME: f"{scheme}://u:p@h/d"}) == "postgresql://u:p@h/d"


def test_a_file_holds_it(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("postgresql://u:p@h/d\n")
    assert database_url({f"{NAME}_FILE": str(tmp_path / "url")}) == "postgresql://u:p@h/d"


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({NAME: "hush"}, rf"^{NAME}: this is no URL of PostgreSQL"),
        ({NAME: "mysql://u:hush@h/d"}, rf"^{NAME}: this is no URL of PostgreSQL"),
        ({NAME: "postgresql://"}, rf"^{NAME}: this is no URL of PostgreSQL"),
        ({f"{NAME}_FILE": "/no/such/hush"}, rf"^{NAME}_FILE: found a file that cannot be read"),
        ({NAME: "postgresql://u:hush@h/d", f"{NAME}_FILE": "x"}, rf"^{NAME}: {NAME}_FILE is set, too"),
    ],
)
def test_what_is_wrong_with_it_is_said_without_showing_it(variables: dict[str, str], words: str) -> None:
    with pytest.raises(LedgerError, match=words) as fault:
        database_url(variables)
    assert "hush" not in str(fault.value)


def test_dagster_is_told_the_driver_that_it_was_written_for_and_to_look_at_certificates() -> None:
    here = make_url(dagster_url("postgresql://u:p%40ss@127.0.0.1/d"))
    assert here.drivername == "postgresql+psycopg2" and here.password == "p@ss" and "sslmode" not in here.query
    assert (here.query["connect_timeout"], here.query["application_name"]) == ("5", "cleanup-pipeline")
    assert make_url(dagster_url("postgresql://u@db.example.com/d")).query["sslmode"] == "verify-full"
    assert make_url(dagster_url("postgresql://u@db.example.com/d?sslmode=require")).query["sslmode"] == "require"


def test_a_home_of_somebody_else_with_the_variable_is_refused(
    history_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger would be in the database and the runs in a file."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    with instance_at(tmp_path) as instance:
        assert isinstance(instance.run_storage, SqliteRunStorage) and database_of(instance) is None
    monkeypatch.setenv(NAME, history_url)
    with pytest.raises(LedgerError, match="keeps runs in SQLite; give it `storage:"), instance_at(tmp_path):
        pass


def test_workers_elsewhere_need_a_database(history_url: str) -> None:
    with instance_on({}) as instance:
        is_shared(instance, "multiprocess")
        for executor in ("celery", "k8s"):
            with pytest.raises(LedgerError, match=f"found nothing, and execution.executor is {executor}"):
                is_shared(instance, executor)
    with instance_on({NAME: history_url}) as instance:
        is_shared(instance, "celery")


def test_the_ledger_is_in_the_database_of_dagster(history_url: str) -> None:
    from cleanup_pipeline.dagster_defs.resources import ledger_url

    with instance_on({NAME: history_url}) as instance:
        assert ledger_url(instance) == database_of(instance) == history_url
    with instance_on({}) as instance:
        assert ledger_url(instance).startswith("sqlite:///") and database_of(instance) is None
