"""How many events a run leaves behind depends on targets and shards, never on records or batches."""

from pathlib import Path
from typing import Any

import dagster as dg
import psycopg

from tests.dagster.conftest import SETTINGS, Run, settings_from


def test_more_batches_are_no_more_events(
    db: psycopg.Connection[Any], tmp_path: Path, postgres_url: str, run: Run, instance: dg.DagsterInstance
) -> None:
    def events(batch_size: int) -> tuple[int, int]:
        settings = settings_from(
            SETTINGS.replace("batch_size: 10", f"batch_size: {batch_size}"), tmp_path, postgres_url
        )
        result, report = run(settings)
        return len(instance.all_logs(result.run_id)), sum(target.batches for target in report.targets)

    many, batches = events(1)
    assert batches >= 50
    db.execute("INSERT INTO web SELECT n, now() - interval '1 day' FROM generate_series(1, 25) n")
    db.execute("INSERT INTO app SELECT n, now() - interval '1 day' FROM generate_series(1, 25) n")
    few, fewer_batches = events(1000)
    assert fewer_batches <= 4
    assert many <= few + 4
