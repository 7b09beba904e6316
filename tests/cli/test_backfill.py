"""`backfill` on real stores: the union of its windows is what one pass removes, and no window takes another's."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
import redis

from cleanup_pipeline.dagster_defs.launch import instance_at
from cleanup_pipeline.model.lease import Lease
from cleanup_pipeline.settings import load_settings
from cleanup_pipeline.stores.postgres import open_postgres
from tests.cli.conftest import COMMAND, Program, clean_environment
from tests.dagster.conftest import ids
from tests.e2e.support import wait_for

# Each is a process of its own: `make rounds` takes two days' worth.
WINDOWS = int(os.environ.get("CLEANUP_WINDOWS", "6"))
END = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=2)
BEGIN = END - timedelta(hours=WINDOWS)
SETTINGS = f"""
cleanup: {{batch_size: 100, pause: 0s}}
passes: {{sessions: {{every: 1h, start: {(BEGIN - timedelta(days=2)).date()}}}}}
stores:
  main: {{type: postgres, url: "${{CLEANUP_POSTGRES_URL}}"}}
  cache: {{type: redis, url: "${{CLEANUP_REDIS_URL}}"}}
targets:
  web_sessions: {{store: main, table: web, expires: {{column: expires_at}}, mode: delete, grace: 30m}}
  cache_sessions: {{store: cache, keys: "s:*", expires: {{value: s}}, mode: delete}}
