"""A ledger that is away stops nobody, and loses nothing that the process lives to write down."""

import logging
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from cleanup_pipeline.embedded.servers import Server
from cleanup_pipeline.ledger import Ledger, Recorder, Totals, open_ledger
from cleanup_pipeline.ledger import recorder as recorder_module
from cleanup_pipeline.model.outcome import Tally
from tests.ledger.records import CUTOFF, PLAN, REPORT, everything, outcome


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ledger that was away is tried again with the next thing to write."""
    monkeypatch.setattr(recorder_module, "AGAIN_SECONDS", 0.0)


def whole_pass(recorder: Recorder) -> None:
    recorder.begin_pass("r1", "sessions", dry_run=False, window="w", parent_run_id=None, host="h")
    recorder.record_plan("r1", PLAN)
    for shard in (0, 1):
        recorder.begin_shard("r1", PLAN, shard, bounded=True)
        recorder.before_batch("r1", "web", shard, Tally(), 100, ahead=1)
        recorder.record_shard("r1", outcome(shard, 20))
    recorder.record_target("r1", REPORT)
    recorder.close_pass("r1", "succeeded", None)


def test_a_database_that_goes_away_and_comes_back(
    postgres_url: str, postgres_server: Server, at_once: None, caplog: pytest.LogCaptureFixture
) -> None:
    name = postgres_url.rsplit("/", 1)[1]
    recorder = Recorder(postgres_url)
    recorder.begin_pass("r1", "sessions", dry_run=False, window=None, parent_run_id=None, host="h")
    recorder.begin_shard("r1", PLAN, 0, bounded=True)
    assert recorder.trouble is None
    with psycopg.connect(postgres_server.url, autocommit=True) as admin:
        admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")  # type: ignore[call-overload]
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
        for deleted in (0, 100, 200):
            recorder.before_batch("r1", "web", 0, Tally(deleted=deleted), 100, ahead=1)
        recorder.record_shard("r1", outcome(0, 300))
        recorder.record_shard("r1", outcome(1, 7))
        assert recorder.trouble is not None and "cannot be" in recorder.trouble
        [warning] = caplog.records
        assert warning.levelno == logging.WARNING and "deleting goes on" in warning.getMessage()
        admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")  # type: ignore[call-overload]
    recorder.record_target("r1", REPORT)
    assert recorder.trouble is None
    ledger = open_ledger(postgres_url)
    assert ledger.totals() == Totals(307, 307)
    [row] = ledger.history()
    assert (row.pass_name, row.survivors) == ("sessions", 0)
    ledger.close()
    recorder.close()


def test_away_from_the_beginning_to_just_before_the_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "folder"
    folder.write_text("a file where the folder ought to be")
    recorder = Recorder(f"sqlite:///{folder / 'ledger.db'}")
    whole_pass(recorder)
    assert recorder.trouble is not None and recorder.trouble.startswith("CLEANUP_LEDGER_URL: the ledger at sqlite:///")
    assert len(caplog.records) == 1
    folder.unlink()
    # Within the ten seconds in which it is not tried; the end of the process does not wait for them.
    recorder.close()
    assert recorder.trouble is None
    ledger = open_ledger(f"sqlite:///{folder / 'ledger.db'}")
    [row] = ledger.history()
    assert (row.status, row.deleted, row.at_most, row.survivors) == ("succeeded", 40, 40, 0)
    ledger.close()
    recorder.close()


def test_it_is_not_tried_with_each_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []
    clock = [1000.0]
    monkeypatch.setattr(recorder_module, "monotonic", lambda: clock[0])
    monkeypatch.setattr(recorder_module, "open_ledger", lambda url: tried.append(url) or open_ledger(url))
    recorder = Recorder("sqlite:////proc/nowhere/ledger.db")
    for seconds in (0, 1, 8.9, 0.2, 5, 5.1):
        clock[0] += seconds
        recorder.before_batch("r1", "web", 0, Tally(), 100, ahead=1)
    assert len(tried) == 3


def test_the_same_as_without_trouble(url: str, tmp_path: Path) -> None:
    recorder = Recorder(url)
    for _ in range(2):
        whole_pass(recorder)
    recorder.close()
    ledger = open_ledger(url)
    [row] = ledger.history()
    assert (row.status, row.window, row.deleted, row.at_most) == ("succeeded", "w", 40, 40)
    once = everything(ledger)
    whole_pass(recorder)
    recorder.close()
    assert everything(ledger) == once
    ledger.close()


def test_what_can_never_be_written_stands_in_nobodys_way(ledger: Ledger, url: str, at_once: None) -> None:
    recorder = Recorder(url)
    recorder.record_plan("r1", replace(PLAN, cutoff=CUTOFF.replace(tzinfo=None)))
    recorder.close_pass("r1", "done", None)
    recorder.record_shard("r1", outcome(0, 20))
    assert ledger.totals() == Totals(20, 20)
    # Nor is it forgotten: what is not in the ledger ought to be in the report.
    assert (
        recorder.trouble is not None and "could not be put into the ledger: unexpected ValueError" in recorder.trouble
    )
    recorder.close()


def test_more_than_can_be_kept(ledger: Ledger, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder_module, "MOST_OWED", 5)
    recorder = Recorder("sqlite:////proc/nowhere/ledger.db")
    for shard in range(8):
        recorder.record_shard("r1", outcome(shard, 1))
    monkeypatch.setattr(recorder, "_url", url)
    recorder.close()
    assert ledger.totals() == Totals(5, 5)
    assert recorder.trouble is not None and "away for too long: more than 5 things" in recorder.trouble


def test_what_a_killed_cleaner_may_have_done(ledger: Ledger, url: str) -> None:
    recorder = Recorder(url)
    recorder.begin_shard("r1", PLAN, 0, bounded=True)
    recorder.before_batch("r1", "web", 0, Tally(), 100, ahead=3)
    assert ledger.totals() == Totals(0, 300)
    for deleted in (100, 200):
        recorder.before_batch("r1", "web", 0, Tally(deleted=deleted), 100, ahead=3)
    assert ledger.totals() == Totals(0, 300)
    recorder.before_batch("r1", "web", 0, Tally(deleted=250, uncertain=50), 100, ahead=3)
    assert ledger.totals() == Totals(250, 600)
    recorder.mark_lost("r1", "killed")
    assert ledger.totals() == Totals(250, 600)
    recorder.close()


def test_a_batch_without_bound_can_have_done_anything(ledger: Ledger, url: str) -> None:
    recorder = Recorder(url)
    recorder.begin_shard("r1", PLAN, 0, bounded=False)
    recorder.before_batch("r1", "web", 0, Tally(), 100, ahead=1)
    recorder.before_batch("r1", "web", 0, Tally(deleted=90_000), 100, ahead=1)
    assert ledger.totals() == Totals(90_000, None)
    recorder.record_shard("r1", outcome(0, 180_000))
    assert ledger.totals() == Totals(180_000, 180_000)
    recorder.close()
