"""The ledger on SQLite and on a real PostgreSQL: written by many, twice, half, and while it is away."""

import multiprocessing
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from cleanup_pipeline.ledger import Ledger, LedgerError, Recorder, Totals, open_ledger
from cleanup_pipeline.ledger import recorder as recorder_module
from cleanup_pipeline.model.outcome import ShardOutcome, Tally, TargetReport
from cleanup_pipeline.model.plan import Census, Plan, Shard, Work
from cleanup_pipeline.model.words import StopReason, StoreType

CUTOFF = datetime(2026, 11, 1, 12, 30, 0, 123000, tzinfo=UTC)
PLAN = Plan(
    "web",
    "main",
    StoreType.POSTGRES,
    "session",
    CUTOFF,
    False,
    Census(live=5, expired=40, without_expiry=1, unparsable=0, oldest_expired=CUTOFF - timedelta(days=2), exact=True),
    Work("index_walk", "", (Shard(0), Shard(1))),
)
REPORT = TargetReport("web", "main", StoreType.POSTGRES, "session", "index_walk", StopReason.EXHAUSTED, survivors=0)


def outcome(shard: int, deleted: int, uncertain: int = 0) -> ShardOutcome:
    return ShardOutcome("web", shard, Tally(deleted=deleted, batches=1, uncertain=uncertain), StopReason.EXHAUSTED, 1.5)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'folder' / 'ledger.db'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    opened = open_ledger(url)
    yield opened
    opened.close()


def test_what_is_written_twice_is_there_once(ledger: Ledger) -> None:
    for _ in range(2):
        ledger.begin_pass("r1", "sessions", window="2026-11-01T12:00", host="web-1")
        ledger.record_plan("r1", PLAN)
        for shard in (0, 1):
            ledger.begin_shard("r1", PLAN, shard, at_most=0)
            ledger.progress("r1", "web", shard, Tally(deleted=5), 15)
            ledger.record_shard("r1", outcome(shard, 20))
        ledger.record_target("r1", REPORT)
        ledger.close_pass("r1", "succeeded")
    [row] = ledger.history()
    assert (row.run_id, row.status, row.deleted, row.at_most, row.survivors) == ("r1", "succeeded", 40, 40, 0)
    assert row.window == "2026-11-01T12:00" and row.ended_at is not None
    assert timedelta(0) <= row.ended_at - row.started_at < timedelta(minutes=1)
    assert ledger.totals() == ledger.totals("web") == Totals(40, 40) and ledger.totals("other") == Totals(0, 0)
    assert ledger.outcomes("web", 5) == [("r1", "exhausted", 0)]


def test_a_pass_that_was_killed_says_how_much_it_may_have_done(ledger: Ledger) -> None:
    ledger.begin_pass("r1", "sessions")
    ledger.begin_shard("r1", PLAN, 0, at_most=0)
    ledger.record_shard("r1", outcome(0, 100, uncertain=10))
    ledger.begin_shard("r1", PLAN, 1, at_most=0)
    ledger.progress("r1", "web", 1, Tally(deleted=500), 750)
    [row] = ledger.history()
    assert (row.status, row.deleted, row.at_most) == (None, 600, 860)
    ledger.close_pass("r1", "failed", "the process of this run is gone")
    [row] = ledger.history(pass_name="sessions")
    assert (row.status, row.deleted, row.at_most) == ("failed", 600, 860)
    ledger.begin_shard("r1", PLAN, 2, at_most=None)
    assert ledger.totals() == Totals(600, None)


def test_the_newest_first_and_dry_runs_are_no_outcomes(ledger: Ledger) -> None:
    for number, reason in enumerate((StopReason.DEADLINE, StopReason.GOVERNOR, StopReason.EXHAUSTED)):
        ledger.begin_pass(f"r{number}", "sessions")
        ledger.record_target(f"r{number}", replace(REPORT, stop_reason=reason, survivors=number))
    ledger.begin_pass("dry", "sessions", dry_run=True)
    ledger.record_target("dry", replace(REPORT, stop_reason=StopReason.DRY_RUN))
    ledger.begin_pass("t", "tokens")
    assert ledger.outcomes("web", 2) == [("r2", "exhausted", 2), ("r1", "governor", 1)]
    assert [row.run_id for row in ledger.history(2)] == ["t", "dry"]
    assert [row.run_id for row in ledger.history(9, "sessions")] == ["dry", "r2", "r1", "r0"]


def _write(url: str, number: int) -> None:
    ledger = open_ledger(url)
    ledger.begin_pass(f"r{number}", "sessions")
    ledger.begin_shard(f"r{number}", PLAN, 0, at_most=0)
    for done in range(20):
        ledger.progress(f"r{number}", "web", 0, Tally(deleted=done), done + 1)
    ledger.record_shard(f"r{number}", outcome(0, 20))
    ledger.close()


def test_processes_that_open_a_new_one_at_the_same_time(url: str) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_write, args=(url, number)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * 4
    ledger = open_ledger(url)
    assert ledger.totals() == Totals(80, 80)
    ledger.close()


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ("nonsense", "this is no URL"),
        ("mysql://u:hunter2@h/d", "found mysql, expected sqlite or postgresql"),
        ("postgresql://u:hunter2@127.0.0.1:9/d", "cannot be used"),
        ("sqlite:////proc/nowhere/x.db", "cannot be used"),
    ],
)
def test_a_place_that_cannot_be_one(bad: str, words: str) -> None:
    with pytest.raises(LedgerError, match=f"CLEANUP_LEDGER_URL: .*{words}") as raised:
        open_ledger(bad)
    assert "hunter2" not in str(raised.value) and "\n" not in str(raised.value)


def test_a_ledger_that_is_away_stops_nobody(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(recorder_module, "AGAIN_SECONDS", 0.0)
    recorder = Recorder(postgres_url)
    recorder.begin_pass("r1", "sessions", dry_run=False, window=None, parent_run_id=None, host="h")
    assert recorder.trouble is None
    recorder.begin_shard("r1", PLAN, 0, bounded=True)
    with psycopg.connect(postgres_url, autocommit=True) as db:
        db.execute("ALTER TABLE cleanup_shards RENAME TO away")
        recorder.before_batch("r1", "web", 0, Tally(deleted=0), 100, ahead=1)
        recorder.before_batch("r1", "web", 0, Tally(deleted=100), 100, ahead=1)
        assert recorder.trouble is not None and "cannot be written" in recorder.trouble
        assert len(caplog.records) == 1
        db.execute("ALTER TABLE away RENAME TO cleanup_shards")
    recorder.before_batch("r1", "web", 0, Tally(deleted=200), 100, ahead=8)
    assert recorder.trouble is None
    ledger = open_ledger(postgres_url)
    assert ledger.totals() == Totals(200, 1000)
    recorder.record_shard("r1", outcome(0, 210))
    assert ledger.totals() == Totals(210, 210)
    ledger.close()
    recorder.close()
