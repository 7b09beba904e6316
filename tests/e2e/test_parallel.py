"""`parallel: 2`: shards of one table in two processes, each on a connection of its own, and one report of it all."""

import json
import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

SETTINGS = """
stores:
  main: {type: postgres, url: "${CLEANUP_POSTGRES_URL}"}
cleanup: {parallel: 2, pause: 0s}
targets:
  visits: {store: main, pass: sessions, table: visits, expires: {column: expires_at}, mode: delete, max_shards: 2}
passes:
  sessions: {every: 1h}
"""


@pytest.mark.long
def test_shards_are_deleted_side_by_side(postgres_url: str, tmp_path: Path) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as db:
        # Partitions are shards however small they are.
        db.execute("CREATE TABLE visits (id int, expires_at timestamptz) PARTITION BY LIST (id)")
        for part in (0, 1):
            db.execute(f"CREATE TABLE visits_{part} PARTITION OF visits FOR VALUES IN ({part})")
            # Each deletion writes down who did it.
        db.execute("CREATE TABLE who (pid int)")
        db.execute(
            "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS"
            " 'BEGIN INSERT INTO who VALUES (pg_backend_pid()); RETURN NULL; END'"
        )
        for part in (0, 1):
            db.execute(f"CREATE TRIGGER t AFTER DELETE ON visits_{part} EXECUTE FUNCTION note()")
        db.execute(
            "INSERT INTO visits SELECT n %% 2, now() + (n - 1500) * interval '1 s' FROM generate_series(1, 3000) n", ()
        )
        (tmp_path / "cleanup.yaml").write_text(SETTINGS)
        program = Path(sys.executable).parent / "cleanup-pipeline"
        environment = {**os.environ, "CLEANUP_POSTGRES_URL": postgres_url}
        environment.pop("DAGSTER_HOME", None)
        done = subprocess.run(
            [program, "run", "sessions", "--json"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        report = json.loads(done.stdout)
        assert report["status"] == "succeeded"
        [target] = report["targets"]
        assert (target["deleted"], target["survivors"]) == (target["expired_found"], 0)
        assert target["deleted"] >= 1490
        workers = db.execute("SELECT count(DISTINCT pid) FROM who").fetchone()
        assert workers == (2,)
