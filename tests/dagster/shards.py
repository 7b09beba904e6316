"""A table of four leaves, each a shard of its own, and shards that a trigger makes fail."""

from pathlib import Path
from typing import Any

import dagster as dg
import psycopg

from cleanup_pipeline.model.outcome import PassReport

Db = psycopg.Connection[Any]
LEAVES, ROWS = 4, 80
EXPIRED = set(range(1, ROWS + 1))
LIVE = {ROWS + 1}

SETTINGS = """
cleanup: {batch_size: 10, pause: 0s, max_shards: 4}
stores:
  main: {type: postgres, url: "${CLEANUP_POSTGRES_URL}"}
targets:
  web_sessions: {store: main, table: web, expires: {column: expires_at}, mode: delete}
"""


def fill(db: Db) -> None:
    """20 expired rows in each leaf, and a live one in the last."""
    db.execute("CREATE TABLE web (id int, expires_at timestamptz) PARTITION BY RANGE (id)")
    step = ROWS // LEAVES
    for leaf in range(LEAVES):
        bounds = f"FROM ({leaf * step + 1}) TO ({(leaf + 1) * step + (1 if leaf < LEAVES - 1 else 2)})"
        db.execute(f"CREATE TABLE web_{leaf} PARTITION OF web FOR VALUES {bounds}")
    db.execute(f"INSERT INTO web SELECT n, now() - interval '1 day' FROM generate_series(1, {ROWS}) n")
    db.execute(f"INSERT INTO web VALUES ({ROWS + 1}, now() + interval '1 day')")
    db.execute("ANALYZE web")


def forbid(db: Db, condition: str) -> None:
    """From now on deleting a row that meets this condition fails, as a trigger of the application would do it."""
    db.execute(
        "CREATE OR REPLACE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$BEGIN IF {condition} THEN RAISE 'no'; END IF; RETURN OLD; END$$"
    )
    db.execute("DROP TRIGGER IF EXISTS no ON web")
    db.execute("CREATE TRIGGER no BEFORE DELETE ON web FOR EACH ROW EXECUTE FUNCTION no()")


def allow(db: Db) -> None:
    db.execute("DROP TRIGGER IF EXISTS no ON web")


def steps_of(instance: dg.DagsterInstance, run_id: str) -> list[str]:
    """The steps that a run started, in order of their names."""
    entries = instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_START)
    return sorted(entry.step_key or "" for entry in entries)


def figures(report: PassReport) -> list[tuple[int, int | None, bool]]:
    return [(target.deleted, target.survivors, target.red) for target in report.targets]


def write_settings(folder: Path, text: str = SETTINGS) -> Path:
    file = folder / "cleanup.yaml"
    file.write_text(text)
    return file
