"""Cases whose answer can be written down."""

from dataclasses import replace
from datetime import timedelta

import pytest

from cleanup_pipeline.model.pace import Pace
from cleanup_pipeline.model.run_window import parse_run_window
from cleanup_pipeline.simulation.outcome import Verdict
from cleanup_pipeline.simulation.scenario import DAY, HOUR, Executor, Kind, PassModel, StoreModel, Way
from cleanup_pipeline.simulation.simulate import simulate, simulate_once
from tests.simulation.conftest import STEADY, batching, scenario, target


def near(value: float) -> object:
    return pytest.approx(value, rel=1e-9)


def test_batches_times_latency_and_pause() -> None:
    of = batching(pause=0.05)
    single = simulate_once(scenario(target(of=of, backlog=100_000)), "p")
    # With a pause, 250 at once and a quarter of the pause behind each but the last one.
    batches, latency, rest = 400, 0.001 + 250e-6, 0.05 / 4
    assert single.batches == batches
    assert single.deleting == near(batches * latency + (batches - 1) * rest)
    assert single.removed == 100_000


def test_a_share_of_the_latency_is_rested_besides() -> None:
    of = batching(pace=Pace(pause_share=2.0))
    single = simulate_once(scenario(target(of=of, backlog=10_000)), "p")
    latency = 0.001 + 1000e-6
    assert single.deleting == near(10 * latency + 9 * 2 * latency)


def test_the_last_batch_is_as_small_as_what_is_left() -> None:
    single = simulate_once(scenario(target(backlog=1_500)), "p")
    assert single.deleting == near((0.001 + 1000e-6) + (0.001 + 500e-6))


def test_a_sweep_reads_what_stays_too() -> None:
    of = batching(way=Way.SWEEP, per_look=1e-7)
    single = simulate_once(scenario(target(of=of, backlog=10_000, records=90_000)), "p")
    # Each batch of 1000 dead ones reads 9000 live ones.
    assert single.batches == 10
    assert single.deleting == near(10 * (0.001 + 1000e-6 + 9000e-7))


def test_a_sweep_with_nothing_expired_reads_everything_all_the_same() -> None:
    of = batching(way=Way.SWEEP, per_look=1e-7, looks=10_000)
    single = simulate_once(scenario(target(of=of, records=95_000)), "p")
    assert single.batches == 10
    assert single.removed == 0
    assert single.deleting == near(10 * 0.001 + 95_000e-7)


def test_redis_reads_a_script_at_a_time_where_there_are_pauses() -> None:
    of = batching(way=Way.SWEEP, pause=0.03, scripts=True, per_look=1e-6)
    single = simulate_once(scenario(target(of=of, backlog=5_000, records=5_000)), "p")
    # 82 keys a script, half of them expired, and so much of the pause as they are of a thousand behind each.
    assert single.batches == 122
    assert single.deleting == near(122 * 0.001 + 5_000e-6 + 5_000e-6 + 121 * 0.03 * 0.082)


def test_everything_around_deleting_adds_up() -> None:
    executor = Executor(start_seconds=3.0, run_seconds=0.5, step_seconds=0.1)
    model = target(backlog=1000, records=9000, look_fixed=0.2, look_per_record=1e-5, shard_seconds=0.3)
    single = simulate_once(scenario(model, executor=executor), "p")
    count = 0.2 + 10_000 * 1e-5
    # scan and batch, delete, report, summarize; a count before and after.
    assert single.seconds == near(3.5 + 5 * 0.1 + 2 * count + 0.3 + 0.002)


def test_counting_gives_up() -> None:
    model = target(backlog=1, look_per_record=1.0, records=1000, census_timeout=2.0, timeout=50.0)
    # Before: its own limit. After: the greater one of that and a fifth of the operation's.
    assert simulate_once(scenario(model), "p").seconds == near(2.0 + 10.0 + 0.001001)


def test_a_saturated_store_does_no_more_with_more_workers() -> None:
    several = [target(f"t{number}", backlog=100_000) for number in range(4)]
    stores = [StoreModel("pg", ((1.0, 1.0), (2.0, 1.5)))]
    executor = Executor(Kind.CELERY, 4, start_seconds=0.0, run_seconds=0.0, step_seconds=0.0)
    alone = 100 * 0.002
    found = simulate_once(scenario(*several, stores=stores, executor=executor), "p")
    # Four at once do 1.5 times the work of one; the first batches began before all four were there.
    assert found.seconds == pytest.approx(4 * alone / 1.5, rel=0.02)
    one = simulate_once(scenario(*several, stores=stores), "p")
    assert one.seconds == near(4 * alone)


def test_pauses_leave_room_for_others() -> None:
    several = [target(f"t{number}", batching(pause=1.0), backlog=10_000) for number in range(4)]
    executor = Executor(Kind.CELERY, 4, start_seconds=0.0, run_seconds=0.0, step_seconds=0.0)
    # Each is at work for a tenth of a percent of its time: nobody waits for anybody.
    assert simulate_once(scenario(*several, executor=executor), "p").seconds == near(40 * 0.00125 + 39 * 0.25)


def test_few_are_let_into_a_store_at_once() -> None:
    several = [target(f"t{number}", batching(pause=1.0), backlog=10_000) for number in range(4)]
    executor = Executor(Kind.CELERY, 4, start_seconds=0.0, run_seconds=0.0, step_seconds=0.0)
    one = 40 * 0.00125 + 39 * 0.25
    found = simulate_once(scenario(*several, executor=executor, stores=[StoreModel("pg", steps=2)]), "p")
    assert found.seconds == near(2 * one)


