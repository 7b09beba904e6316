"""`retry` after a pass was killed or stopped in the middle: nothing is left out, nothing finished is repeated."""

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import psycopg
import pytest

from cleanup_pipeline.dagster_defs.launch import instance_at
from tests.cli.conftest import COMMAND, Program, clean_environment
from tests.dagster.conftest import ids
from tests.dagster.shards import LIVE, SETTINGS, Db, allow, fill, forbid, steps_of
from tests.e2e.support import wait_for

SLOW = SETTINGS.replace("_URL}", '_URL}", lock_timeout: "1m').replace("pause: 0s", "pause: 0s, operation_timeout: 1m")
CONFIG = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
WAITS = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'advisory' AND datname = current_database()"
# The second shard comes to a row that waits for us.
WAIT = "OLD.id = 35 AND (SELECT pg_advisory_xact_lock(7)) IS NULL"


@pytest.fixture
def web(postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Db]:
    monkeypatch.setenv("CLEANUP_POSTGRES_URL", postgres_url)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cleanup.yaml").write_text(SLOW)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        fill(connection)
        yield connection


def stop_in_the_second_shard(web: Db, url: str, folder: Path, sign: signal.Signals) -> str:
    """Run the pass, end it while its second shard is in the middle of a batch. The run's id."""
    forbid(web, WAIT)
    with psycopg.connect(url, autocommit=True) as login:
        login.execute("SELECT pg_advisory_lock(7)")
        process = subprocess.Popen(
            [*COMMAND, "run", "sessions"],
            cwd=folder,
            env=clean_environment(CLEANUP_POSTGRES_URL=url),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for("the second shard", lambda: login.execute(WAITS).fetchone() == (1,), 60)
        process.send_signal(sign)
        if sign is signal.SIGKILL:
            process.wait(30)
    process.wait(30)
    wait_for("the connections gone", lambda: web.execute(WAITS).fetchone() == (0,), 30)
    allow(web)
    with instance_at(folder / ".cleanup") as instance:
        (run,) = instance.get_runs()
        assert not run.is_success
        return run.run_id


@pytest.mark.parametrize("sign", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.long)])
def test_retry_does_what_a_stopped_pass_left(
    web: Db, program: Program, postgres_url: str, tmp_path: Path, sign: signal.Signals
) -> None:
    stop_in_the_second_shard(web, postgres_url, tmp_path, sign)
    left = ids(web, "web")
    assert not left & set(range(1, 31)) and set(range(41, 81)) <= left
    ran = program("history", CLEANUP_POSTGRES_URL=postgres_url)
    assert ("lost" if sign is signal.SIGKILL else "terminated") in ran.stdout.splitlines()[1].split(), ran.stdout
    ran = program("retry", "--last-failed", CLEANUP_POSTGRES_URL=postgres_url)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "of pass sessions: 3 shards again" in ran.stdout and "sessions: succeeded in" in ran.stdout
    assert ids(web, "web") == LIVE
    with instance_at(tmp_path / ".cleanup") as instance:
        again, first = instance.get_runs()
        assert again.parent_run_id == first.run_id
        shards = [f"web_sessions.delete[shard_{n}]" for n in (1, 2, 3)]
        assert steps_of(instance, again.run_id) == ["summarize", *shards, "web_sessions.report"]
        assert again.tags["cleanup/deleted"] == str(len(left - LIVE))
    ran = program("retry", CLEANUP_POSTGRES_URL=postgres_url)
    assert ran.returncode == 2 and "there is no failed pass that was not repeated already" in ran.stderr


def test_dagsters_from_failure_is_red_while_shards_are_left_out(
    web: Db, program: Program, postgres_url: str, tmp_path: Path
) -> None:
    first = stop_in_the_second_shard(web, postgres_url, tmp_path, signal.SIGKILL)
    with instance_at(tmp_path / ".cleanup") as instance:
        run = instance.get_run_by_id(first)
        assert run
        if not run.is_finished:
            instance.report_run_failed(run)  # as the daemon's monitor does
        job = dg.build_reconstructable_job("tests.dagster.jobs", "sessions_job", (str(tmp_path / "cleanup.yaml"),))
        again = dg.ReexecutionOptions.from_failure(first, instance)
        tags = {"cleanup/pass": "sessions"}
        with dg.execute_job(job, instance, run_config=CONFIG, tags=tags, reexecution_options=again) as second:
            assert not second.success and ids(web, "web") > LIVE
            (failure,) = [e for e in second.all_events if e.is_step_failure and e.step_key == "web_sessions.report"]
        said = failure.step_failure_data.error_display_string
        assert "4 shards were planned and" in said and f"cleanup-pipeline retry {second.run_id}" in said
    ran = program("retry", second.run_id[:8], CLEANUP_POSTGRES_URL=postgres_url)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ids(web, "web") == LIVE


def test_what_cannot_be_repeated_is_said(program: Program, postgres_url: str, web: Db) -> None:
    for arguments, says in (
        (("retry",), "there is no failed pass"),
        (("retry", "abc"), "expected at least the first 6 letters"),
        (("retry", "abcdefgh"), "there is no run abcdefgh of a pass"),
        (("retry", "abcdefgh", "--last-failed"), "name one or the other"),
    ):
        ran = program(*arguments, CLEANUP_POSTGRES_URL=postgres_url)
        assert ran.returncode == 2 and says in ran.stderr
    assert program("run", "sessions", CLEANUP_POSTGRES_URL=postgres_url).returncode == 0
    with instance_at(Path(".cleanup")) as instance:
        (run,) = instance.get_runs()
    ran = program("retry", run.run_id, CLEANUP_POSTGRES_URL=postgres_url)
    assert ran.returncode == 2 and "is success; only a run that failed" in ran.stderr


def test_a_target_whose_settings_changed_goes_from_the_beginning(
    web: Db, program: Program, postgres_url: str, tmp_path: Path
) -> None:
    forbid(web, "OLD.id = 35")
    assert program("run", "sessions", CLEANUP_POSTGRES_URL=postgres_url).returncode == 1
    allow(web)
    changed = SLOW.replace("mode: delete", "mode: delete, grace: 1h")
    ran = program("retry", settings=changed, CLEANUP_POSTGRES_URL=postgres_url)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "from the beginning: web_sessions" in ran.stdout and ids(web, "web") == LIVE
