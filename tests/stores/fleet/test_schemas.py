"""One target for the schemas of many tenants: each is judged and cleaned by itself, in turns."""

from pathlib import Path
from typing import Any

import psycopg
import pytest

from cleanup_pipeline.engine.applying import facets_of
from cleanup_pipeline.engine.scan import scan
from cleanup_pipeline.model.lease import Lease
from cleanup_pipeline.model.outcome import Tally
from cleanup_pipeline.model.words import Severity, StopReason
from cleanup_pipeline.stores.base import Leases, SourceMissingError
from cleanup_pipeline.stores.open import open_store, store_for
from tests.stores.fleet.conftest import Pass, left, settings_of, tenant

TENANTS = """
cleanup: {batch_size: 50, pause: 0s, max_shards: 1}
stores:
  main: {type: postgres, url: "${URL}"}
targets:
  sessions: {store: main, table: sessions, schemas: tenant_*, exclude_members: [tenant_test], mode: delete,
             expires: {column: expires_at}}
"""

Db = psycopg.Connection[Any]


def test_each_tenant_is_cleaned_and_no_other_schema(db: Db, postgres_url: str, run: Pass) -> None:
    for name, expired in (("tenant_a", 120), ("tenant_b", 3), ("tenant_c", 0), ("tenant_test", 7), ("other", 7)):
        tenant(db, name, expired)
    db.execute("CREATE TABLE public.sessions AS SELECT 1 AS id, now() - interval '9 days' AS expires_at")
    report, [outcome] = run(TENANTS, environ={"URL": postgres_url})
    assert report.error is None and report.deleted == 123 and report.survivors == 0 and report.expired_found == 123
    assert [left(db, name) for name in ("tenant_a", "tenant_b", "tenant_c", "tenant_test", "other", "public")] == [
        *(2, 2, 2),
        *(9, 9, 1),
    ]
    members = report.members
    assert members is not None and dict(members.top) == {"tenant_a": 120, "tenant_b": 3}
    assert (members.found, members.finished, members.others, members.fault) == (3, 3, 0, None)
    assert outcome.tally.largest_batch == 50


def test_a_dry_run_counts_all_and_deletes_nothing(db: Db, postgres_url: str, run: Pass) -> None:
    tenant(db, "tenant_a", 5)
    tenant(db, "tenant_b", 6)
    report, _ = run(TENANTS, environ={"URL": postgres_url}, dry_run=True)
    assert report.expired_found == 11 and report.stop_reason is StopReason.DRY_RUN
    assert "most expired: tenant_b 6, tenant_a 5" in report.why and left(db, "tenant_a") == 7


def test_a_large_tenant_does_not_starve_small_ones(db: Db, postgres_url: str, run: Pass) -> None:
    tenant(db, "tenant_a", 5000, days=9)
    for number in range(6):
        tenant(db, f"tenant_s{number}", 10, days=1)
    # The whole pass is stopped after so many batches: the large one alone would need a hundred.
    batches: list[Tally] = []

    def stop() -> StopReason | None:
        return StopReason.TERMINATED if batches and batches[-1].batches >= 24 else None

    report, _ = run(TENANTS, environ={"URL": postgres_url}, progress=batches.append, stop_asked=stop)
    assert [left(db, f"tenant_s{number}") for number in range(6)] == [2] * 6
    # It had its turns as well, and what it has left makes the target red.
    assert 2 + 5000 > left(db, "tenant_a") >= 2 + 5000 - 24 * 50
    assert report.survivors == left(db, "tenant_a") - 2 and report.error is not None


def test_who_was_served_least_comes_first_in_the_next_pass(db: Db, postgres_url: str, tmp_path: Path) -> None:
    tenant(db, "tenant_a", 10, days=2)
    tenant(db, "tenant_b", 10, days=8)
    tenant(db, "tenant_c", 0)
    settings = settings_of(TENANTS, tmp_path, {"URL": postgres_url})
    store = open_store(settings.stores["main"])
    [shard] = scan(store, settings.targets[0], dry_run=False).work.shards
    store.close()
    listed = str(shard.bounds["members"])
    assert listed.index("tenant_b") < listed.index("tenant_a") < listed.index("tenant_c")


def test_tenants_that_differ_are_told_and_keep_nobody_back(db: Db, postgres_url: str, run: Pass) -> None:
    tenant(db, "tenant_a", 60)
    tenant(db, "tenant_b", 60)
    db.execute("CREATE SCHEMA tenant_empty")
    tenant(db, "tenant_x", 5)
    db.execute("ALTER TABLE tenant_x.sessions RENAME COLUMN expires_at TO ends_at")
    report, _ = run(TENANTS, environ={"URL": postgres_url})
    assert report.deleted == 120 and left(db, "tenant_x") == 7
    assert report.error is not None and "tenant_x" in report.error and "expires_at" in report.error
    told = {each.code: each for each in report.findings}
    assert told["members.missing"].severity is Severity.WARNING and "tenant_empty" in told["members.missing"].what
    assert "tenant_x" in told["members.refused"].what
    assert report.members is not None and report.members.failed == ("tenant_x",) and report.members.finished == 2


