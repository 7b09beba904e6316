"""What `run` and `plan` print, to people and to programs."""

import json
import os
import pty
import re
import subprocess
from pathlib import Path

import psycopg
import pytest

from tests.cli.conftest import COMMAND, Program, clean_environment
from tests.cli.test_bad_input import fill, ids

SETTINGS = """
cleanup: {batch_size: 10, pause: 0s}
stores: {main: {type: postgres, url: "${CLEANUP_POSTGRES_URL}"}}
targets: {web_sessions: {store: main, table: web, expires: {column: expires_at}, mode: delete}}
"""
PASS_KEYS = {"pass", "status", "cutoff", "seconds", "targets", "run_id"}
TARGET_KEYS = {
    "target", "store", "store_type", "kind", "strategy", "scanned", "expired_found", "deleted", "kept_live",
    "without_expiry", "unparsable", "survivors", "batches", "largest_batch", "seconds", "stop_reason", "error",
}  # fmt: skip


def test_json_is_one_object_and_nothing_else(program: Program, postgres_url: str) -> None:
    fill(postgres_url, "web")
    plan = program("plan", "sessions", "--json", settings=SETTINGS, CLEANUP_POSTGRES_URL=postgres_url)
    assert plan.returncode == 0
    planned = json.loads(plan.stdout)
    assert (planned["pass"], planned["errors"]) == ("sessions", {})
    assert [(p["target"], p["census"]["expired"]) for p in planned["plans"]] == [("web_sessions", 30)]
    dry = program("run", "sessions", "--dry-run", CLEANUP_POSTGRES_URL=postgres_url)
    assert dry.returncode == 0 and dry.stdout.startswith("sessions: dry_run in ")
    assert len(ids(postgres_url, "web")) == 35

    # The name of the job means the pass.
    ran = program("run", "clean_sessions", "--json", CLEANUP_POSTGRES_URL=postgres_url)
    assert ran.returncode == 0 and ran.stdout.count("\n") == 1
    document = json.loads(ran.stdout)
    assert set(document) >= PASS_KEYS
    (target,) = document["targets"]
    assert set(target) >= TARGET_KEYS
    assert (document["pass"], document["status"]) == ("sessions", "succeeded")
    assert {name: target[name] for name in ("deleted", "expired_found", "kept_live", "survivors")} == {
        "deleted": 30, "expired_found": 30, "kept_live": 5, "survivors": 0,
    }  # fmt: skip
    assert target["batches"] >= 3
    assert (target["largest_batch"], target["stop_reason"], target["error"]) == (10, "exhausted", None)
    assert ids(postgres_url, "web") == [31, 32, 33, 34, 35]


def test_switched_off_is_skipped(program: Program, postgres_url: str) -> None:
    fill(postgres_url, "web")
    settings = SETTINGS.replace("cleanup: {", "cleanup: {enabled: false, ")
    ran = program("run", "sessions", settings=settings, CLEANUP_POSTGRES_URL=postgres_url)
    assert ran.returncode == 0
    assert ran.stdout.splitlines()[0].startswith("sessions: skipped") and "enabled: false" in ran.stdout
    assert len(ids(postgres_url, "web")) == 35


def test_plan_is_for_people(program: Program, postgres_url: str) -> None:
    fill(postgres_url, "web")
    ran = program("plan", "sessions", settings=SETTINGS, CLEANUP_POSTGRES_URL=postgres_url)
    lines = ran.stdout.splitlines()
    assert lines[0] == "web_sessions (session in main, postgres)"
    assert lines[1].startswith("  expired  30, the oldest ") and lines[2].startswith("  kept     5 live, 0 without")
    assert len(ids(postgres_url, "web")) == 35


def test_version(program: Program) -> None:
    assert re.fullmatch(r"cleanup-pipeline \d+\.\d+\.\d+\S*\n", program("--version").stdout)


@pytest.mark.parametrize("no_color", [False, True])
def test_a_terminal_sees_progress_and_then_a_clean_report(tmp_path: Path, postgres_url: str, no_color: bool) -> None:
    fill(postgres_url, "web", rows=3000)
    (tmp_path / "cleanup.yaml").write_text(SETTINGS.replace("batch_size: 10", "batch_size: 100"))
    more = {"CLEANUP_POSTGRES_URL": postgres_url, "TERM": "xterm-256color", **({"NO_COLOR": "1"} if no_color else {})}
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, "run", "sessions"],
        cwd=tmp_path,
        env=clean_environment(**more),
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        seen = b""
        try:
            while part := os.read(ours, 65536):
                seen += part
        except OSError:
            pass  # Linux' way to say that the other end is closed
    os.close(ours)
    text = seen.decode()
    assert process.returncode == 0, text
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "")
    assert re.search(r"web_sessions .*[\d,]+/3,000 .* left", plain), text
    assert re.search(r"sessions: succeeded in .*\ntarget +expired +deleted.*\nweb_sessions +3,000 +3,000 +0 +5", plain)
    assert bool(re.search(r"\x1b\[[0-9;]*m", text)) is not no_color
    with psycopg.connect(postgres_url) as login:
        assert login.execute("SELECT count(*) FROM web").fetchone() == (5,)
