"""Everything that the product keeps, in the PostgreSQL database that one variable names: a red pass, its repetition."""

import re
from pathlib import Path

import dagster as dg
import psycopg
import pytest
from typer.testing import CliRunner, Result

from cleanup_pipeline.cli.home import dagster_home
from cleanup_pipeline.cli.ledger_place import ledger_url
from cleanup_pipeline.cli.main import app
from cleanup_pipeline.dagster_defs.launch import instance_at
from cleanup_pipeline.dagster_defs.resources import ledger_url as by_dagster
from cleanup_pipeline.ledger import LedgerError, open_ledger
from tests.dagster.conftest import ids
from tests.dagster.shards import LIVE, SETTINGS, allow, fill, forbid

SECRET = "hush%2Fhush"


def said(*arguments: str, code: int = 0) -> str:
    result: Result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "80"})
    assert result.exit_code == code, (result.output, result.exception)
    assert SECRET not in result.output and "hush/hush" not in result.output
    return result.output


@pytest.mark.parametrize("by_file", [False, True], ids=["variable", "file"])
def test_a_red_pass_is_repeated(
    by_file: bool, postgres_url: str, history_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.setenv("DAGSTER_DISABLE_TELEMETRY", "1")
    monkeypatch.setenv("CLEANUP_POSTGRES_URL", postgres_url)
    # The server asks for no password; whoever writes one down is caught all the same.
    url = re.sub(r"//postgres@", f"//postgres:{SECRET}@", history_url)
    if by_file:
        (tmp_path / "secret").write_text(f"{url}\n")
        monkeypatch.setenv("CLEANUP_DAGSTER_POSTGRES_URL_FILE", str(tmp_path / "secret"))
    else:
        monkeypatch.setenv("CLEANUP_DAGSTER_POSTGRES_URL", url)
    (tmp_path / "cleanup.yaml").write_text(SETTINGS)
    with psycopg.connect(postgres_url, autocommit=True) as db:
        fill(db)
        forbid(db, "OLD.id = 35")
        assert "no" in said("run", "sessions", code=1)
        if by_file:
            return
        allow(db)
        assert "1 shard again" in said("retry")
        assert ids(db, "web") == LIVE
    assert [line.split()[3] for line in said("history").splitlines()[1:]] == ["succeeded", "partial"]
    assert "80" in said("report")
    assert "runs of Dagster" in said("prune-history", "--dry-run")

    with instance_at(dagster_home()) as instance:
        statuses = {run.status for run in instance.get_runs()}
        assert by_dagster(instance) == ledger_url() == url
    assert statuses == {dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE}
    ledger = open_ledger(history_url)
    assert [row.deleted for row in ledger.history()] == [10, 70]
    ledger.close()
    # Nothing of it is in files, and no file has the password.
    assert not list(tmp_path.rglob("*.db"))
    written = [each for each in tmp_path.rglob("*") if each.is_file()]
    assert written and not [each for each in written if b"hush" in each.read_bytes()]


def test_a_database_that_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.setenv("CLEANUP_DAGSTER_POSTGRES_URL", f"postgresql://u:{SECRET}@127.0.0.1:9/runs")
    words = r"^CLEANUP_DAGSTER_POSTGRES_URL: the database at postgresql://127.0.0.1:9/runs cannot be reached"
    with pytest.raises(LedgerError, match=words) as fault, instance_at(dagster_home()):
        pass
    assert SECRET not in str(fault.value) and "hush/hush" not in str(fault.value)
