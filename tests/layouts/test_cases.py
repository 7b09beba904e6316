"""Each preset over rows as its framework writes them: what has to go goes, what has to stay stays, row by row."""

from typing import Any

import psycopg
import pytest

from cleanup_pipeline.layouts import layouts
from cleanup_pipeline.model.words import StoreType
from tests.layouts.case import (
    Case,
    Key,
    Naive,
    Row,
    case_names,
    clean,
    left,
    read_case,
    refuses_to_delete,
    targets_for,
    write,
    wrongs,
)

Db = psycopg.Connection[Any]


@pytest.fixture(params=case_names())
def case(request: pytest.FixtureRequest) -> Case:
    return read_case(request.param)


@pytest.fixture
def db(postgres_url: str) -> Any:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        yield connection


def test_what_goes_and_what_stays(case: Case, db: Db, postgres_url: str) -> None:
    written = write(db, case)
    tables = sorted({row.table for row in case.rows})
    for naive in case.naive:
        assert not _naive(db, written, naive)
    targets = targets_for(layouts()[case.preset], case.params, case.columns)
    reports = clean(postgres_url, targets)
    nulled = {target.source_name: target.set_null for target in targets if target.set_null}
    assert not wrongs(written, left(db, tables), nulled)
    assert {name: report.survivors for name, report in reports.items()} == dict.fromkeys(reports, 0)
    goes = sum(row.fate != "stays" for row in case.rows)
    assert sum(report.deleted + report.children for report in reports.values()) >= goes > 0
    if case.without_expiry is not None:
        assert sum(report.without_expiry or 0 for report in reports.values()) == case.without_expiry
    # Nothing is left for a second pass: what it would still take was kept by the order of the steps alone.
    assert sum(report.deleted for report in clean(postgres_url, targets).values()) == 0


def test_what_only_reports_refuses_to_delete(case: Case) -> None:
    """And what does not does not."""
    assert refuses_to_delete(layouts()[case.preset], case) == case.report_only


def test_which_only_report() -> None:
    assert {name for name in case_names() if read_case(name).report_only} == {"keycloak", "authentik"}
    assert {preset.name for preset in layouts().values() if preset.report_only} == {"keycloak", "authentik"}


def _naive(db: Db, written: dict[Key, Row], naive: Naive) -> list[str]:
    """What the naive statement does not do, although the case says so. It is undone."""
    tables = sorted({row.table for row in written.values()})
    with db.transaction(force_rollback=True):
        db.execute("SET CONSTRAINTS ALL IMMEDIATE")
        db.execute(naive.sql)  # type: ignore[call-overload]
        there = {written[key].why for key in left(db, tables) if key in written}
    stays = {row.why for row in written.values() if row.fate != "goes"}
    goes = {row.why for row in written.values() if row.fate != "stays"}
    faults = [f"does not kill {why!r}" for why in naive.kills if why in there or why not in stays]
    return faults + [f"does not miss {why!r}" for why in naive.misses if why not in there or why not in goes]


def test_every_postgres_preset_has_a_case_or_a_framework() -> None:
    covered = {read_case(name).preset for name in case_names()}
    for preset in layouts().values():
        if preset.must_keep and preset.store_type is StoreType.POSTGRES:
            assert preset.name in covered, preset.name
