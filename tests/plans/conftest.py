"""A plan made and applied in this process: a real store, a ledger and a Dagster instance of its own."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest

from cleanup_pipeline.cli.plan_making import make_plan
from cleanup_pipeline.dagster_defs.build import build_defs
from cleanup_pipeline.dagster_defs.closing import close_pass
from cleanup_pipeline.dagster_defs.events import plans_and_outcomes
from cleanup_pipeline.ledger import Ledger, open_ledger
from cleanup_pipeline.model.outcome import PassReport
from cleanup_pipeline.model.outline import Drift
from cleanup_pipeline.model.plan import Plan
from cleanup_pipeline.settings import Settings, load_settings
from tests.plans.places import Documents, Keys, Place, Table

SETTINGS = """
cleanup: {batch_size: 7, pause: 0s}
stores:
  main: {type: postgres, url: "${CLEANUP_POSTGRES_URL}"}
  cache: {type: redis, url: "${CLEANUP_REDIS_URL}"}
  docs: {type: mongo, url: "${CLEANUP_MONGO_URL}"}
targets:
  web: TARGET
"""
_NOWHERE = {
    "CLEANUP_POSTGRES_URL": "postgresql://127.0.0.1:9/none",
    "CLEANUP_REDIS_URL": "redis://127.0.0.1:9/0",
    "CLEANUP_MONGO_URL": "mongodb://127.0.0.1:9/none",
}


@dataclass
class House:
    """Settings, ledger and Dagster, and what is done with them."""

    folder: Path
    instance: dg.DagsterInstance
    ledger: Ledger
    urls: dict[str, str]
    target: str = ""

    def settings(self, target: str | None = None) -> Settings:
        file = self.folder / "cleanup.yaml"
        file.write_text(SETTINGS.replace("TARGET", target or self.target))
        return load_settings(file, {**_NOWHERE, **self.urls})

    def plan(self, settings: Settings | None = None) -> tuple[str, Plan]:
        """A plan of the one target: its id, and what it is."""
        settings = settings or self.settings()
        plan_id, plans, faults = make_plan(settings, settings.targets, self.ledger)
        assert not faults, faults
        return plan_id, plans[0]

    def run(self, settings: Settings | None = None, plan: str = "", *, dry_run: bool = False) -> PassReport:
        """The pass, by itself or to carry out a plan."""
        settings = settings or self.settings()
        options = {"dry_run": dry_run, "plan": plan}
        quiet = {"console": {"config": {"log_level": "CRITICAL"}}}
        result = (
            build_defs(settings)
            .resolve_job_def("clean_sessions")
            .execute_in_process(
                instance=self.instance,
                run_config={"resources": {"pass_options": {"config": options}}, "loggers": quiet},
                raise_on_error=False,
            )
        )
        return close_pass(self.instance, result.run_id, "sessions", settings.targets_of("sessions"))

    def drift(self, report: PassReport) -> Drift:
        """What a run that carried out a plan found."""
        assert report.run_id is not None
        [plan] = [plan for _, plan, _ in plans_and_outcomes(self.instance, report.run_id) if plan is not None]
        assert plan.approval is not None and plan.approval.drift is not None
        return plan.approval.drift


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    url = f"sqlite:///{tmp_path}/ledger.db"
    monkeypatch.setenv("CLEANUP_LEDGER_URL", url)
    monkeypatch.delenv("CLEANUP_PLAN_KEY", raising=False)
    ledger = open_ledger(url)
    with dg.instance_for_test() as instance:
        yield House(tmp_path, instance, ledger, {})
    ledger.close()


Furnish = Callable[[str], Place]


@pytest.fixture
def furnish(house: House, request: pytest.FixtureRequest) -> Iterator[Furnish]:
    """A place in the store of this type, and a target that is about it, in mode dry_run."""
    made: list[Place] = []

    def _furnish(store_type: str) -> Place:
        url = str(request.getfixturevalue(f"{store_type}_url"))
        places: dict[str, Callable[[str], Place]] = {"postgres": Table, "redis": Keys, "mongo": Documents}
        place = places[store_type](url)
        made.append(place)
        house.urls = {f"CLEANUP_{store_type.upper()}_URL": url}
        house.target = place.target
        return place

    yield _furnish
    for place in made:
        place.close()
