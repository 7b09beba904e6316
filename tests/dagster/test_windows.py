"""Windows: which there are, which one a run is for, and what it takes."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import dagster as dg
import psycopg
import pytest

from cleanup_pipeline.dagster_defs.build import build_defs
from cleanup_pipeline.dagster_defs.closing import close_pass
from cleanup_pipeline.dagster_defs.windows import (
    MOST_WINDOWS,
    WINDOWS,
    keys_between,
    last_complete,
    partition_tags,
    window_of,
    windows_of,
)
from cleanup_pipeline.engine.scan import scan
from cleanup_pipeline.model.lease import Lease, window_label
from cleanup_pipeline.model.outcome import PassReport
from cleanup_pipeline.model.window import Window
from cleanup_pipeline.settings import Settings
from cleanup_pipeline.settings.settings import PassSettings
from cleanup_pipeline.stores.base import StoreError
from cleanup_pipeline.stores.open import open_store
from cleanup_pipeline.stores.postgres import open_postgres
from tests.dagster.conftest import ids, settings_from

NOW = datetime(2026, 11, 23, 10, 30, tzinfo=UTC)


def of_pass(minutes: int, start: date | None = None, zone: str = "UTC") -> PassSettings:
    return PassSettings("sessions", timedelta(minutes=minutes), start=start, timezone=zone)


@pytest.mark.parametrize(
    ("minutes", "length"), [(1, 1), (7, 1), (30, 30), (45, 15), (60, 60), (90, 30), (120, 120), (420, 60), (2880, 1440)]
)
@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Asia/Kathmandu"])
def test_windows_lie_side_by_side_and_are_never_too_many(minutes: int, length: int, zone: str) -> None:
    windows = windows_of(of_pass(minutes, zone=zone), NOW)
    day = -(-1440 // length)
    with dg.partition_loading_context(effective_dt=NOW):
        keys = windows.get_partition_keys()
    assert WINDOWS - 1 <= len(keys) <= WINDOWS + day + 4
    seen = [window_of(windows, key) for key in keys[:4] + keys[-4:]]
    assert [one.open_below for one in seen] == [True] + [False] * 7
    assert all(one.end - one.start == timedelta(minutes=length) for one in seen)
    assert seen[0].end == seen[1].start and seen[-2].end == seen[-1].start
    assert seen[-1].end <= NOW < seen[-1].end + timedelta(minutes=length)


def test_a_start_of_long_ago_does_not_make_millions() -> None:
    minutely = windows_of(of_pass(1, date(2001, 1, 1)), NOW)
    with dg.partition_loading_context(effective_dt=NOW):
        assert MOST_WINDOWS <= len(minutely.get_partition_keys()) <= MOST_WINDOWS + 1440
    assert windows_of(of_pass(60, date(2026, 9, 1)), NOW).start == datetime(2026, 9, 1, tzinfo=UTC)


def test_an_hour_that_comes_twice_is_two_windows() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    windows = windows_of(of_pass(60, date(2026, 10, 20), "Europe/Berlin"), NOW)
    begin, end = datetime(2026, 10, 25, tzinfo=berlin), datetime(2026, 10, 26, tzinfo=berlin)
    keys = keys_between(windows, begin, end)
    assert len(keys) == len(set(keys)) == 25
    spans = [window_of(windows, key) for key in keys]
    assert all(
        (b.start.astimezone(UTC), b.end.astimezone(UTC) - b.start.astimezone(UTC))
        == (a.end.astimezone(UTC), timedelta(hours=1))
        for a, b in pairwise(spans)
    )


def test_only_whole_windows_lie_between_two_times() -> None:
    windows = windows_of(of_pass(60, date(2026, 11, 20)), NOW)
    begin, end = datetime(2026, 11, 20, 0, 1, tzinfo=UTC), datetime(2026, 11, 20, 3, 59, tzinfo=UTC)
    assert keys_between(windows, begin, end) == ["2026-11-20T01:00", "2026-11-20T02:00"]
    assert last_complete(windows, datetime(2026, 11, 20, 3, tzinfo=UTC)) == "2026-11-20T02:00"
    assert last_complete(windows, datetime(2026, 11, 20, 0, 59, tzinfo=UTC)) is None


@pytest.mark.parametrize("key", ["", "yesterday", "2026-11-20", "2026-11-20T01:30", "2026-11-20T01:00+0100"])
def test_what_is_no_window_is_no_window(key: str) -> None:
    with pytest.raises(ValueError, match="no window of this pass"):
        window_of(windows_of(of_pass(60, date(2026, 11, 20)), NOW), key)


# What a run takes. Ten records an hour apart, at half past, the newest half an hour before the last whole hour.
HOUR = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
SETTINGS = """
cleanup: {batch_size: 10, pause: 0s}
stores: {main: {type: postgres, url: "${CLEANUP_POSTGRES_URL}"}}
targets: {web_sessions: {store: main, table: web, expires: {column: expires_at}, mode: delete}}
"""


@pytest.fixture
def web(postgres_url: str, tmp_path: Path) -> tuple[str, Settings]:
    with psycopg.connect(postgres_url, autocommit=True) as db, db.cursor() as cursor:
        cursor.execute("CREATE TABLE web (id int, expires_at timestamptz)")
        rows = [(n, HOUR - timedelta(minutes=30) - n * timedelta(hours=1)) for n in range(10)]
        cursor.executemany("INSERT INTO web VALUES (%s, %s)", rows)
    return postgres_url, settings_from(SETTINGS, tmp_path, postgres_url)


def run_window(settings: Settings, instance: dg.DagsterInstance, hours_ago: int, **tags: str) -> PassReport:
    """The pass for the window that began so many hours before the last whole one."""
    key = f"{HOUR - timedelta(hours=hours_ago):%Y-%m-%dT%H:%M}"
    job = build_defs(settings).resolve_job_def("clean_sessions")
    result = job.execute_in_process(
        instance=instance,
        partition_key=key,
        tags=tags,
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        raise_on_error=False,
    )
    return close_pass(instance, result.run_id, "sessions", settings.targets_of("sessions"))


def left(url: str) -> set[int]:
    with psycopg.connect(url) as db:
        return ids(db, "web")


def test_a_scheduled_run_is_open_below(web: tuple[str, Settings], instance: dg.DagsterInstance) -> None:
    report = run_window(web[1], instance, 3)
    assert (report.targets[0].deleted, report.targets[0].survivors) == (8, 0) and left(web[0]) == {0, 1}


@pytest.mark.parametrize("tag", ["dagster/backfill", "cleanup/backfill"])
def test_a_run_of_a_backfill_keeps_to_its_window(
    web: tuple[str, Settings], instance: dg.DagsterInstance, tag: str
) -> None:
    report = run_window(web[1], instance, 3, **{tag: "b"})
    assert (report.targets[0].deleted, report.targets[0].survivors) == (1, 0)
    assert left(web[0]) == set(range(10)) - {2}
    # The same again finds nothing, and the first window of all takes what is older.
    assert run_window(web[1], instance, 3, **{tag: "b"}).targets[0].deleted == 0


def test_the_first_window_of_a_backfill_is_open_below(
    tmp_path: Path, web: tuple[str, Settings], instance: dg.DagsterInstance
) -> None:
    first = HOUR.replace(hour=0) - timedelta(days=1)
    settings = settings_from(SETTINGS + f"passes: {{sessions: {{start: {first.date()}}}}}\n", tmp_path, web[0])
    with psycopg.connect(web[0], autocommit=True) as db:
        db.execute("INSERT INTO web VALUES (99, %s)", (first - timedelta(days=900),))
    windows = windows_of(settings.passes["sessions"])
    assert scan_window(settings, window_of(windows, f"{first:%Y-%m-%dT%H:%M}")) >= 1
    assert scan_window(settings, window_of(windows, f"{first + timedelta(hours=1):%Y-%m-%dT%H:%M}")) <= 1


def scan_window(settings: Settings, window: Window) -> int:
    """How many records the window holds."""
    store = open_store(settings.stores["main"])
    try:
        return scan(store, settings.targets[0], dry_run=True, window=window).census.expired or 0
    finally:
        store.close()


def test_a_repeated_run_of_a_backfill_still_keeps_to_its_window(
    web: tuple[str, Settings], instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dagster does not hand on the tag of the backfill to a re-execution."""
    monkeypatch.setenv("CLEANUP_POSTGRES_URL", web[0])
    key = f"{HOUR - timedelta(hours=3):%Y-%m-%dT%H:%M}"
    tags = {"cleanup/pass": "sessions", **partition_tags("clean_sessions", key)}
    job = dg.build_reconstructable_job("tests.dagster.jobs", "sessions_job", (str(tmp_path / "cleanup.yaml"),))
    with psycopg.connect(web[0], autocommit=True) as db:
        db.execute("ALTER TABLE web RENAME TO wep")
        first = dg.execute_job(job, instance, tags={**tags, "dagster/backfill": "b"})
        assert not first.success
        db.execute("ALTER TABLE wep RENAME TO web")
    again = dg.ReexecutionOptions(first.run_id)
    assert dg.execute_job(job, instance, tags=tags, reexecution_options=again).success
    assert left(web[0]) == set(range(10)) - {2}


