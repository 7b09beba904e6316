"""A layout that only reports: no plan that is approved removes one of its records."""

import psycopg
import pytest

from cleanup_pipeline.engine.scan import ONLY_REPORTS
from cleanup_pipeline.model.words import StopReason
from tests.layouts.case import read_case, write
from tests.plans.conftest import House


@pytest.mark.parametrize("layout", ["keycloak", "authentik"])
def test_apply_leaves_it_alone(house: House, postgres_url: str, layout: str) -> None:
    case = read_case(layout)
    house.urls = {"CLEANUP_POSTGRES_URL": postgres_url}
    house.target = f"{{store: main, layout: {layout}}}"
    with psycopg.connect(postgres_url, autocommit=True) as db:
        written = write(db, case)
        settings = house.settings()
        assert all(target.report_only for target in settings.targets)
        plan_id, plan = house.plan(settings)
        assert plan.census.expired and ONLY_REPORTS in [finding.what for finding in plan.findings]
        report = house.run(settings, plan_id)
        assert {target.stop_reason for target in report.targets} == {StopReason.SKIPPED}
        assert sum(target.deleted for target in report.targets) == 0
        tables = {table for table, _ in written}
        left = sum(db.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0] for table in tables)  # type: ignore[index, call-overload]
        assert left == len(written)
