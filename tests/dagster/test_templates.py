"""A target that stands for many, and shards that share steps, as Dagster runs them."""

from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest

from cleanup_pipeline.dagster_defs import grouping
from cleanup_pipeline.dagster_defs.again import what_to_repeat
from cleanup_pipeline.dagster_defs.resources import ledger_url
from cleanup_pipeline.ledger import open_ledger
from cleanup_pipeline.model.words import PassStatus
from tests.dagster.conftest import Run, settings_from
from tests.dagster.shards import LIVE, SETTINGS, fill, forbid, steps_of
from tests.stores.fleet.conftest import tenant

Db = psycopg.Connection[Any]
TENANTS = """
cleanup: {batch_size: 50, pause: 0s, max_shards: 2, budget: 1000000/s}
stores:
  main: {type: postgres, url: "${CLEANUP_POSTGRES_URL}"}
targets:
  sessions: {store: main, table: sessions, schemas: tenant_*, mode: delete, expires: {column: expires_at}}
"""


@pytest.fixture
def empty(postgres_url: str) -> Any:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        yield connection


def test_tenants_are_one_graph_and_what_went_of_each_is_on_record(
    empty: Db, tmp_path: Path, postgres_url: str, run: Run, instance: dg.DagsterInstance
) -> None:
    for number in range(13):
        tenant(empty, f"tenant_{number}", 10 + number)
    result, report = run(settings_from(TENANTS, tmp_path, postgres_url))
    assert report.status is PassStatus.SUCCEEDED
    [target] = report.targets
    assert target.deleted == sum(range(10, 23)) and target.survivors == 0 and target.members is not None
    assert len(target.members.top) == 10 and target.members.top["tenant_12"] == 22 and target.members.others == 33
    steps = steps_of(instance, result.run_id)
    assert [step for step in steps if "delete" in step] == [
        "sessions.delete[shard_0]",
        "sessions.delete[shard_1]",
    ]
    ledger = open_ledger(ledger_url(instance))
    found = ledger.pass_of(result.run_id)
    ledger.close()
    assert found is not None and ["members finished" in (shard.note or "") for shard in found.shards] == [True, True]


def test_shards_that_share_a_step_are_each_on_record_and_repeated_together(
    empty: Db,
    tmp_path: Path,
    postgres_url: str,
    run: Run,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(grouping, "MOST_DELETE_STEPS", 2)
    fill(empty)
    forbid(empty, "OLD.id = 25")
    settings = settings_from(SETTINGS, tmp_path, postgres_url)
    result, report = run(settings)
    steps = [step for step in steps_of(instance, result.run_id) if "delete" in step]
    assert steps == ["web_sessions.delete[shard_0_to_1]", "web_sessions.delete[shard_2_to_3]"]
    # The shard that failed kept no other from being cleaned, the one behind it in its step included.
    assert report.targets[0].deleted == 60 and report.status is PassStatus.PARTIAL
    ledger = open_ledger(ledger_url(instance))
    found = ledger.pass_of(result.run_id)
    ledger.close()
    assert found is not None
    assert [(shard.shard, shard.deleted) for shard in found.shards] == [(0, 20), (1, 0), (2, 20), (3, 20)]
    red = instance.get_run_by_id(result.run_id)
    assert red is not None
    again = what_to_repeat(instance, red, settings.targets)
    assert again.steps == ("web_sessions.delete[shard_0_to_1]", "web_sessions.report", "summarize")
    assert {row[0] for row in empty.execute("SELECT id FROM web WHERE id > 80")} == LIVE


def test_the_events_of_many_targets_are_bounded_by_their_steps(
    empty: Db,
    tmp_path: Path,
    postgres_url: str,
    run: Run,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two targets of four shards, as benchmarks/many_targets.py has fifty of eight."""
    monkeypatch.setattr(grouping, "MOST_DELETE_STEPS", 2)
    fill(empty)
    line = "  web_sessions: {store: main, table: web, expires: {column: expires_at}, mode: delete}\n"
    settings = settings_from(SETTINGS + line.replace("web_sessions", "again"), tmp_path, postgres_url)
    result, report = run(settings)
    assert report.status is PassStatus.SUCCEEDED
    steps = steps_of(instance, result.run_id)
    assert len(steps) == 2 * 4 + 1
    # With a step for each shard it would be 72 a target, and seventeen for the rest of the run.
    assert len(instance.all_logs(result.run_id)) <= 2 * 40 + 17