def test_a_window_that_is_still_to_come_is_refused(web: tuple[str, Settings], instance: dg.DagsterInstance) -> None:
    with pytest.raises(StoreError, match="still to come by the store's clock"):
        scan_window(web[1], Window(HOUR + timedelta(hours=2), HOUR + timedelta(hours=3)))
    store = open_store(web[1].stores["main"])
    # One that has begun: nothing is taken that is not dead yet, and dead for long enough.
    begun = Window(HOUR - timedelta(hours=1), HOUR + timedelta(days=9))
    plan = scan(store, web[1].targets[0], dry_run=True, window=begun)
    assert plan.cutoff <= store.clock() and plan.since == HOUR - timedelta(hours=1)
    store.close()


def test_grace_moves_the_whole_window() -> None:
    window, grace = Window(NOW, NOW + timedelta(hours=1)), timedelta(days=7)
    assert window.cutoff(NOW + timedelta(days=1), grace) == NOW + timedelta(hours=1) - grace
    assert window.cutoff(NOW + timedelta(minutes=1), grace) == NOW + timedelta(minutes=1) - grace
    assert window.since(grace) == NOW - grace
    assert Window(NOW, NOW + timedelta(hours=1), open_below=True).since(grace) is None


def ticks(settings: Settings, instance: dg.DagsterInstance, times: Sequence[datetime]) -> list[str | None]:
    """The partition of the run that the schedule asks for at each time; None where it asks for none."""
    schedule = build_defs(settings).resolve_schedule_def("clean_sessions_schedule")
    found = []
    for tick in times:
        data = schedule.evaluate_tick(dg.build_schedule_context(instance=instance, scheduled_execution_time=tick))
        found.append(data.run_requests[0].partition_key if data.run_requests else None)
    return found


