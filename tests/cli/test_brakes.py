"""A person meets a brake: `plan` and `run` show it, `release-brake` lets it go."""

import io
import json
from dataclasses import replace

import psycopg
import pytest
from rich.console import Console

from cleanup_pipeline.cli.show import show_report
from cleanup_pipeline.model.words import PassStatus, StopReason
from cleanup_pipeline.reporting.fold import fold_pass, unplanned
from tests.checkup.looking import WEB
from tests.cli.conftest import Program

SETTINGS = """
cleanup: {brakes: {unusual_from: 100}}
stores:
  main: {type: postgres, url: "${CLEANUP_POSTGRES_URL}"}
targets:
  web: {store: main, table: web, expires: {column: expires_at}, mode: delete}
"""


def test_it_is_shown_and_let_go(program: Program, postgres_url: str) -> None:
    def ask(*arguments: str) -> tuple[int, str]:
        ran = program(*arguments, settings=SETTINGS, CLEANUP_POSTGRES_URL=postgres_url)
        return ran.returncode, ran.stdout + ran.stderr

    with psycopg.connect(postgres_url, autocommit=True) as db:
        db.execute("CREATE TABLE web (expires_at timestamptz); CREATE INDEX ON web (expires_at)")
        db.execute(
            "INSERT INTO web SELECT now() + n * interval '1 minute' FROM generate_series(1, 2000) n"
            # None that dies while a slow machine gets to it.
            " WHERE n NOT BETWEEN 1201 AND 1300"
        )
        code, said = ask("plan", "sessions")
        assert code == 0 and "ledger" not in said, "there is none yet: it is made for the plan"
        assert ask("release-brake") == (0, "nothing is braked\n")
        assert ask("run", "sessions")[0] == 0
        db.execute("UPDATE web SET expires_at = expires_at - interval '20 hours'")
        code, said = ask("plan", "sessions")
        assert code == 0 and "brake    restored: the newest records expire 20h earlier" in said
        code, said = ask("run", "sessions", "--json")
        [target] = json.loads(said)["targets"]
        assert (code, target["stop_reason"], target["deleted"]) == (1, "braked", 0)
        assert target["error"].endswith("`cleanup-pipeline release-brake web` lets the next pass go on")
        assert ask("history", "-n", "1")[1].splitlines()[1].split()[3] == "braked"
        assert "let go   cleanup-pipeline release-brake web\n" in ask("release-brake")[1]
        code, said = ask("release-brake", "web", "--once")
        assert code == 0 and ", for the next pass, until " in said
        assert ask("release-brake", "web")[0] == 2
        code, said = ask("retry")
        assert code == 0 and "brake restored was let go by " in said
        assert db.execute("SELECT count(*) FROM web").fetchone() == (700,)


@pytest.mark.parametrize(
    ("reasons", "status", "word"),
    [
        ((StopReason.BRAKED,), PassStatus.FAILED, "braked"),
        ((StopReason.BRAKED, StopReason.EXHAUSTED), PassStatus.PARTIAL, "braked"),
        ((StopReason.BRAKED, StopReason.ERROR), PassStatus.FAILED, "failed"),
        ((StopReason.ERROR, StopReason.EXHAUSTED), PassStatus.PARTIAL, "partial"),
        ((StopReason.EXHAUSTED,), PassStatus.SUCCEEDED, "succeeded"),
    ],
)
def test_what_waits_for_a_person_is_told_from_what_failed(
    reasons: tuple[StopReason, ...], status: PassStatus, word: str
) -> None:
    red = unplanned(WEB, "it is red")
    report = fold_pass(
        "sessions",
        [replace(red, stop_reason=each, error=None if each is StopReason.EXHAUSTED else red.error) for each in reasons],
        1.0,
    )
    assert report.status is status
    out = io.StringIO()
    show_report(Console(file=out), report)
    assert out.getvalue().startswith(f"sessions: {word} in 1.00 s\n")
