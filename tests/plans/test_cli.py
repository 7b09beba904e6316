"""A person plans, looks, applies, and is told what became of it."""

import json
from pathlib import Path

import psycopg
import pytest
from typer.testing import CliRunner

from cleanup_pipeline.cli.errors import UsageError
from cleanup_pipeline.cli.main import app
from cleanup_pipeline.cli.plans import _as_many_as_fit
from tests.cli.conftest import Program, program

__all__ = ["program"]

SETTINGS = """
cleanup: {batch_size: 10, pause: 0s}
plans: {sample: 2}
stores:
  main: {type: postgres, url: "${CLEANUP_POSTGRES_URL}"}
targets:
  web: {store: main, table: web, expires: {column: expires_at}, client: app, row_limit: 20}
  other: {store: main, table: web, kind: copy, expires: {column: expires_at}}
"""


def fill(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as db:
        db.execute("CREATE TABLE web (id text PRIMARY KEY, app text, expires_at timestamptz)")
        db.execute(
            "INSERT INTO web SELECT 'id' || n, 'shop', now() + (CASE WHEN n <= 30 THEN -n ELSE n END) * interval '1 h'"
            " FROM generate_series(1, 35) n"
        )


@pytest.mark.long
def test_plan_apply_and_retry(program: Program, postgres_url: str) -> None:
    fill(postgres_url)

    def ask(*arguments: str) -> tuple[int, str]:
        ran = program(*arguments, settings=SETTINGS, CLEANUP_POSTGRES_URL=postgres_url)
        return ran.returncode, ran.stdout + ran.stderr

    code, said = ask("plan", "web", "--json")
    plan = json.loads(said)
    plan_id = plan["plan"]
    assert code == 0 and [each["target"] for each in plan["plans"]] == ["web"]
    # A target in mode dry_run: asking for the plan is the word for this one pass, and it keeps its limits.
    code, said = ask("apply", plan_id[:6], "--json")
    done = json.loads(said)
    assert code == 1 and [each["target"] for each in done["passes"][0]["targets"]] == ["web"]
    assert done["passes"][0]["targets"][0]["deleted"] == 20
    assert f"retry` goes on with plan {plan_id}" in done["passes"][0]["targets"][0]["error"]
    assert (done["drift"]["web"]["planned"], done["drift"]["web"]["there"], done["drift"]["web"]["gone"]) == (30, 30, 0)
    code, said = ask("apply", plan_id)
    assert code == 2 and "was applied already, at" in said and "make a new plan" in said
    code, said = ask("retry")
    with psycopg.connect(postgres_url) as db:
        assert code == 0, said
        assert db.execute("SELECT count(*) FROM web").fetchone() == (5,)
    code, said = ask("plan", "--show", plan_id)
    lines = said.splitlines()
    assert code == 0 and "; applied, good until " in lines[0]
    assert "  still there and expired            30" in lines and "  clients  shop 30" in lines
    code, said = ask("history")
    assert code == 0 and said.count(plan_id) == 1


@pytest.fixture
def here(tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with settings, its own ledger, and this process in it."""
    for name in ("CLEANUP_SETTINGS", "DAGSTER_HOME", "CLEANUP_PLAN_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLEANUP_POSTGRES_URL", postgres_url)
    monkeypatch.setenv("CLEANUP_LEDGER_URL", f"sqlite:///{tmp_path}/ledger.db")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cleanup.yaml").write_text(SETTINGS)
    return tmp_path


def said(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_what_is_printed(here: Path, postgres_url: str) -> None:
    fill(postgres_url)
    assert said("plans") == "no plan is on record; `cleanup-pipeline plan` makes one\n"
    text = said("plan")
    plan_id = text.split("\nplan ")[1].split(":")[0]
    assert "\nexpired, by kind: copy 30, session 30\n" in text and text.endswith(
        f"  cleanup-pipeline apply {plan_id}\n"
    )
    lines = text.splitlines()
    assert "  by age   23 1h to 1d; 7 1d to 7d" in lines
    assert sum(line.startswith("  goes, the ") for line in lines) == 8
    # The hash that the plan shows for a record is the one that its id has.
    shown = next(line for line in lines if line.startswith("  goes, the youngest")).split()[3]
    assert said("plan", "--hash-id", "id1", "--hash-id", "id2").splitlines()[0] == shown
    assert "id1" not in text.replace("identity", "")
    listed = said("plans").splitlines()
    assert len(listed) == 2 and listed[1].split()[0] == plan_id and "  open " in listed[1]
    assert max(map(len, listed)) <= 80
    row = json.loads(said("plan", "--show", plan_id[:5], "--json"))
    assert (row["state"], row["targets"][1]["expired"], row["targets"][1]["plan"]["id"]) == ("open", 30, plan_id)


def test_what_is_paused_is_left_and_red(here: Path, postgres_url: str) -> None:
    fill(postgres_url)
    plan_id = json.loads(said("plan", "web", "--json"))["plan"]
    said("pause", "web")
    result = CliRunner().invoke(app, ["apply", plan_id])
    assert result.exit_code == 1, result.output
    assert "  web: skipped: paused by " in result.stdout
    assert "✗ web: the plan was not applied to it, and the 30 records that were planned are left" in result.stderr
    assert "it stays open for that until" in result.stderr
    assert json.loads(said("plan", "--show", plan_id, "--json"))["state"] == "open"
    with psycopg.connect(postgres_url) as db:
        assert db.execute("SELECT count(*) FROM web").fetchone() == (35,)
    said("resume", "web")
    done = json.loads(CliRunner().invoke(app, ["apply", plan_id, "--json"]).stdout)
    assert done["passes"][0]["targets"][0]["deleted"] == 20
    # On 80 columns no word is cut.
    listed = said("history").splitlines()
    assert max(map(len, listed)) <= 80 and "…" not in "".join(listed)
    assert [line.split()[3] for line in listed[1:]] == ["partial", "skipped"]


def test_targets_are_listed_whole() -> None:
    names = ["web_sessions", "api_sessions", "login_tokens"]
    assert _as_many_as_fit(names, 80) == "web_sessions, api_sessions, login_tokens"
    assert _as_many_as_fit(names, 37) == "web_sessions, api_sessions and 1 more"
    assert _as_many_as_fit(names, 24) == "web_sessions and 2 more"
    assert _as_many_as_fit(names, 5) == "web_sessions and 2 more"
    assert _as_many_as_fit([], 5) == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("plan", "webb"), "there is no pass and no target webb; did you mean web"),
        (("plan", "verification_tokens"), "there is no target to plan in verification_tokens"),
        (("plan", "--show", "0123456789"), "no plan, or more than one, is 0123456789"),
        (("apply", "012"), "expected an id or at least its first 4 letters"),
        (("apply", "0123"), "`cleanup-pipeline plans` lists them"),
    ],
)
def test_bad_usage(here: Path, arguments: tuple[str, ...], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        said(*arguments)


def test_a_ledger_that_is_away(here: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(postgres_url)
    monkeypatch.setenv("CLEANUP_LEDGER_URL", "postgresql://nobody@127.0.0.1:9/none")
    result = CliRunner().invoke(app, ["plan", "web"])
    assert result.exit_code == 1 and "expired  30" in result.output
    assert "the plan is not kept, and cannot be applied" in result.stderr