def test_a_schedule_asks_for_the_last_complete_window(
    web: tuple[str, Settings], instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    late = HOUR + timedelta(minutes=20)
    expected = f"{HOUR - timedelta(hours=1):%Y-%m-%dT%H:%M}"
    assert ticks(web[1], instance, [HOUR, late]) == [expected, expected]
    odd = SETTINGS + "passes: {sessions: {every: 45m, timezone: Asia/Kathmandu}}\n"
    midnight = datetime(HOUR.year, HOUR.month, HOUR.day, tzinfo=ZoneInfo("Asia/Kathmandu"))
    quarters = [midnight + n * timedelta(minutes=15) for n in range(6)]
    asked = ticks(settings_from(odd, tmp_path, web[0]), instance, quarters)
    assert [key is not None for key in asked] == [True, False, False] * 2
    assert asked[3] == f"{quarters[2]:%Y-%m-%dT%H:%M%z}"
    ahead = SETTINGS + f"passes: {{sessions: {{start: {HOUR.date() + timedelta(days=1)}}}}}\n"
    assert ticks(settings_from(ahead, tmp_path, web[0]), instance, [HOUR]) == [None]


def test_a_backfill_that_runs_does_not_hold_up_the_schedule(
    web: tuple[str, Settings], instance: dg.DagsterInstance
) -> None:
    job = build_defs(web[1]).resolve_job_def("clean_sessions")
    instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags={"dagster/backfill": "b"})
    assert ticks(web[1], instance, [HOUR]) != [None]
    instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    assert ticks(web[1], instance, [HOUR]) == [None]


@contextmanager
def a_backfill_at(settings: Settings, hours_ago: int) -> Iterator[None]:
    """Another run cleans the window that began so many hours before the last whole one."""
    begins = HOUR - timedelta(hours=hours_ago)
    store, target = open_postgres(settings.stores["main"]), settings.targets[0]
    lease = Lease("another", 0, "web-9", window_label(begins, begins + timedelta(hours=1)))
    assert isinstance(store.acquire(target, lease), Lease)
    yield
    store.close()


def test_a_backfill_does_not_keep_the_schedule_from_its_own_window(
    web: tuple[str, Settings], instance: dg.DagsterInstance
) -> None:
    with a_backfill_at(web[1], 5):
        report = run_window(web[1], instance, 1)
        assert (report.status, report.targets[0].deleted, report.targets[0].survivors) == ("succeeded", 1, 0)
        assert left(web[0]) == set(range(10)) - {0}
        [found] = [finding for finding in report.targets[0].findings if "backfill" in finding.what]
        assert found.what.startswith("keeps to its own window, as a backfill goes on (held by web-9 since 20")
        # The very window that the backfill is at is the backfill's.
        assert run_window(web[1], instance, 5).status == "skipped"
    assert run_window(web[1], instance, 1).targets[0].deleted == 9 and left(web[0]) == set()


def test_the_first_window_of_a_backfill_goes_on_beside_the_others(
    tmp_path: Path, web: tuple[str, Settings], instance: dg.DagsterInstance
) -> None:
    first = HOUR.replace(hour=0) - timedelta(days=1)
    settings = settings_from(SETTINGS + f"passes: {{sessions: {{start: {first.date()}}}}}\n", tmp_path, web[0])
    with psycopg.connect(web[0], autocommit=True) as db:
        db.execute("INSERT INTO web VALUES (99, %s)", (first - timedelta(days=900),))
    hours_ago = round((HOUR - first) / timedelta(hours=1))
    with a_backfill_at(settings, 2):
        report = run_window(settings, instance, hours_ago, **{"cleanup/backfill": "b"})
        assert report.status == "succeeded" and 99 not in left(web[0])
