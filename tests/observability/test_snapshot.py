"""What metrics show is what the ledger knows, and counters never go down."""

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cleanup_pipeline.ledger import Ledger, LedgerError, open_ledger
from cleanup_pipeline.ledger.words import UNDONE
from cleanup_pipeline.model.words import StopReason
from cleanup_pipeline.observability.families import Family, ends_a_token, family
from cleanup_pipeline.observability.reader import Reader
from cleanup_pipeline.observability.snapshot import Current, PassFigures, Snapshot, TargetFigures, read_snapshot
from cleanup_pipeline.settings import Settings
from tests.ledger.records import PLAN, REPORT, outcome
from tests.ledger.test_prune import fill
from tests.observability.figures import HOUR, NOW, add_pass, add_witness, ledger, settings, url, without

__all__ = ["ledger", "settings", "url"]


def of(snapshot: Snapshot, target: str = "web") -> TargetFigures:
    [found] = [each for each in snapshot.targets if each.target == target]
    return found


def now_of(snapshot: Snapshot, target: str = "web") -> Current:
    current = of(snapshot, target).current
    assert current is not None
    return current


def pass_of(snapshot: Snapshot, name: str = "sessions") -> PassFigures:
    return {each.name: each for each in snapshot.passes}[name]


def test_what_never_ran_has_done_nothing_and_is_otherwise_unknown(ledger: Ledger, settings: Settings) -> None:
    snapshot = read_snapshot(ledger, settings, NOW)
    assert snapshot.since is None
    assert {each.target for each in snapshot.targets} == {"web", "links", "idle"}
    web = of(snapshot)
    assert (web.deleted, web.operations, web.failed, web.expired_found, web.bytes_freed) == (0, 0, 0, None, None)
    assert web.current == Current()
    sessions = pass_of(snapshot)
    assert (sessions.runs, sessions.last_run, sessions.last_success, sessions.running) == ({}, None, None, 0)
    assert (sessions.every, sessions.enabled) == (timedelta(hours=1), True)


def test_a_pass_and_its_figures(ledger: Ledger, settings: Settings) -> None:
    add_pass(ledger, "r1", NOW - 30 * HOUR, deleted=40, slowed={"latency": 2}, waited_seconds=3.0, survivors=900)
    add_pass(ledger, "r2", NOW - HOUR, error="no", status="partial", seconds=90.0, deleted=7, stop_reason="governor")
    snapshot = read_snapshot(ledger, settings, NOW)
    web, sessions = of(snapshot), pass_of(snapshot)
    assert snapshot.since == (NOW - 30 * HOUR).replace(hour=0, minute=0, second=0)
    assert (web.deleted, web.operations, web.failed) == (47, 2, 1)
    assert web.durations == {1500: 1, 90_000: 1}
    assert web.latency_ms == (0, 6, *[0] * 9, 2)
    assert (web.paused_seconds, web.waited_seconds, web.slowed) == (4.0, 3.0, {"latency": 2})
    assert web.stops == {"exhausted": 1, "governor": 1}
    assert sessions.runs == {"succeeded": 1, "partial": 1}
    assert (sessions.last_run, sessions.last_success) == (NOW - HOUR, NOW - 30 * HOUR)
    current = now_of(snapshot)
    assert (current.last_success, current.backlog, current.backlog_at) == (NOW - 30 * HOUR, 0, NOW - HOUR)
    assert (current.slowest_seconds, current.delete_seconds, current.governor_stops) == (90.0, 90.0, 1)


def test_a_dry_run_moves_nothing(ledger: Ledger, settings: Settings) -> None:
    add_pass(ledger, "r1", NOW - 2 * HOUR, survivors=5)
    before = read_snapshot(ledger, settings, NOW)
    add_pass(ledger, "dry", NOW - HOUR, dry_run=True, survivors=9_999, seconds=500.0, stop_reason="dry_run")
    ledger.begin_pass("dry2", "sessions", dry_run=True)
    assert read_snapshot(ledger, settings, NOW) == before


def test_what_is_gone_from_the_settings_keeps_its_counters(ledger: Ledger, settings: Settings) -> None:
    add_pass(ledger, "r1", NOW - HOUR)
    add_witness(ledger, "web", NOW)
    left = of(read_snapshot(ledger, without(settings, "web"), NOW))
    assert (left.deleted, left.current) == (100, None)