def test_shards_go_on_side_by_side() -> None:
    model = target(of=batching(pause=1.0), backlog=10_000, shards=4)
    executor = Executor(Kind.CELERY, 4, start_seconds=0.0, run_seconds=0.0, step_seconds=0.0)
    assert simulate_once(scenario(model, executor=executor), "p").seconds == near(10 * 0.00125 + 9 * 0.25)
    assert simulate_once(scenario(model), "p").seconds == near(4 * (10 * 0.00125 + 9 * 0.25))


def test_a_deadline_leaves_the_rest() -> None:
    model = target(of=batching(pause=1.0), backlog=100_000, timeout=10.0)
    single = simulate_once(scenario(model), "p")
    # A batch each 0.25125 s, the last one begun before ten seconds are over; its rest ends there.
    assert single.batches == 40
    assert single.deleting == near(10.0)
    assert single.left == 100_000 - 40 * 250


def test_a_row_limit_leaves_the_rest() -> None:
    single = simulate_once(scenario(target(backlog=100_000, row_limit=10_000, shards=4)), "p")
    assert single.removed == near(10_000)
    assert single.left == near(90_000)


def test_what_falls_due_faster_than_it_is_removed_is_never_gone() -> None:
    # In five minutes of each hour it removes what falls due in three quarters of one.
    of = batching(pause=0.1)
    most = 300 / 0.02625 * 250
    found = simulate(scenario(target(of=of, rate=most / HOUR / 0.75), passes=[PassModel("p", retries=0)], days=2))
    assert found.verdict is Verdict.FALLS_BEHIND
    assert not found.keeps_up
    assert found.gone is None
    # What fell due in 48 hours, less 47 passes: the first one found nothing.
    assert found.left == pytest.approx((48 / 0.75 - 47) * most, rel=2e-4)
    assert found.targets[0].reasons["deadline"] >= 46


def test_what_is_removed_faster_is_gone_when_arithmetic_says_so() -> None:
    of = batching(pause=0.1)
    most = 300 / 0.02625 * 250
    model = target(of=of, backlog=most * 10, oldest=DAY, rate=most / HOUR / 2)
    found = simulate(scenario(model, passes=[PassModel("p", retries=0)], days=3))
    assert found.verdict is Verdict.KEEPS_UP
    # The first pass meets ten passes' worth, and each hour brings half of one: the twentieth still has a whole one.
    assert found.gone == pytest.approx(19 * HOUR, abs=HOUR)
    assert found.end < 3 * DAY, "it went on although nothing new came of it"


def test_red_passes_are_repeated() -> None:
    model = target(of=batching(pause=1.0), backlog=30_000, timeout=10.0)
    kept = scenario(model, passes=[PassModel("p", every=DAY, retries=2, retry_after=60.0)], days=0.5)
    found = simulate(kept)
    # 40 batches a run, three runs: after one minute, and after four more.
    assert found.runs == 3
    assert found.targets[0].removed == 30_000
    assert found.targets[0].gone == near(10 + 60 + 10 + 240 + 39 * 0.25125 + 0.00125)


def test_a_run_does_not_begin_while_the_one_before_goes_on() -> None:
    model = target(of=batching(pause=1.0), backlog=1e9, timeout=90.0)
    found = simulate(scenario(model, passes=[PassModel("p", every=60.0, retries=0)], days=1 / 24))
    assert found.runs == 30
    assert found.skipped == 30


def test_nothing_is_removed_outside_the_run_window() -> None:
    pace = replace(STEADY, run_window=parse_run_window("01:00-02:00"))
    model = target(of=batching(pace=pace), rate=10.0)
    found = simulate(scenario(model, days=3))
    assert found.verdict is Verdict.KEEPS_UP
    # Two passes a day find it open, at one and never at two: what died after that waits until the next day.
    assert found.oldest == pytest.approx(DAY, rel=0.001)


def test_a_window_that_closes_ends_a_shard() -> None:
    pace = replace(STEADY, run_window=parse_run_window("00:00-00:01"))
    model = target(of=batching(pause=1.0, pace=pace), backlog=1e6)
    single = simulate_once(scenario(model), "p")
    assert single.deleting == near(60.0)
    assert single.batches == 239


def test_a_window_that_opens_in_time_is_waited_for() -> None:
    pace = replace(STEADY, run_window=parse_run_window("00:01-01:00"))
    single = simulate_once(scenario(target(of=batching(pace=pace), backlog=1000)), "p")
    assert single.deleting == near(60.0 + 0.002)


def test_the_oldest_goes_first_from_an_index_and_last_from_a_sweep() -> None:
    walk = target("walk", batching(pause=1.0), backlog=20_000, oldest=1000.0, timeout=10.0)
    sweep = replace(walk, name="sweep", batching=replace(walk.batching, way=Way.SWEEP))
    found = simulate(scenario(walk, sweep, passes=[PassModel("p", every=DAY, retries=0)], days=1 / 24))
    of_walk, of_sweep = found.targets
    assert of_walk.left == of_sweep.left == 10_000
    # Half of what was spread over a thousand seconds is gone, and the hour is over.
    assert of_walk.oldest == pytest.approx(500 + HOUR, abs=20)
    assert of_sweep.oldest == pytest.approx(1000 + HOUR, abs=20)


def test_a_store_is_used_as_much_as_its_batches_take() -> None:
    model = target(backlog=100_000)
    found = simulate(scenario(model, days=1 / 24))
    assert found.stores[0].used == near(100 * 0.002 / HOUR)


def test_passes_begin_at_multiples_of_their_interval() -> None:
    model = target(rate=1.0)
    late = scenario(model, days=1 / 24)
    found = simulate(replace(late, start=late.start + timedelta(minutes=50)))
    assert found.runs == 1
    assert found.targets[0].removed == near(600)
