"""Whether a store could remove a target's expired records by itself, and how one gets there."""

from dataclasses import dataclass
from enum import StrEnum

from cleanup_pipeline.model.target import Target
from cleanup_pipeline.model.words import Mode


class Native(StrEnum):
    """What a store can do for a target by itself."""

    WORKS = "works"
    """It does so already."""
    POSSIBLE = "possible"
    CHANGE_FIRST = "change_first"
    """Not with the records as they are written now."""
    NO = "no"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do, with what to type, if anything: `command` is whole, of the target's own names, and quoted."""

    what: str
    command: str = ""


@dataclass(frozen=True, slots=True)
class Way:
    """One way to have the store do it, the steps in their order."""

    name: str
    steps: tuple[Step, ...]
    loses: tuple[str, ...] = ()
    """What a pass does and the store does not."""


@dataclass(frozen=True, slots=True)
class Advice:
    """What is advised for one target."""

    target: str
    native: Native
    why: tuple[str, ...] = ()
    """One line each; for `no` and `change_first`, the reasons."""
    ways: tuple[Way, ...] = ()
    backlog: int | None = None
    """Expired records, which a store that does it alone would remove at once; None: unknown."""


def drain(target: Target) -> Step:
    """What comes first: whatever the store does, it does to the whole backlog at once."""
    what = "drain what has piled up, gently, until "
    if target.mode is Mode.DELETE:
        return Step(f"{what}passes find little", f"cleanup-pipeline run {target.pass_name}")
    # A pass would only look at it, and clean the others of the pass.
    how = "read this plan, and type the `cleanup-pipeline apply` that it ends with, which is about this target alone"
    return Step(f"{what}a plan finds little: {how}", f"cleanup-pipeline plan {target.name}")