"""


def instants() -> dict[int, datetime]:
    """Three an hour from an hour before the range to an hour after it, one of them on the border, and one alive."""
    steps = range(-3, 3 * WINDOWS + 3)
    return {n: BEGIN + n * timedelta(minutes=20) for n in steps} | {9999: END + timedelta(days=9)}


@pytest.fixture
def stores(postgres_url: str, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    (tmp_path / "cleanup.yaml").write_text(SETTINGS)
    with (
        psycopg.connect(postgres_url, autocommit=True) as db,
        redis.Redis.from_url(redis_url, decode_responses=True) as cache,
    ):
        db.execute("CREATE TABLE web (id int, expires_at timestamptz)")
        with db.cursor() as cursor:
            # Half an hour of grace: due at the instant that the number stands for.
            rows = [(n, due - timedelta(minutes=30)) for n, due in instants().items()]
            cursor.executemany("INSERT INTO web VALUES (%s, %s)", rows)
        db.execute("INSERT INTO web VALUES (777, NULL)")
        cache.mset({f"s:{n}": str(int(due.timestamp())) for n, due in instants().items()})
        yield db, cache


def urls(postgres_url: str, redis_url: str) -> dict[str, str]:
    return {"CLEANUP_POSTGRES_URL": postgres_url, "CLEANUP_REDIS_URL": redis_url}


@pytest.mark.long
@pytest.mark.timeout(300)
def test_windows_side_by_side_remove_what_lies_in_them_and_nothing_else(
    stores: Any, program: Program, postgres_url: str, redis_url: str, tmp_path: Path
) -> None:
    db, cache = stores
    span = ("--from", f"{BEGIN:%Y-%m-%dT%H:%M}", "--to", f"{END:%Y-%m-%dT%H:%M}")
    looked = program("backfill", "sessions", *span, "--dry-run", **urls(postgres_url, redis_url))
    assert looked.returncode == 0, looked.stderr
    head, columns, *rows, total = looked.stdout.splitlines()
    assert head.startswith(f"sessions: {WINDOWS} windows from {BEGIN:%Y-%m-%d %H:%M} to {END:%Y-%m-%d %H:%M} UTC")
    assert columns.split() == ["window", "records", "about"]
    # Each window holds three rows and three keys.
    assert [row.split()[1] for row in rows] == ["6"] * WINDOWS and total.split()[:2] == ["all", str(6 * WINDOWS)]
    assert len(ids(db, "web")) == 3 * WINDOWS + 8 and not list(Path(".cleanup").glob("storage/*"))

    ran = program("backfill", "sessions", *span, "--parallel", "4", "--yes", **urls(postgres_url, redis_url))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert f"{WINDOWS} windows: {WINDOWS} succeeded; {6 * WINDOWS} records deleted" in ran.stdout
    left = {n for n, due in instants().items() if not BEGIN <= due < END}
    assert ids(db, "web") == left | {777}
    assert {int(key[2:]) for key in cache.keys("s:*")} == left

    with instance_at(Path(".cleanup")) as instance:
        runs = instance.get_runs()
    # What the grid of partitions goes by, and that each window took its own six.
    assert len({run.tags["dagster/partition"] for run in runs}) == len(runs) == WINDOWS
    assert {run.tags["dagster/partition_set"] for run in runs} == {"clean_sessions_partition_set"}
    assert {run.tags["cleanup/deleted"] for run in runs} == {"6"} and all(run.is_success for run in runs)


def runs_by_status(folder: Path) -> dict[str, int]:
    with instance_at(folder / ".cleanup") as instance:
        statuses = [run.status.value for run in instance.get_runs()]
    return {status: statuses.count(status) for status in set(statuses)}


@pytest.fixture
def held(stores: Any, postgres_url: str) -> Iterator[psycopg.Connection[Any]]:
    """Deleting the record of the second window waits for a lock that this connection holds."""
    db, _ = stores
    db.execute(
        "CREATE FUNCTION held() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN IF OLD.id = 4 THEN PERFORM pg_advisory_xact_lock(7); END IF; RETURN OLD; END$$"
    )
    db.execute("CREATE TRIGGER held BEFORE DELETE ON web FOR EACH ROW EXECUTE FUNCTION held()")
    with psycopg.connect(postgres_url, autocommit=True) as login:
        login.execute("SELECT pg_advisory_lock(7)")
        yield login


WAITING = """
SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'advisory' AND datname = current_database()"""


def start(folder: Path, postgres_url: str, redis_url: str, *more: str) -> "subprocess.Popen[str]":
    until = BEGIN + timedelta(hours=4)
    span = ("--from", f"{BEGIN:%Y-%m-%dT%H:%M}", "--to", f"{until:%Y-%m-%dT%H:%M}")
    settings = SETTINGS.replace('POSTGRES_URL}"', 'POSTGRES_URL}", lock_timeout: 1m')
    (folder / "cleanup.yaml").write_text(settings)
    return subprocess.Popen(
        [*COMMAND, "backfill", "sessions", *span, *more],
        cwd=folder,
        env=clean_environment(**urls(postgres_url, redis_url)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def workers_of(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    children = psutil.Process(process.pid).children(recursive=True)
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


@pytest.mark.long
def test_interrupted_it_ends_its_batch_and_what_it_left_can_be_done_again(
    stores: Any, held: Any, program: Program, postgres_url: str, redis_url: str, tmp_path: Path
) -> None:
    db, _ = stores
    process = start(tmp_path, postgres_url, redis_url, "--parallel", "1")
    wait_for("the second window", lambda: held.execute(WAITING).fetchone() == (1,), 60)
    workers = workers_of(process)
    process.send_signal(signal.SIGTERM)
    held.execute("SELECT pg_advisory_unlock(7)")
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "4 windows: 1 succeeded, 3 not done" in said and "Traceback" not in said
    assert workers and not [worker for worker in workers if worker.is_running()]
    assert runs_by_status(tmp_path) == {"SUCCESS": 1, "FAILURE": 1}
    # The batch that was under way is done, the next window was not begun.
    assert not {0, 1, 2, 3, 4, 5} & ids(db, "web") and {6, 7, 8, 9, 10, 11} <= ids(db, "web")

    process = start(tmp_path, postgres_url, redis_url, "--parallel", "2")
    said, _ = process.communicate(timeout=90)
    assert process.returncode == 0 and "4 windows: 4 succeeded" in said, said
    assert not set(range(12)) & ids(db, "web")


@pytest.mark.long
def test_a_worker_that_is_killed_takes_only_its_window_along(
    stores: Any, held: Any, program: Program, postgres_url: str, redis_url: str, tmp_path: Path
) -> None:
    db, cache = stores
    process = start(tmp_path, postgres_url, redis_url, "--parallel", "1")
    wait_for("the second window", lambda: held.execute(WAITING).fetchone() == (1,), 60)
    (worker,) = workers_of(process)
    worker.kill()
    held.execute("SELECT pg_advisory_unlock(7)")
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 1, said
    assert "its process died (exit code -9)" in said and "4 windows: 3 succeeded, 1 lost" in said
    assert runs_by_status(tmp_path) == {"SUCCESS": 3, "FAILURE": 1}
    ran = program("retry", **urls(postgres_url, redis_url))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    # The re-run keeps to the window of the run that it repeats.
    assert ids(db, "web") >= {-3, -2, -1, 12, 13} and not set(range(12)) & ids(db, "web")
    assert {int(key[2:]) for key in cache.keys("s:*")} >= {-3, -2, -1, 12, 13}


@pytest.mark.long
def test_windows_of_a_target_that_somebody_else_cleans_are_not_clean(
    stores: Any, program: Program, postgres_url: str, redis_url: str
) -> None:
    urls_ = urls(postgres_url, redis_url)
    span = ("--from", f"{BEGIN:%Y-%m-%dT%H:%M}", "--to", f"{BEGIN + timedelta(hours=2):%Y-%m-%dT%H:%M}")
    settings = load_settings(Path("cleanup.yaml"), urls_)
    [target] = [each for each in settings.targets if each.name == "web_sessions"]
    with closing(open_postgres(replace(settings.stores["main"], lease=timedelta(minutes=5)))) as other:
        other.acquire(target, Lease("other", 0, "web-9"))
        ran = program("backfill", "sessions", *span, "--yes", **urls_)
        assert ran.returncode == 1 and "not all windows are clean" in ran.stderr, ran.stdout
        assert "2 windows: 2 skipped; 6 records deleted" in ran.stdout
        assert ran.stdout.count("web_sessions: skipped: held by web-9 since") == 2
    ran = program("backfill", "sessions", *span, "--yes", **urls_)
    assert ran.returncode == 0 and "2 windows: 2 succeeded; 6 records deleted" in ran.stdout, ran.stdout
    # A target that has no windows is none of the backfill's, and says so once.
    native = SETTINGS.replace("expires: {value: s}", "expires: {ttl: native}")
    ran = program("backfill", "sessions", *span, "--yes", settings=native, **urls_)
    assert ran.returncode == 0 and "2 windows: 2 succeeded; 0 records deleted" in ran.stdout, ran.stdout + ran.stderr
    assert ran.stdout.count("cache_sessions: ") == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--from", "yesterday"), "--from: found yesterday, expected a time such as"),
        (("--from", "2020-01-01"), "set passes.sessions.start to an earlier day"),
        (("--from", "2026-11-20", "--to", "2026-11-19"), "expected a time after --from"),
        (("--from", "2026-11-20", "--to", "2099-01-01"), "which is still to come"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    arguments: tuple[str, ...], says: str, program: Program, tmp_path: Path
) -> None:
    settings = re.sub(r"start: [0-9-]+", "start: 2026-01-01", SETTINGS)
    places = urls("postgresql://nobody@127.0.0.1:9/db", "redis://127.0.0.1:9/0")
    ran = program("backfill", "sessions", *arguments, settings=settings, **places)
    assert ran.returncode == 2 and says in ran.stderr, ran.stderr
