"""What a day came to is the same however much of it was folded, sealed, or has to be added up."""

import random
from collections import Counter
from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import func, select, update

from cleanup_pipeline.ledger import DayRow, Ledger
from cleanup_pipeline.ledger.tables import passes, seals, shards, targets
from cleanup_pipeline.model.histogram import quantile
from cleanup_pipeline.model.words import StopReason
from tests.ledger.records import PLAN, REPORT, outcome
from tests.ledger.test_prune import DAY, NOW, fill


def sealed(ledger: Ledger) -> int:
    with ledger.place.reading() as connection:
        return int(connection.execute(select(func.count()).select_from(seals)).scalar_one())


@pytest.mark.parametrize("seed", range(3))
def test_sealing_and_folding_change_nothing(ledger: Ledger, seed: int) -> None:
    fill(ledger, seed, 60)
    before = ledger.days()
    assert sum(row.deleted for row in before) == ledger.totals().deleted > 0
    assert sum(row.passes for row in before if row.target == "") > 40
    dice = random.Random(seed)
    for keep in (35, 20, 5):
        assert ledger.seal(NOW) > 0 or keep < 35
        assert ledger.seal(NOW) == 0
        assert ledger.days() == before
        ledger.prune(keep * DAY, NOW)
        assert ledger.days() == before
        first = date(2026, 11, 1) - dice.randrange(20) * DAY
        span = ledger.days(first, first + 7 * DAY)
        assert span == [row for row in before if first <= row.day <= first + 7 * DAY]


def test_today_and_yesterday_are_not_sealed(ledger: Ledger) -> None:
    for ago in range(5):
        began = NOW - ago * DAY
        ledger.begin_pass(f"r{ago}", "sessions", started_at=began)
        ledger.close_pass(f"r{ago}", "succeeded", ended_at=began)
    assert ledger.seal(NOW) == 3
    with ledger.place.reading() as connection:
        assert connection.execute(select(func.max(seals.c.day))).scalar() == (NOW - 2 * DAY).date()


def test_what_is_said_late_is_counted(ledger: Ledger) -> None:
    began = NOW - 6 * DAY
    for run_id in ("r1", "r2"):
        ledger.begin_pass(run_id, "sessions", started_at=began)
        ledger.record_plan(run_id, PLAN)
        ledger.begin_shard(run_id, PLAN, 0, at_most=1000)
        with ledger.place.writing() as connection:
            connection.execute(update(shards).where(shards.c.run_id == run_id).values(started_at=began))
        ledger.close_pass(run_id, "lost", ended_at=began + timedelta(minutes=5))
    assert ledger.seal(NOW) > 0
    lost = {row.target: row for row in ledger.days()}
    assert (lost["web"].failed, lost["web"].outcomes, lost["web"].deleted) == (2, {"lost": 2}, 0)
    seals_before = sealed(ledger)
    ledger.record_shard("r1", outcome(0, 700))
    assert sealed(ledger) < seals_before
    ledger.record_target("r1", REPORT)
    ledger.close_pass("r1", "succeeded")
    assert sum(row.deleted for row in ledger.days()) == ledger.totals().deleted == 700
    ledger.seal(NOW)
    of_pass = next(row for row in ledger.days() if row.target == "")
    assert of_pass.outcomes == {"lost": 1, "succeeded": 1}


def test_who_runs_has_not_failed(ledger: Ledger) -> None:
    ledger.begin_pass("r1", "sessions")
    ledger.record_plan("r1", PLAN)
    ledger.begin_shard("r1", PLAN, 0, at_most=1000)
    ledger.progress("r1", "web", 0, outcome(0, 300).tally, 1300)
    [row] = ledger.days()
    assert (row.target, row.deleted, row.at_most, row.passes, row.failed) == ("web", 300, 1300, 0, 0)
    assert (row.shards, row.shards_failed, row.outcomes) == (1, 0, {})


def test_the_figures_of_a_day(ledger: Ledger) -> None:
    for number in range(20):
        run_id = f"r{number}"
        ledger.begin_pass(run_id, "sessions", started_at=NOW - timedelta(hours=2))
        ledger.record_plan(run_id, PLAN)
        ledger.record_shard(run_id, outcome(0, 10, cpu_seconds=0.5))
        ledger.record_shard(run_id, outcome(1, 5, stop_reason=StopReason.DEADLINE))
        ledger.record_target(run_id, REPORT)
        ledger.close_pass(run_id, "succeeded" if number else "failed", ended_at=NOW - timedelta(hours=1))
    with ledger.place.writing() as connection:
        connection.execute(update(shards).values(ended_at=NOW))
        for number in range(20):
            values = {"seconds": (number + 1) / 10, "survivors": number, "reported_at": NOW + timedelta(seconds=number)}
            connection.execute(update(targets).where(targets.c.run_id == f"r{number}").values(**values))
    days: dict[str, DayRow] = {row.target: row for row in ledger.days()}
    web, whole = days["web"], days[""]
    assert (web.passes, web.failed, web.shards, web.deleted, web.expired_found) == (20, 0, 40, 300, 800)
    assert (web.survivors, web.reported_at) == (19, NOW + timedelta(seconds=19))
    assert web.outcomes == {"exhausted": 20, "deadline": 20} and web.slowed == {"lag": 80}
    assert web.cpu_seconds == pytest.approx(10) and web.latency_ms == (0, 40, *[0] * 10)
    assert (quantile(web.durations, 0.5), quantile(web.durations, 0.95)) == (1.0, 1.9)
    assert whole.outcomes == Counter({"succeeded": 19, "failed": 1}) and (whole.passes, whole.failed) == (20, 1)
    assert whole.durations == {3_600_000: 20}
    assert whole.day == NOW.astimezone(UTC).date()


def test_an_empty_ledger_has_no_days(ledger: Ledger) -> None:
    assert ledger.days() == [] and ledger.seal() == 0
    assert ledger.days(date(2020, 1, 1), date(2020, 2, 1)) == []
    with ledger.place.reading() as connection:
        assert connection.execute(select(func.count()).select_from(passes)).scalar_one() == 0
    assert datetime.now(UTC) > NOW
