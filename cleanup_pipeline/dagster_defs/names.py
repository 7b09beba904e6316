"""How the user's names become Dagster's: one place, so that UI, CLI and sensors agree."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

Metadata = Mapping[str, dg.MetadataValue[Any] | str | int | float]
"""What an op puts on its step, its output or its asset."""

JOB_PREFIX = "clean_"
SUMMARIZE = "summarize"
OPTIONS = "pass_options"
LEDGER = "ledger"
KEEPING = "keeping"
"""What is kept of removed records."""
IO_MANAGER = "io_manager"
"""Dagster's own key of what keeps that which a step hands on."""

PASS_TAG = "cleanup/pass"  # noqa: S105 - a pass, not a password
DRY_RUN_TAG = "cleanup/dry_run"
STATUS_TAG = "cleanup/status"
DELETED_TAG = "cleanup/deleted"
SURVIVORS_TAG = "cleanup/survivors"
SCHEDULED_TAG = "cleanup/scheduled"
"""The pass, on the runs that its schedule starts: dagster.yaml lets one of them run at a time."""
ATTEMPT_TAG = "cleanup/attempt"
"""How often a scheduled pass was tried again before this run."""
RETRY_OF_TAG = "cleanup/retry_of"
BRAKED_TAG = "cleanup/braked"
"""Targets that a run did not delete from because a brake held them, by name, with blanks between."""
ONLY_BRAKED_TAG = "cleanup/only_braked"
"""On a red run whose red targets were all held by brakes: trying again is no use before somebody let them go."""
CANARY_TAG = "cleanup/canary"
"""Targets of which a record that was planted to be watched went and must not, by name, with blanks between."""
LEDGER_TAG = "cleanup/ledger"
"""On a run that the ledger lacks something of: MISSING, and LATE once it was written down from the run's events."""
MISSING, LATE = "missing", "late"
GIVEN_UP_TAG = "cleanup/given_up"
"""On a failed run after which its pass is not tried again."""
WITNESS_OF_TAG = "cleanup/witness_of"
"""The run of a pass, on the run of the checks that looks behind it."""
UPKEEP_TAG = "cleanup/upkeep"
"""On runs that look after the product itself."""
BACKFILL_TAG = "cleanup/backfill"
"""The id of a backfill that the command line started."""

PLAN_TAG = "cleanup/plan"
"""The plan that a run made, as its own, or carried out. `cleanup-pipeline plan --show` has it."""
APPLIES_TAG = "cleanup/applies"
"""The plan that somebody made before, on the run that carries it out."""

LOCATION = "cleanup_pipeline"
REPOSITORY = "__repository__"
"""The code location of workspace.yaml, and what Dagster calls the Definitions in it. Other projects that embed the
passes have their own (places.py)."""
ASSETS = "cleanup"
"""The first part of the key of each of our assets."""
PARTITION_TAG = "dagster/partition"
PARTITION_SET_TAG = "dagster/partition_set"
DAGSTER_BACKFILL_TAG = "dagster/backfill"


EMBEDDED = "cleanup_"
"""Before each name of a job, schedule, sensor, op or group in another project that any project might have of its own,
such as `report`. In our own location there is nothing before them."""


def job_name(pass_name: str) -> str:
    """The job of a pass: `sessions` -> `clean_sessions`."""
    return f"{JOB_PREFIX}{pass_name}"


def witness_job_name(pass_name: str) -> str:
    """The job of the checks of a pass's targets: `sessions` -> `witness_sessions`."""
    return f"witness_{pass_name}"


def resource_key(store: str) -> str:
    """The resource that wraps a store: `main` -> `store_main`."""
    return f"store_{store}"


def pool(store: str) -> str:
    """The pool of a store's delete steps: `main` -> `cleanup_main`."""
    return f"cleanup_{store}"


def asset_key(target: str) -> dg.AssetKey:
    """The asset whose materializations are the history of a target."""
    return dg.AssetKey([ASSETS, target])
