"""What the ledger says of records that were kept, put back and erased."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from cleanup_pipeline.ledger import Ledger
from cleanup_pipeline.ledger.keepings import ErasureRow, KeepingRow, UndoRow
from tests.ledger.records import PLAN, outcome

AT = datetime(2026, 11, 20, 12, tzinfo=UTC)


def test_a_shard_says_at_its_end_what_it_kept(ledger: Ledger) -> None:
    row = KeepingRow("r1", "t", 0, AT, removal_records=0, quarantine_records=0)
    ledger.keepings.record(row)
    assert ledger.keepings.bytes_each("t") is None
    done = replace(row, ended_at=AT, removal_records=10, quarantine_records=10, quarantine_bytes=2500, error="a\nline")
    ledger.keepings.record(done)
    ledger.keepings.record(replace(row, run_id="r2", began_at=AT + timedelta(hours=1), quarantine_records=None))
    assert [each.run_id for each in ledger.keepings.of("t")] == ["r2", "r1"]
    assert ledger.keepings.of("t")[1].error == "a line"
    assert ledger.keepings.bytes_each("t") == 250.0
    assert ledger.keepings.of("other") == []


def test_what_went_without_an_entry_is_known(ledger: Ledger) -> None:
    assert ledger.keepings.unrecorded(PLAN.target) is None
    for run in ("with", "without"):
        ledger.begin_pass(run, "sessions")
        ledger.begin_shard(run, PLAN, 0, at_most=0)
        ledger.record_shard(run, outcome(0, 7))
    ledger.keepings.record(KeepingRow("with", PLAN.target, 0, AT, removal_records=7))
    found = ledger.keepings.unrecorded(PLAN.target)
    assert found is not None and found.records == 7
    assert found.first <= found.last and found.last.tzinfo is not None
    ledger.keepings.record(KeepingRow("without", PLAN.target, 0, AT, quarantine_records=7))
    assert ledger.keepings.unrecorded(PLAN.target) == found


def test_what_was_put_back_and_erased_stays_on_record(ledger: Ledger) -> None:
    undo = UndoRow("r1", "t", "me@here", AT, AT, restored=3, existing=1, unconfirmed=2)
    erasure = ErasureRow(AT, "me@here", 5, "ab" * 32, 4)
    ledger.keepings.add_undo(undo)
    ledger.keepings.add_erasure(erasure)
    ledger.keepings.record(KeepingRow("r1", "t", 0, AT))
    assert (list(ledger.keepings.undone()), list(ledger.keepings.erased())) == ([undo], [erasure])
    ledger.prune(timedelta(days=30), AT + timedelta(days=29))
    assert ledger.keepings.of("t") and ledger.keepings.undone()
    ledger.prune(timedelta(days=30), AT + timedelta(days=31))
    assert not ledger.keepings.of("t") and not ledger.keepings.undone()
    # Proof of what was erased is never pruned.
    assert list(ledger.keepings.erased()) == [erasure]
