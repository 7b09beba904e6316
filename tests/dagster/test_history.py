"""What outlives runs: figures in the ledger, what passes did on the assets' pages, results of checks."""

from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest
import redis

from cleanup_pipeline.dagster_defs.build import build_defs
from cleanup_pipeline.dagster_defs.closing import close_pass
from cleanup_pipeline.dagster_defs.resources import ledger_url
from cleanup_pipeline.ledger import Ledger, open_ledger
from cleanup_pipeline.settings import Settings, load_settings
from tests.dagster.conftest import Run, settings_from
from tests.storages import BOTH_LONG

Db = psycopg.Connection[Any]
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
TARGETS = """
  web_sessions: {store: main, table: web, expires: {column: expires_at}, mode: delete}
  keys: {store: cache, keys: "s:*", expires: {value: s}, mode: delete}
"""


def events(instance: dg.DagsterInstance, target: str) -> list[dict[str, Any]]:
    """What the page of an asset has of a target, the newest first."""
    records = instance.fetch_materializations(dg.AssetKey(["cleanup", target]), limit=100).records
    assert all(record.event_log_entry.run_id == "" for record in records)
    return [
        {name: value.value for name, value in record.asset_materialization.metadata.items()}
        for record in records
        if record.asset_materialization
    ]


def checks(instance: dg.DagsterInstance, target: str) -> list[tuple[str, bool]]:
    """Every result of a target's checks, the newest first."""
    found = []
    for name in ("oldest_survivor", "freshness"):
        key = dg.AssetCheckKey(dg.AssetKey(["cleanup", target]), name)
        for record in instance.event_log_storage.get_asset_check_execution_history(key, limit=100):
            assert record.event is not None and record.event.dagster_event is not None
            found.append((name, record.event.dagster_event.asset_check_evaluation_data.passed))
    return found


def statistics(ledger: Ledger) -> tuple[object, ...]:
    last = [ledger.last_success(target=name) for name in ("web_sessions", "keys")]
    return ledger.days(), ledger.totals_by_target(), ledger.history(1000), last, ledger.witnesses()


def refuse_deletes(db: Db, table: str, after: int = 10) -> None:
    """From now on only so many rows of a table can be deleted: the rest of a pass fails."""
    db.execute("CREATE SEQUENCE gone")
    db.execute(
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$BEGIN IF nextval('gone') > {after} THEN RAISE 'no'; END IF; RETURN OLD; END$$"
    )
    db.execute(f"CREATE TRIGGER no BEFORE DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION no()")  # type: ignore[call-overload]


@BOTH_LONG
def test_wiping_all_runs_loses_no_statistic(
    db: Db, tmp_path: Path, postgres_url: str, redis_url: str, instance: dg.DagsterInstance, run: Run
) -> None:
    file = tmp_path / "cleanup.yaml"
    stores = "stores:\n  main: {type: postgres, url: '${P}'}\n  cache: {type: redis, url: '${R}'}\n"
    file.write_text(f"cleanup: {{pause: 0s, batch_size: 10}}\n{stores}targets:{TARGETS}")
    settings = load_settings(file, {"P": postgres_url, "R": redis_url})
    with redis.Redis.from_url(redis_url) as client:
        client.mset({f"s:{n}": 1_000_000_000 + n for n in range(7)})
    run(settings)
    run(settings, dry_run=True)
    db.execute("INSERT INTO web SELECT n, now() - interval '1 day' FROM generate_series(1, 20) n")
    refuse_deletes(db, "web")
    result, report = run(settings)
    assert not result.success and [t.deleted for t in report.targets] == [10, 0]
    defs = build_defs(settings)
    looked = defs.resolve_job_def("witness_sessions").execute_in_process(instance=instance, run_config=QUIET)
    assert looked.success
    ledger = open_ledger(ledger_url(instance))

    def all_there_is() -> tuple[object, ...]:
        pages = [(events(instance, name), checks(instance, name)) for name in ("web_sessions", "keys")]
        return statistics(ledger), pages

    before = all_there_is()
    assert ledger.totals().deleted == 42 and [row.deleted for row in ledger.history()] == [10, 0, 32]
    web, keys = events(instance, "web_sessions"), events(instance, "keys")
    assert [(one["deleted"], "error" in one) for one in web] == [(10, True), (25, False)]
    assert [one["deleted"] for one in keys] == [0, 7]
    assert web[0]["run"] == result.run_id and web[0]["job"].job_name == "clean_sessions"
    assert checks(instance, "web_sessions") == [("oldest_survivor", False), ("freshness", True)]
    runs = instance.get_runs()
    assert len(runs) == 4
    for one in runs:
        instance.delete_run(one.run_id)
    assert instance.get_runs() == [] and all_there_is() == before
    ledger.close()


def test_whoever_closes_a_pass_again_adds_nothing(
    db: Db, settings: Settings, instance: dg.DagsterInstance, run: Run
) -> None:
    refuse_deletes(db, "web")
    result, _ = run(settings)
    assert [len(events(instance, name)) for name in ("web_sessions", "app_sessions")] == [1, 1]
    for _ in range(2):
        close_pass(instance, result.run_id, "sessions", settings.targets_of("sessions"))
    assert [len(events(instance, name)) for name in ("web_sessions", "app_sessions")] == [1, 1]


def test_what_never_came_to_deleting_is_no_part_of_the_history(
    db: Db, tmp_path: Path, postgres_url: str, instance: dg.DagsterInstance, run: Run
) -> None:
    text = (
        "stores: {main: {type: postgres, url: '${CLEANUP_POSTGRES_URL}'}}\n"
        "targets: {web_sessions: {store: main, table: nowhere, expires: {column: e}, mode: delete}}\n"
    )
    result, _ = run(settings_from(text, tmp_path, postgres_url))
    assert not result.success and events(instance, "web_sessions") == []


@pytest.mark.parametrize("key", ["2026-11-20T10:00"])
def test_the_window_is_told(db: Db, settings: Settings, instance: dg.DagsterInstance, key: str) -> None:
    job = build_defs(settings).resolve_job_def("clean_sessions")
    job.execute_in_process(instance=instance, run_config=QUIET, tags={"dagster/partition": key})
    assert [one["window"] for one in events(instance, "web_sessions")] == [key]
