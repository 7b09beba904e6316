"""Seeing and freeing leases, and the passes that are on record, with the real program."""

from pathlib import Path

import psycopg

from tests.cli.conftest import Program
from tests.cli.test_pause import SETTINGS, ask, folder  # noqa: F401
from tests.e2e.support import started, wait_for


def test_who_has_it_and_taking_it_away(folder: Path, postgres_url: str) -> None:  # noqa: F811
    def rows() -> int:
        with psycopg.connect(postgres_url) as db:
            row = db.execute("SELECT count(*) FROM visits").fetchone()
        return row[0] if row else 0

    assert ask(folder, postgres_url, "leases") == (0, "no target is being cleaned\n")
    assert ask(folder, postgres_url, "leases", "--release", "visits") == (0, "visits was free\n")
    code, told = ask(folder, postgres_url, "leases", "--release", "visit")
    assert (code, told) == (2, "--release: there is no target visit; did you mean visits?\n")
    with started(folder, "run", "sessions", "--json", CLEANUP_POSTGRES_URL=postgres_url) as program:
        wait_for("the first batches", lambda: rows() < 20_000)
        code, told = ask(folder, postgres_url, "leases")
        lines = [line.split() for line in told.splitlines()]
        assert code == 0 and lines[0][0] == "target" and lines[1][0] == "visits" and lines[1][-1] == "all"
        # A second one at this moment is told, and is not red.
        code, told = ask(folder, postgres_url, "run", "sessions")
        assert code == 0 and "skipped: held by " in told.replace("\n", " ")
        assert ask(folder, postgres_url, "leases", "--release", "visits") == (0, "visits: 1 lease taken away\n")
        assert program.process.wait(60) == 1
        assert "lease_lost" in program.output() and "psycopg" not in program.output()
    left = rows()
    assert 0 < left < 20_000
    code, told = ask(folder, postgres_url, "history")
    assert code == 0
    newest, oldest = ([field for field in line.split("  ") if field.strip()] for line in told.splitlines()[1:3])
    assert "succeeded" in " ".join(newest) and "partial" in " ".join(oldest)
    assert f"{20_000 - left + 10:,}" in " ".join(oldest) or f"{20_000 - left:,}" in " ".join(oldest)
    assert f"{left:,}" in " ".join(oldest)


def test_nothing_on_record(program: Program, postgres_url: str) -> None:
    ran = program("history", settings=SETTINGS, CLEANUP_POSTGRES_URL=postgres_url)
    assert (ran.returncode, ran.stdout) == (0, "no pass is on record\n")
    ran = program("history", "--since", "soon", CLEANUP_POSTGRES_URL=postgres_url)
    assert ran.returncode == 2 and "--since: found soon, expected a duration" in ran.stderr
