"""A budget that shards share: its arithmetic by a clock of the test's own, and what a real shard is held to."""

from cleanup_pipeline.engine.budget import Budget
from cleanup_pipeline.engine.loop import Watch, clean_shard
from cleanup_pipeline.engine.scan import scan
from cleanup_pipeline.model.outcome import ShardOutcome
from cleanup_pipeline.stores.postgres import PostgresStore
from tests.engine.conftest import QUICK, TARGET, Db, fill, ids


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_what_is_spent_is_waited_for() -> None:
    clock, rate = Clock(), [50.0]
    budget = Budget(lambda: rate[0], clock)
    assert budget.most(1000) == 50 and budget.due_in() == 0
    budget.spend(50)
    assert budget.due_in() == 1.0
    clock.now += 0.5
    # Half the share from now on, as somebody else began: what comes next is paid at the new rate.
    rate[0] = 25.0
    budget.spend(10)
    assert abs(budget.due_in() - (0.5 + 10 / 25)) < 1e-9
    clock.now += 100
    assert budget.due_in() == 0
    # Nothing is saved up while nobody deletes.
    budget.spend(25)
    assert budget.due_in() == 1.0


def test_a_tiny_share_goes_on_one_by_one_and_no_budget_holds_nobody_back() -> None:
    clock = Clock()
    tiny = Budget(lambda: 0.25, clock)
    assert tiny.most(1000) == 1
    tiny.spend(1)
    assert tiny.due_in() == 4.0
    free = Budget(lambda: None, clock)
    free.spend(10_000)
    assert free.most(1000) == 1000 and free.due_in() == 0


def test_a_shard_keeps_to_its_share(db: Db, store: PostgresStore) -> None:
    fill(db, 90, live=5)
    plan = scan(store, TARGET, dry_run=False)
    outcomes: list[ShardOutcome] = []
    watch = Watch(outcomes.append, budget=Budget(lambda: 60.0))
    [shard] = plan.work.shards
    clean_shard(store, TARGET, plan.work, shard, plan.cutoff, QUICK, watch)
    [outcome] = outcomes
    assert outcome.tally.deleted == 90 and len(ids(db)) == 5
    assert outcome.tally.largest_batch <= 60
    # The first sixty are a second's worth, and nothing goes before that is over.
    assert outcome.seconds >= 1.0 and outcome.tally.slowed["budget"] >= 1 and outcome.tally.waited_seconds > 0
