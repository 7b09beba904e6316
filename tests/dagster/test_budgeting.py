"""The share of a budget that falls to one shard, as the ledger counts those at work in all processes."""

from dataclasses import replace
from pathlib import Path

import pytest

from cleanup_pipeline.dagster_defs import budgeting
from cleanup_pipeline.dagster_defs.budgeting import budget_of
from cleanup_pipeline.ledger import open_ledger
from cleanup_pipeline.ledger.recorder import Recorder
from cleanup_pipeline.model.pace import Pace
from tests.ledger.records import PLAN, outcome
from tests.stores.postgres.conftest import make_target

TARGET = make_target(pace=Pace(budget=4000, store_budget=1000))


def test_each_shard_at_work_has_an_equal_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budgeting, "LOOK_SECONDS", 0.0)
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    recorder, ledger = Recorder(url), open_ledger(url)
    budget = budget_of(recorder, TARGET, "run-a")
    assert budget is not None
    # Alone, it may have all of what is its store's.
    assert budget.most(5000) == 1000
    plan = replace(PLAN, store=TARGET.store)
    for run in ("r1", "r2"):
        ledger.begin_pass(run, "sessions")
        ledger.begin_shard(run, plan, 0, at_most=0)
    assert budget.most(5000) == 500
    # On other stores eight more: of the whole budget there is less left for each than of the store's.
    for shard in range(8):
        ledger.begin_shard("r1", replace(plan, target="other", store="cache"), shard, at_most=0)
    assert budget.most(5000) == 400
    ledger.record_shard("r2", outcome(0, 20))
    ledger.close_pass("r1", "failed")
    assert budget.most(5000) == 1000
    # What comes next in this process goes on with it, and another run has one of its own.
    assert budget_of(recorder, TARGET, "run-a") is budget and budget_of(recorder, TARGET, "run-b") is not budget
    ledger.close()
    recorder.close()


def test_while_the_ledger_is_away_the_shares_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budgeting, "LOOK_SECONDS", 0.0)
    away = Recorder(f"sqlite:///{tmp_path}")
    budget = budget_of(away, TARGET, "run-c")
    assert budget is not None and budget.most(5000) == 1000
    assert budget_of(away, make_target(), "run-d") is None
    away.close()
