"""A ledger in a file, open twice in one process, while another process comes and goes."""

import sqlite3
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from cleanup_pipeline.ledger import open_ledger

# A process that writes a row and ends, as a pass of the command line does: the last to leave takes the journal along.
COME_AND_GO = """
import sys
from cleanup_pipeline.ledger import open_ledger
ledger = open_ledger(sys.argv[1])
ledger.begin_pass("other", "sessions")
ledger.close()
"""


def test_opening_it_again_leaves_the_locks_of_this_process_alone(tmp_path: Path) -> None:
    file = tmp_path / "ledger.db"
    url = f"sqlite:///{file}"
    ledger = open_ledger(url)
    ledger.begin_pass("mine", "sessions")
    open_ledger(url).close()
    subprocess.run([sys.executable, "-c", COME_AND_GO, url], check=True, timeout=60)
    # Without the lock the other one would have thought that it is the last, and this would go where nobody finds it.
    ledger.close_pass("mine", "succeeded", None)
    with sqlite3.connect(file) as connection:
        rows = connection.execute("SELECT run_id, status FROM cleanup_passes ORDER BY run_id").fetchall()
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    assert rows == [("mine", "succeeded"), ("other", None)]
    assert len(ledger.history(5)) == 2
    ledger.close()


def test_a_new_one_is_private_and_whole(tmp_path: Path) -> None:
    file = tmp_path / "new" / "ledger.db"
    before = datetime.now(UTC)
    open_ledger(f"sqlite:///{file}").close()
    assert file.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in file.parent.iterdir()] == ["ledger.db"]
    assert file.stat().st_mtime >= before.timestamp() - 1