def test_a_tenant_that_went_meanwhile_is_no_fault_and_a_new_one_is_the_next_pass_s(
    db: Db, postgres_url: str, run: Pass
) -> None:
    tenant(db, "tenant_a", 5)
    tenant(db, "tenant_b", 5)

    def meanwhile() -> None:
        db.execute("DROP SCHEMA tenant_b CASCADE")
        tenant(db, "tenant_new", 5)

    report, _ = run(TENANTS, environ={"URL": postgres_url}, before_deleting=meanwhile)
    assert report.error is None and report.deleted == 5 and left(db, "tenant_new") == 7
    report, _ = run(TENANTS, environ={"URL": postgres_url})
    assert report.deleted == 5 and left(db, "tenant_new") == 2


def test_nothing_named_so_is_a_fault(db: Db, postgres_url: str, run: Pass) -> None:
    tenant(db, "other", 5)
    with pytest.raises(SourceMissingError, match="nothing is named as its patterns say"):
        run(TENANTS, environ={"URL": postgres_url})
    db.execute("CREATE SCHEMA tenant_a")
    with pytest.raises(SourceMissingError, match="none of its 1 members has sessions"):
        run(TENANTS, environ={"URL": postgres_url})


def test_one_whose_table_is_locked_keeps_nobody_back(db: Db, postgres_url: str, run: Pass) -> None:
    for name in ("tenant_a", "tenant_b"):
        tenant(db, name, 20)
    quick = TENANTS.replace('url: "${URL}"', 'url: "${URL}", lock_timeout: 20ms')
    with psycopg.connect(postgres_url) as other:

        def lock() -> None:
            other.execute("LOCK TABLE tenant_a.sessions IN ACCESS EXCLUSIVE MODE")

        report, _ = run(quick, environ={"URL": postgres_url}, before_deleting=lock)
    assert left(db, "tenant_b") == 2 and left(db, "tenant_a") == 22
    assert report.error is not None and "tenant_a" in report.error and "lock" in report.error
    assert report.survivors is None


def test_one_whose_batches_take_too_long_has_the_others_before_it(db: Db, postgres_url: str, run: Pass) -> None:
    tenant(db, "tenant_a", 60, days=9)
    tenant(db, "tenant_b", 200)
    db.execute(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.4); RETURN OLD; END'"
    )
    db.execute("CREATE TRIGGER slow BEFORE DELETE ON tenant_a.sessions FOR EACH ROW EXECUTE FUNCTION slow()")
    impatient = TENANTS.replace('url: "${URL}"', 'url: "${URL}", statement_timeout: 300ms')
    first: list[int] = []
    report, [outcome] = run(
        impatient, environ={"URL": postgres_url}, progress=lambda tally: first.append(tally.deleted)
    )
    assert [left(db, name) for name in ("tenant_a", "tenant_b")] == [62, 2] and first[1] == 50
    assert outcome.stop_reason is StopReason.EXHAUSTED and (outcome.tally.halvings, outcome.tally.largest_batch) == (
        0,
        50,
    )
    assert report.members is not None and report.members.failed == ("tenant_a",) and report.members.finished == 1
    assert report.error is not None and "tenant_a" in report.error and "statement_timeout" in report.error


def test_one_whose_batches_take_too_long_is_cleaned_in_smaller_ones(db: Db, postgres_url: str, run: Pass) -> None:
    tenant(db, "tenant_a", 60, days=9)
    tenant(db, "tenant_b", 200)
    db.execute(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.03); RETURN OLD; END'"
    )
    db.execute("CREATE TRIGGER slow BEFORE DELETE ON tenant_a.sessions FOR EACH ROW EXECUTE FUNCTION slow()")
    impatient = TENANTS.replace('url: "${URL}"', 'url: "${URL}", statement_timeout: 800ms')
    report, [outcome] = run(impatient, environ={"URL": postgres_url})
    assert [left(db, name) for name in ("tenant_a", "tenant_b")] == [2, 2]
    # Whole batches for the others all the while.
    assert (outcome.tally.halvings, outcome.tally.largest_batch, report.error) == (0, 50, None)


def test_two_runs_do_not_clean_one_template_at_once(db: Db, postgres_url: str, run: Pass, tmp_path: Path) -> None:
    tenant(db, "tenant_a", 5)
    settings = settings_of(TENANTS, tmp_path, {"URL": postgres_url})
    [target] = settings.targets
    other = open_store(settings.stores["main"])
    fleet = store_for(other, target)
    assert isinstance(fleet, Leases)

    def take() -> None:
        assert isinstance(fleet.acquire(target, Lease("another-run", 0, "there")), Lease)

    report, [outcome] = run(TENANTS, environ={"URL": postgres_url}, before_deleting=take)
    assert outcome.stop_reason is StopReason.SKIPPED and left(db, "tenant_a") == 7
    other.close()
    report, _ = run(TENANTS, environ={"URL": postgres_url})
    assert report.deleted == 5


def test_a_plan_is_void_once_a_tenant_came(db: Db, postgres_url: str, tmp_path: Path) -> None:
    tenant(db, "tenant_a", 5)
    settings = settings_of(TENANTS, tmp_path, {"URL": postgres_url})
    [target] = settings.targets
    store = open_store(settings.stores["main"])
    planned = facets_of(target, store)
    assert facets_of(target, store) == planned
    tenant(db, "tenant_b", 5)
    changed = {name for name, value in facets_of(target, store).items() if planned[name] != value}
    store.close()
    assert changed == {"members"}