def test_a_pass_without_a_target_that_deletes_is_not_expected_to_run(settings: Settings, ledger: Ledger) -> None:
    snapshot = read_snapshot(ledger, without(settings, "web"), NOW)
    assert not pass_of(snapshot).enabled and pass_of(snapshot, "verification_tokens").enabled


def test_the_backlog_and_its_growth(ledger: Ledger, settings: Settings) -> None:
    for ago, survivors in ((6, 10), (5, 20), (4, 30), (3, 40), (2, 50), (1, 75)):
        # Reports do not come by the clock.
        add_pass(ledger, f"r{ago}", NOW - ago * HOUR + timedelta(minutes=3 * (ago % 2)), survivors=survivors)
    # A window of a backfill says nothing of what is older.
    add_pass(ledger, "window", NOW - HOUR / 2, survivors=0, since=NOW - 9 * HOUR)
    current = now_of(read_snapshot(ledger, settings, NOW))
    assert (current.backlog, current.backlog_growth) == (75, 75 - 30)
    add_pass(ledger, "unknown", NOW - HOUR / 4, survivors=None)
    current = now_of(read_snapshot(ledger, settings, NOW))
    assert (current.backlog, current.backlog_at, current.backlog_growth) == (None, NOW - HOUR / 4, None)


def test_waiting_for_a_run_window_was_asked_for(ledger: Ledger, settings: Settings) -> None:
    add_pass(ledger, "r1", NOW - HOUR, waited_seconds=4.0, slowed={"lag": 1})
    add_pass(ledger, "r2", NOW - HOUR, waited_seconds=9.0, slowed={"run_window": 1}, stop_reason="governor")
    current = now_of(read_snapshot(ledger, settings, NOW))
    assert (current.delete_seconds, current.wait_seconds, current.governor_stops) == (10.0, 4.0, 0)


def test_the_witness(ledger: Ledger, settings: Settings) -> None:
    add_witness(ledger, "web", NOW - 2 * HOUR, survivors=1)
    add_witness(ledger, "web", NOW - HOUR, survivors=3, oldest_survivor=NOW - 5 * HOUR)
    add_witness(ledger, "links", NOW - HOUR)
    add_witness(ledger, "idle", NOW - HOUR, survivors=None, known=False)
    snapshot = read_snapshot(ledger, settings, NOW)

    def seen(target: str) -> tuple[int | None, float | None, float | None]:
        current = now_of(snapshot, target)
        return current.survivors, current.oldest_survivor_age, current.objective_seconds

    assert seen("web") == (3, 5 * 3600.0, 7200.0)
    assert seen("links") == (0, 0.0, 7200.0)
    assert seen("idle") == (None, None, 7200.0)


@pytest.mark.parametrize("seed", range(2))
def test_counters_never_go_down(url: str, ledger: Ledger, settings: Settings, seed: int) -> None:
    dice, reader = random.Random(seed), Reader(url, settings)
    fill(ledger, seed, 60)
    before = counters(reader.read())
    runs: list[str] = []
    for step in range(40):
        match dice.randrange(6):
            case 0:
                ledger.seal()
            case 1:
                ledger.prune(timedelta(days=dice.choice([60, 40, 20, 5])), datetime.now(UTC))
            case 2:
                runs.append(f"new{step}")
                ledger.begin_pass(runs[-1], "sessions", started_at=datetime.now(UTC) - dice.randrange(9) * HOUR * 24)
                ledger.record_plan(runs[-1], PLAN)
                ledger.begin_shard(runs[-1], PLAN, 0, at_most=500)
                ledger.progress(runs[-1], "web", 0, outcome(0, dice.randrange(100)).tally, 500)
            case 3 if runs:
                # Taken for lost, and heard of again below.
                ledger.mark_lost(dice.choice(runs), "lost")
            case 4 if runs:
                ledger.record_shard(dice.choice(runs), outcome(0, 300, stop_reason=StopReason.EXHAUSTED))
            case _ if runs:
                ledger.record_target(runs[0], REPORT)
                ledger.close_pass(runs.pop(0), dice.choice(["succeeded", "failed"]))
        after = counters(reader.read())
        assert not {name: (count, after.get(name)) for name, count in before.items() if after.get(name, -1) < count}
        before = after
    assert ledger.totals().deleted == sum(each.deleted for each in reader.read().targets)
    reader.close()


