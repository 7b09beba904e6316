"""A layout of several steps in one pass: they take turns, and what one lets die is not called left behind."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cleanup_pipeline.model.outcome import ShardOutcome, Tally
from cleanup_pipeline.model.plan import Census, Plan, Shard, Work
from cleanup_pipeline.model.words import PassStatus, StopReason, StoreType
from cleanup_pipeline.reporting.fold import fold_target
from tests.dagster.conftest import Run, settings_from
from tests.layouts.case import left, read_case, write, wrongs

TARGETS = """
stores:
  main: {type: postgres, url: "${CLEANUP_POSTGRES_URL}"}
targets:
  oauth:
    store: main
    layout: django-oauth-toolkit
    params: {refresh_ttl: 30d, revoked_kept: 2d, orphans: true}
    mode: delete
    pass: sessions
"""


def test_one_pass_is_enough(postgres_url: str, tmp_path: Path, run: Run) -> None:
    """An access token goes in the same pass as the refresh token that kept it."""
    case = read_case("django-oauth-toolkit")
    with psycopg.connect(postgres_url, autocommit=True) as db:
        written = write(db, case)
        result, report = run(settings_from(TARGETS, tmp_path, postgres_url))
        assert result.success, report
        assert not wrongs(written, left(db, sorted({row.table for row in case.rows})), {})
    assert report.status is PassStatus.SUCCEEDED
    assert {t.target: (t.deleted, t.survivors) for t in report.targets} == {
        "oauth_revoked_refresh": (1, 0),
        "oauth_orphaned_refresh": (1, 0),
        "oauth_expired_refresh": (1, 0),
        "oauth_access": (3, 0),
        "oauth_id_tokens": (1, 0),
        "oauth_grants": (1, 0),
        "oauth_device_grants": (1, 0),
    }


@pytest.mark.parametrize(
    ("by_others", "counted", "left_behind"),
    [
        (True, 7, 2),  # five more died by the work of another target
        (True, 1, 1),
        (True, None, None),
        (False, 7, 7),
    ],
)
def test_what_died_meanwhile_is_not_left_behind(by_others: bool, counted: int | None, left_behind: int | None) -> None:
    shard = Shard(0)
    census = Census(live=0, expired=10, without_expiry=0, unparsable=0, exact=True)
    known: dict[str, Any] = {"dry_run": False, "judged_by_others": by_others}
    work = Work("block_sweep", "", (shard,))
    plan = Plan("t", "main", StoreType.POSTGRES, "session", datetime.now(UTC), census=census, work=work, **known)
    outcome = ShardOutcome("t", 0, Tally(deleted=8), StopReason.EXHAUSTED, 1.0)
    assert fold_target(plan, [outcome], counted).survivors == left_behind
