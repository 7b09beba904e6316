"""A pass that is asked to end: the batch under way ends, everything is written down, and the next pass goes on."""

import json
import signal
from pathlib import Path

import psycopg
import pytest

from tests.e2e.support import started, wait_for

ROWS = 20_000
SETTINGS = """
stores:
  main: {type: postgres, url: "${CLEANUP_POSTGRES_URL}"}
targets:
  visits: {store: main, pass: sessions, table: visits, expires: {column: expires_at}, mode: delete}
cleanup: {batch_size: 100, pause: 30ms, governor: {latency_target: 30s}}
passes:
  sessions: {every: 1h}
"""


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_the_batch_under_way_ends(postgres_url: str, tmp_path: Path, sign: signal.Signals) -> None:
    (tmp_path / "cleanup.yaml").write_text(SETTINGS)
    with psycopg.connect(postgres_url, autocommit=True) as db:

        def rows() -> int:
            row = db.execute("SELECT count(*) FROM visits").fetchone()
            return row[0] if row else 0

        db.execute("CREATE TABLE visits (id int, expires_at timestamptz)")
        db.execute(f"INSERT INTO visits SELECT n, now() - interval '1 day' FROM generate_series(1, {ROWS}) n")
        with started(tmp_path, "run", "sessions", "--json", CLEANUP_POSTGRES_URL=postgres_url) as program:
            wait_for("the first batches", lambda: rows() <= ROWS - 300)
            assert program.end(sign) == 130, program.output()
        left = rows()
        assert left > 0
        report = json.loads(program.output().splitlines()[0])
        [target] = report["targets"]
        assert (report["status"], target["stop_reason"]) == ("partial", "terminated")
        # The figures are right to the last batch, whose commit nobody would know of had it been broken off.
        assert target["deleted"] == ROWS - left
        assert target["batches"] * 100 >= target["deleted"] and target["largest_batch"] <= 100
        # Nothing that the pass began is still under way.
        mine = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'cleanup-pipeline%'"
        wait_for("its connections to close", lambda: db.execute(mine).fetchone() == (0,))