def counters(snapshot: Snapshot) -> dict[tuple[object, ...], float]:
    found: dict[tuple[object, ...], float] = {}
    for each in snapshot.targets:
        for name in (
            "deleted",
            "operations",
            "failed",
            "retries",
            "parked",
            "paused_seconds",
            "seconds",
            "bytes_freed",
        ):
            found[each.key, name] = getattr(each, name) or 0
        found[each.key, "succeeded"] = each.operations - each.failed
        found.update({(each.key, bound): count for bound, count in each.durations.items()})
        found.update({(each.key, reason): count for reason, count in {**each.stops, **each.slowed}.items()})
        found.update({(each.key, "latency", i): n for i, n in enumerate(each.latency_ms or ())})
    for of_pass in snapshot.passes:
        found.update({(of_pass.name, status): count for status, count in of_pass.runs.items()})
    return found


def test_who_runs_is_not_lost(ledger: Ledger, settings: Settings) -> None:
    ledger.begin_pass("r1", "sessions")
    ledger.record_plan("r1", PLAN)
    ledger.begin_shard("r1", PLAN, 0, at_most=500)
    ledger.progress("r1", "web", 0, outcome(0, 30).tally, 500)
    snapshot = read_snapshot(ledger, settings, datetime.now(UTC))
    assert (of(snapshot).deleted, of(snapshot).stops, of(snapshot).failed) == (30, {}, 0)
    assert pass_of(snapshot).running == 1 and not UNDONE & set(of(snapshot).stops)


def test_a_file_that_is_gone_or_another(url: str, settings: Settings) -> None:
    reader = Reader(url, settings)
    first = open_ledger(url)
    add_pass(first, "r1", NOW)
    first.close()
    assert of(reader.read()).deleted == 100
    file = url.removeprefix("sqlite:///")
    for name in (file, f"{file}-wal", f"{file}-shm"):
        Path(name).unlink(missing_ok=True)
    with pytest.raises(LedgerError, match="gone"):
        reader.read()
    other = open_ledger(url)
    add_pass(other, "r2", NOW, deleted=7)
    assert of(reader.read()).deleted == 7
    other.close()
    reader.close()


@pytest.mark.parametrize(
    ("kind", "expected", "revokes"),
    [
        ("session", Family.SESSIONS, True),
        ("refresh_token", Family.SESSIONS, True),
        ("revoked_token", Family.SESSIONS, False),
        ("anything", Family.SESSIONS, True),
        ("verification_token", Family.VERIFICATION_TOKENS, True),
        ("password_reset_token", Family.VERIFICATION_TOKENS, True),
        ("email-confirmation", Family.VERIFICATION_TOKENS, True),
        ("one_time_code", Family.VERIFICATION_TOKENS, True),
        ("preset", Family.SESSIONS, True),
    ],
)
def test_families(kind: str, expected: Family, revokes: bool) -> None:
    assert (family(kind), ends_a_token(kind)) == (expected, revokes)


def test_the_same_from_postgresql(ledger: Ledger, settings: Settings, postgres_url: str) -> None:
    other = open_ledger(postgres_url)
    for each in (ledger, other):
        for ago in range(5, 0, -1):
            add_pass(each, f"r{ago}", NOW - ago * HOUR, survivors=50 - ago, slowed={"lag": 1}, waited_seconds=2.5)
        add_pass(
            each, "v1", NOW - HOUR, "links", pass_name="verification_tokens", stop_reason="governor", bytes_freed=9
        )
        add_pass(each, "dry", NOW - HOUR / 2, dry_run=True, stop_reason="dry_run")
        add_witness(each, "web", NOW - HOUR, survivors=3, oldest_survivor=NOW - 5 * HOUR)
        each.begin_pass("r9", "sessions", started_at=NOW)
        each.prune(3 * HOUR + HOUR / 2, NOW)
    assert read_snapshot(other, settings, NOW) == read_snapshot(ledger, settings, NOW)
    assert now_of(read_snapshot(other, settings, NOW)).wait_seconds == 5.0
    other.close()
