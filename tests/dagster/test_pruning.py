"""prune_history on both of Dagster's storages: what goes, what stays, and that nothing is decided differently after."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.remote_origin import InProcessCodeLocationOrigin, RemoteInstigatorOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    ScheduleInstigatorData,
    TickData,
    TickStatus,
)
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable, SqlEventLogStorageTable
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from dagster._core.storage.runs.schema import RunsTable, RunTagsTable
from dagster._core.storage.tags import PARENT_RUN_ID_TAG
from dagster._core.test_utils import create_run_for_test
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from sqlalchemy import func, select, update

from cleanup_pipeline.dagster_defs import names
from cleanup_pipeline.dagster_defs.again import last_red
from cleanup_pipeline.dagster_defs.prune_runs import prune_runs
from cleanup_pipeline.dagster_defs.pruning import Removed, prune, pruning_job
from cleanup_pipeline.dagster_defs.resources import ledger_url
from cleanup_pipeline.dagster_defs.sensors import launch_failed, launch_missed
from cleanup_pipeline.dagster_defs.windows import partition_tags, windows_of
from cleanup_pipeline.ledger import WitnessRow, open_ledger
from cleanup_pipeline.settings.history import History
from cleanup_pipeline.settings.settings import PassSettings
from tests.ledger.records import PLAN, outcome

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
NOW = datetime.now(UTC).replace(minute=30, second=0, microsecond=0)
JOB = "clean_sessions"
HOURLY = PassSettings("sessions", timedelta(hours=1))
WEB, KEYS = dg.AssetKey(["cleanup", "web"]), dg.AssetKey(["cleanup", "keys"])
GREEN, RED = dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE
KEEP = History(keep=400 * DAY, keep_runs=30 * DAY, keep_events=100 * DAY)


@pytest.fixture(params=["sqlite", "postgresql"])
def anywhere(request: pytest.FixtureRequest) -> Iterator[dg.DagsterInstance]:
    """An instance on SQLite, and one on dagster-postgres."""
    overrides: dict[str, Any] = {}
    if request.param == "postgresql":
        url = str(request.getfixturevalue("postgres_url")).replace("postgresql://", "postgresql+psycopg2://")
        overrides = {"storage": {"postgres": {"postgres_url": url}}}
    with dg.instance_for_test(overrides=overrides) as made:
        yield made


def made(
    instance: dg.DagsterInstance, age: timedelta, status: dg.DagsterRunStatus = GREEN, job: str = JOB, **tags: str
) -> dg.DagsterRun:
    """A run that ended so long ago, with the files that its steps left."""
    ours = {names.PASS_TAG: "sessions"} if job == JOB else {}
    run = create_run_for_test(instance, job_name=job, status=status, tags={**ours, **tags})
    at = NOW - age
    with instance.run_storage.connect() as connection:  # type: ignore[attr-defined]
        connection.execute(
            update(RunsTable)
            .where(RunsTable.c.run_id == run.run_id)
            .values(
                create_timestamp=at.replace(tzinfo=None) - timedelta(minutes=1),
                update_timestamp=at.replace(tzinfo=None),
                start_time=at.timestamp() - 30,
                end_time=at.timestamp() if run.is_finished else None,
            )
        )
    folder = Path(instance.storage_directory()) / run.run_id / "web.scan"
    folder.mkdir(parents=True)
    (folder / "result").write_text("a pickle")
    instance.report_engine_event("something happened", run)
    return run


def logs(instance: dg.DagsterInstance) -> SqlEventLogStorage:
    storage = instance.event_log_storage
    assert isinstance(storage, SqlEventLogStorage)
    return storage


def told(instance: dg.DagsterInstance, event: Any, age: timedelta) -> None:
    """An event without a run, so long ago."""
    instance.report_runless_asset_event(event)
    at = (NOW - age).replace(tzinfo=None)
    with logs(instance).index_connection() as connection:
        last = connection.execute(select(func.max(SqlEventLogStorageTable.c.id))).scalar()
        connection.execute(
            update(SqlEventLogStorageTable).where(SqlEventLogStorageTable.c.id == last).values(timestamp=at)
        )
        connection.execute(
            update(AssetCheckExecutionsTable)
            .where(AssetCheckExecutionsTable.c.evaluation_event_storage_id == last)
            .values(evaluation_event_timestamp=at)
        )
    if logs(instance).is_run_sharded:
        with logs(instance).run_connection("") as connection:
            last = connection.execute(select(func.max(SqlEventLogStorageTable.c.id))).scalar()
            connection.execute(
                update(SqlEventLogStorageTable).where(SqlEventLogStorageTable.c.id == last).values(timestamp=at)
            )


def rows(instance: dg.DagsterInstance) -> dict[str, int]:
    """How much there is of everything that grows."""
    storage = logs(instance)

    def count(connection: Any, table: Any) -> int:
        return int(connection.execute(select(func.count()).select_from(table)).scalar())

    found: dict[str, int] = {}
    with storage.index_connection() as connection:
        found |= {
            table.name: count(connection, table) for table in (SqlEventLogStorageTable, AssetCheckExecutionsTable)
        }
    with instance.run_storage.connect() as connection:  # type: ignore[attr-defined]
        found |= {table.name: count(connection, table) for table in (RunsTable, RunTagsTable)}
    if storage.is_run_sharded:
        with storage.run_connection("") as connection:
            found["runless"] = count(connection, SqlEventLogStorageTable)
        found["event files"] = len(list((Path(instance.root_directory) / "history" / "runs").glob("?*.db*")))
    found["files"] = sum(1 for each in Path(instance.storage_directory()).rglob("*") if each.is_file())
    return found


def check(passed: bool, name: str = "freshness") -> dg.AssetCheckEvaluation:
    return dg.AssetCheckEvaluation(WEB, name, passed)


def test_a_year_leaves_what_the_settings_keep(anywhere: dg.DagsterInstance) -> None:
    instance = anywhere
    for number in range(6, 0, -1):
        made(instance, (6 + 25 * number) * DAY, RED if number % 3 else GREEN)
        told(instance, dg.AssetMaterialization(WEB, metadata={"deleted": 0}), (100 + number) * DAY)
        told(instance, dg.AssetObservation(WEB, metadata={"unfinished": "x"}), (100 + number) * DAY)
        told(instance, check(False), (100 + number) * DAY)
    # Of these the latest stays, though it is old.
    for days in (200, 150):
        told(instance, dg.AssetMaterialization(KEYS, metadata={"deleted": days}), days * DAY)
    told(instance, dg.AssetObservation(KEYS), 300 * DAY)
    told(instance, check(False, "oldest_survivor"), 300 * DAY)
    old = rows(instance)
    kept = {made(instance, days * DAY).run_id for days in (29, 20, 3)}
    for days in (99, 1):
        told(instance, dg.AssetMaterialization(WEB, metadata={"deleted": days}), days * DAY)
        told(instance, check(True), days * DAY)
    grown = rows(instance)
    looked = prune(instance, KEEP, NOW, dry_run=True)
    assert rows(instance) == grown
    done = prune(instance, KEEP, NOW)
    assert (done.runs, done.events, done.checks) == (looked.runs, looked.events, looked.checks) == (6, 12, 6)
    # One file of events is the index of all runs.
    stays = {"event_logs": 4, "asset_check_executions": 1, "event files": 1}
    # Of what nobody reads only as much is kept as of runs: not the two of 99 days ago.
    goes = {"runless": 2}
    assert rows(instance) == {name: grown[name] - old[name] + stays.get(name, 0) - goes.get(name, 0) for name in grown}
    assert {run.run_id for run in instance.get_runs()} == kept

    def history(key: dg.AssetKey) -> list[Any]:
        records = instance.fetch_materializations(key, limit=9).records
        return [record.asset_materialization.metadata["deleted"].value for record in records]  # type: ignore[union-attr]

    assert (history(WEB), history(KEYS)) == ([1, 99], [150])
    assert prune(instance, KEEP, NOW) == replace(Removed(), passes=0, shards=0, watched=0, sealed=0, events=0, checks=0)


def test_what_stays_however_old(instance: dg.DagsterInstance) -> None:
    old = 300 * DAY
    parent = made(instance, old, RED)
    made(instance, old)
    scheduled = made(instance, old, RED, **{names.SCHEDULED_TAG: "sessions"})
    running = made(instance, old, dg.DagsterRunStatus.STARTED)
    child = made(instance, DAY, **{PARENT_RUN_ID_TAG: parent.run_id})
    foreign = made(instance, old, job="somebody_elses")
    made(instance, 299 * DAY, job="witness_sessions", **{names.UPKEEP_TAG: "witness"})
    witness = made(instance, 298 * DAY, job="witness_sessions", **{names.UPKEEP_TAG: "witness"})
    assert prune_runs(instance, NOW - 30 * DAY) == (2, False)
    left = {run.run_id for run in instance.get_runs()}
    assert left == {run.run_id for run in (parent, scheduled, running, child, foreign, witness)}


def test_a_first_time_goes_on_the_next_day(instance: dg.DagsterInstance) -> None:
    for number in range(7):
        made(instance, (40 + number) * DAY)
    # The newest stays.
    assert [prune_runs(instance, NOW - 30 * DAY, most=4) for _ in range(3)] == [(4, True), (2, False), (0, False)]


def windows_and_keys() -> tuple[dict[str, Any], list[str]]:
    windows = {"sessions": windows_of(HOURLY, NOW - 10 * DAY)}
    return windows, list(windows["sessions"].get_partition_keys(current_time=NOW))


def test_windows_whose_runs_were_pruned_were_not_missed(instance: dg.DagsterInstance) -> None:
    windows, keys = windows_and_keys()
    keep = timedelta(hours=8)
    for hours in range(12, 0, -1):
        key = keys[-hours]
        made(instance, (hours - 1) * HOUR + timedelta(minutes=25), **partition_tags(JOB, key))
    cursor = f'{{"sessions": "{keys[-13]}"}}'

    def asked(keep_runs: timedelta) -> list[Any]:
        return list(launch_missed(instance, [HOURLY], windows, cursor, NOW, keep_runs).run_requests or [])

    assert asked(keep) == []
    assert prune(instance, replace(KEEP, keep_runs=keep), NOW).runs == 4
    assert asked(keep) == []
    # Without that rule they would be.
    assert [request.partition_key for request in asked(30 * DAY)] == keys[-9:-12:-1]
    # One that was missed is still found.
    gone = instance.get_runs(dg.RunsFilter(tags={names.PARTITION_TAG: keys[-7]}))
    instance.delete_run(gone[0].run_id)
    assert [request.partition_key for request in asked(keep)] == [keys[-7]]


def test_windows_that_the_ledger_knows_were_not_missed(instance: dg.DagsterInstance) -> None:
    windows, keys = windows_and_keys()
    ledger = open_ledger(ledger_url(instance))
    for hours in range(9, 0, -1):
        if hours != 4:
            ledger.begin_pass(f"r{hours}", "sessions", window=keys[-hours], started_at=NOW - (hours - 1) * HOUR)
    ledger.close()
    cursor = f'{{"sessions": "{keys[-10]}"}}'
    requests = launch_missed(instance, [HOURLY], windows, cursor, NOW).run_requests or []
    assert [request.partition_key for request in requests] == [keys[-4]]


def test_nothing_is_decided_otherwise_afterwards(instance: dg.DagsterInstance) -> None:
    """`failed_passes` and `retry` look at the newest runs: they see the same before and after."""
    tags = {names.SCHEDULED_TAG: "sessions"}
    made(instance, 50 * DAY, RED, **tags)
    failed = made(instance, 45 * DAY, RED, **tags)
    made(instance, 44 * DAY, GREEN)

    def decided() -> tuple[list[str | None], str]:
        red = last_red(instance)
        assert red is not None
        result, _ = launch_failed(instance, [HOURLY], NOW)
        return [request.run_key for request in result.run_requests or []], red.run_id

    before = decided()
    assert before == ([f"again/{failed.run_id}"], failed.run_id)
    assert prune_runs(instance, NOW - 30 * DAY) == (1, False)
    assert decided() == before


def test_the_ledgers_rows_are_folded_and_what_watches_is_bounded(instance: dg.DagsterInstance) -> None:
    url = ledger_url(instance)
    ledger = open_ledger(url)
    for days in (500, 401, 10):
        run_id = f"r{days}"
        ledger.begin_pass(run_id, "sessions", started_at=NOW - days * DAY)
        ledger.begin_shard(run_id, PLAN, 0, at_most=7)
        ledger.record_shard(run_id, outcome(0, 7))
        ledger.close_pass(run_id, "succeeded", ended_at=NOW - days * DAY)
        known = {"run_id": run_id, "survivors": 0, "oldest_survivor": None, "known": True, "objective_seconds": 7200.0}
        verdict = {"old_enough": True, "fresh": True, "last_success": None, "reason": None}
        ledger.add_witness(
            WitnessRow("web", NOW - days * DAY, "sessions", "main", "session", **known, **verdict)  # type: ignore[arg-type]
        )
    assert prune(instance, KEEP, NOW, dry_run=True).passes == 2
    assert len(ledger.history()) == 3
    done = prune(instance, KEEP, NOW)
    assert (done.passes, done.shards, done.watched) == (2, 2, 2)
    assert (ledger.totals().deleted, len(ledger.history()), len(ledger.witnesses())) == (21, 1, 1)
    ledger.close()


def test_a_ledger_that_is_away_keeps_nothing_else_from_being_pruned(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLEANUP_LEDGER_URL", "postgresql://nobody:hush@127.0.0.1:9/x")
    made(instance, 40 * DAY)
    made(instance, 40 * DAY)
    done = prune(instance, KEEP, NOW)
    assert (done.runs, done.passes) == (1, None)
    assert len(done.faults) == 1 and "hush" not in done.faults[0]


def test_old_ticks_of_ours_go(instance: dg.DagsterInstance) -> None:
    def ticks(location: str) -> Callable[[], int]:
        repository = RemoteRepositoryOrigin(
            InProcessCodeLocationOrigin(LoadableTargetOrigin(module_name="x"), location_name=location), "r"
        )
        origin = RemoteInstigatorOrigin(repository, f"{JOB}_schedule")
        data = ScheduleInstigatorData("0 * * * *")
        state = InstigatorState(origin, InstigatorType.SCHEDULE, InstigatorStatus.RUNNING, data)
        instance.add_instigator_state(state)
        of = (state.instigator_origin_id, state.selector_id)
        for days in (40, 1):
            at = (NOW - days * DAY).timestamp()
            tick = TickData(
                of[0], f"{JOB}_schedule", InstigatorType.SCHEDULE, TickStatus.SKIPPED, at, selector_id=of[1]
            )
            instance.create_tick(tick)
        return lambda: len(instance.get_ticks(*of))

    ours, foreign = ticks(names.LOCATION), ticks("somebody_elses")
    assert (ours(), foreign()) == (2, 2)
    prune(instance, KEEP, NOW)
    assert (ours(), foreign()) == (1, 2)


def test_the_job_says_what_it_removed(instance: dg.DagsterInstance) -> None:
    for _ in range(2):
        made(instance, 40 * DAY)
    result = pruning_job(KEEP).execute_in_process(instance=instance)
    assert result.success
    [output] = result.filter_events(lambda event: event.is_successful_output)
    told = {name: value.value for name, value in output.step_output_data.metadata.items()}
    assert told == {
        "passes_folded": 0, "shards_folded": 0, "judgements_alerts_messages": 0, "days_sealed": 0,
        "runs": 1, "asset_events": 0, "check_results": 0,
    }  # fmt: skip
