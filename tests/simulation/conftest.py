"""Small installations."""

from datetime import UTC, datetime
from typing import Any

from cleanup_pipeline.model.pace import Pace
from cleanup_pipeline.simulation.scenario import (
    Batching,
    Cost,
    Executor,
    PassModel,
    Scenario,
    StoreModel,
    TargetModel,
)

START = datetime(2026, 1, 1, tzinfo=UTC)
BARE = Executor(start_seconds=0.0, run_seconds=0.0, step_seconds=0.0)
"""Nothing but deleting takes time."""
STEADY = Pace(pause_share=0.0)
"""Only the configured pause."""


def batching(fixed: float = 0.001, per_record: float = 1e-6, **more: Any) -> Batching:
    return Batching(Cost(fixed, per_record, more.pop("per_look", 0.0)), **{"pace": STEADY, "pause": 0.0, **more})


def target(name: str = "a", of: Batching | None = None, **more: Any) -> TargetModel:
    return TargetModel(**{"name": name, "store": "pg", "of_pass": "p", "batching": of or batching(), **more})


def scenario(*targets: TargetModel, **more: Any) -> Scenario:
    return Scenario(
        **{
            "start": START,
            "stores": [StoreModel("pg")],
            "targets": targets,
            "passes": [PassModel("p")],
            "executor": BARE,
            **more,
        }
    )
