"""The passes in another project's code location: runs carry its name, and only what is ours is pruned there."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    ScheduleInstigatorData,
    TickData,
    TickStatus,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from cleanup_pipeline.dagster_defs import names
from cleanup_pipeline.dagster_defs.places import OWN, CodePlace, place_of_pass, place_of_run
from cleanup_pipeline.dagster_defs.prune_runs import prune_runs
from cleanup_pipeline.dagster_defs.pruning import Ticks, prune
from cleanup_pipeline.dagster_defs.schedules import schedule_name
from cleanup_pipeline.settings.history import History

NOW = datetime.now(UTC)
OLD = (NOW - timedelta(days=400)).timestamp()
SHOP = CodePlace("shop", "__repository__")


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as made:
        yield made


def repository(location: str) -> RemoteRepositoryOrigin:
    target = LoadableTargetOrigin(module_name="x")
    return RemoteRepositoryOrigin(ManagedGrpcPythonEnvCodeLocationOrigin(target, location), names.REPOSITORY)


def schedule(instance: dg.DagsterInstance, location: str, name: str, ticked: float) -> InstigatorState:
    origin = RemoteInstigatorOrigin(repository(location), name)
    data = ScheduleInstigatorData("0 * * * *")
    state = InstigatorState(origin, InstigatorType.SCHEDULE, InstigatorStatus.RUNNING, data)
    instance.add_instigator_state(state)
    of = (state.instigator_origin_id, state.selector_id)
    instance.create_tick(TickData(of[0], name, InstigatorType.SCHEDULE, TickStatus.SKIPPED, ticked, selector_id=of[1]))
    return state


def test_the_location_of_a_pass_is_that_whose_schedule_ticked_last(instance: dg.DagsterInstance) -> None:
    assert place_of_pass(instance, "sessions") == OWN
    schedule(instance, "before", schedule_name("sessions"), OLD)
    schedule(instance, "shop", schedule_name("sessions"), NOW.timestamp())
    schedule(instance, "other", schedule_name("verification_tokens"), NOW.timestamp() + 1)
    assert place_of_pass(instance, "sessions") == SHOP
    assert place_of_pass(instance, "sessions").label == "__repository__@shop"


def test_the_location_of_a_run_is_that_of_its_job_or_its_tag(instance: dg.DagsterInstance) -> None:
    origin = RemoteJobOrigin(repository("shop"), "clean_sessions")
    assert place_of_run(dg.DagsterRun(job_name="clean_sessions", remote_job_origin=origin)) == SHOP
    tags = {".dagster/repository": SHOP.label}
    assert place_of_run(dg.DagsterRun(job_name="clean_sessions", tags=tags)) == SHOP
    assert place_of_run(dg.DagsterRun(job_name="clean_sessions")) == OWN


def test_ticks_of_their_schedules_stay(instance: dg.DagsterInstance) -> None:
    ours = schedule(instance, "shop", schedule_name("sessions"), OLD)
    theirs = schedule(instance, "shop", "nightly_schedule", OLD)
    elsewhere = schedule(instance, names.LOCATION, schedule_name("sessions"), OLD)
    prune(instance, History(), NOW, ticks=Ticks("shop", {schedule_name("sessions")}))
    left = [len(instance.get_ticks(s.instigator_origin_id, s.selector_id)) for s in (ours, theirs, elsewhere)]
    assert left == [0, 1, 1]


def test_runs_of_their_jobs_stay_also_in_a_location_of_our_name(instance: dg.DagsterInstance) -> None:
    label = {".dagster/repository": OWN.label}
    for job, tags in (("theirs", label), ("clean_sessions", {**label, names.PASS_TAG: "sessions"})):
        for _ in range(3):
            instance.add_run(dg.DagsterRun(job_name=job, status=dg.DagsterRunStatus.SUCCESS, tags=tags))
    prune_runs(instance, NOW + timedelta(days=1))
    # The newest of a job of ours stays, too.
    assert sorted(run.job_name for run in instance.get_runs()) == ["clean_sessions", "theirs", "theirs", "theirs"]
