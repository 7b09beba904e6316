"""In which code location the passes are: our own, or that of a project that they are embedded in.

Runs of the command line carry its name, or that location's pages would not count them as theirs.
Does not belong here: what things are called in a location (names.py).
"""

from dataclasses import dataclass

import dagster as dg
from dagster._core.remote_origin import RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import InstigatorState, InstigatorType
from dagster._core.storage.tags import REPOSITORY_LABEL_TAG

from cleanup_pipeline.dagster_defs import names
from cleanup_pipeline.dagster_defs.schedules import schedule_name


@dataclass(frozen=True, slots=True)
class CodePlace:
    """A repository in a code location."""

    location: str
    repository: str

    @property
    def label(self) -> str:
        """As Dagster's webserver tags the runs that it launches."""
        return f"{self.repository}@{self.location}"


OWN = CodePlace(names.LOCATION, names.REPOSITORY)
"""That of workspace.yaml."""


def place_of_run(run: dg.DagsterRun) -> CodePlace:
    """Where a run's job is: by its origin, else by its tag."""
    if run.remote_job_origin is not None:
        return _place(run.remote_job_origin.repository_origin)
    repository, _, location = run.tags.get(REPOSITORY_LABEL_TAG, "").partition("@")
    return CodePlace(location, repository) if location else OWN


def place_of_pass(instance: dg.DagsterInstance, pass_name: str) -> CodePlace:
    """Where the daemon keeps the schedule of a pass; where several do, the one that ticked last. Before it ever did:
    our own."""
    schedules = instance.all_instigator_state(instigator_type=InstigatorType.SCHEDULE)
    found = [state for state in schedules if state.instigator_name == schedule_name(pass_name)]
    if not found:
        return OWN

    def last_tick(state: InstigatorState) -> float:
        ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1)
        return max((tick.timestamp for tick in ticks), default=0.0)

    newest = found[0] if len(found) == 1 else max(found, key=last_tick)
    return _place(newest.origin.repository_origin)


def _place(origin: RemoteRepositoryOrigin) -> CodePlace:
    return CodePlace(origin.code_location_origin.location_name, origin.repository_name)
