"""`sessions` is a table of many frameworks: a layout refuses that of another one, by its columns or their types."""

from collections import defaultdict
from typing import Any

import psycopg

from cleanup_pipeline.layouts import layouts
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.target import TableSource, Target
from cleanup_pipeline.model.words import StoreType
from cleanup_pipeline.settings.targets import targets_of
from cleanup_pipeline.stores.base import StoreError
from cleanup_pipeline.stores.postgres import open_postgres
from tests.layouts.case import case_names, read_case

GIVEN = {"duration": "1d", "zone": "UTC", "grace": "0s", "flag": True, "table": "sessions"}


def targets() -> dict[str, list[Target]]:
    """Every target of every PostgreSQL preset, by its table."""
    found: dict[str, list[Target]] = defaultdict(list)
    for preset in layouts().values():
        if preset.store_type is not StoreType.POSTGRES:
            continue
        params = {key: GIVEN[spec.type] for key, spec in preset.params.items() if spec.required}
        steps = preset.resolve(preset.params_model.model_validate(params))
        for target in targets_of(preset, steps, preset.name, "main"):
            assert isinstance(target.source, TableSource)
            found[target.source.table].append(target)
    return found


def test_another_frameworks_table_is_refused(postgres_url: str) -> None:
    known, tried = targets(), 0
    taken: set[tuple[str, str, str]] = set()
    store = open_postgres(StoreConfig("main", StoreType.POSTGRES, postgres_url))
    try:
        with psycopg.connect(postgres_url, autocommit=True) as db:
            for name in case_names():
                case = read_case(name)
                db.execute("DROP SCHEMA IF EXISTS auth, public CASCADE; CREATE SCHEMA public")
                db.execute(case.ddl)  # type: ignore[call-overload]
                for other in _of_others(db, case.preset, known):
                    tried += 1
                    try:
                        store.preflight(other)
                    except StoreError:
                        continue
                    taken.add((str(other.layout), other.source_name, case.preset))
    finally:
        store.close()
    # The sessions that allauth's entries point to are Django's own, and sso has two kinds of tokens in one table.
    assert taken == {
        ("django-sessions", "django_session", "allauth-usersessions"),
        ("sso-reset-password-tokens", "tokens", "sso-verify-email-tokens"),
        ("sso-verify-email-tokens", "tokens", "sso-reset-password-tokens"),
    }
    assert tried > 40


def _of_others(db: psycopg.Connection[Any], preset: str, known: dict[str, list[Target]]) -> list[Target]:
    tables = [row[0] for row in db.execute("SELECT relname FROM pg_class WHERE relkind = 'r'")]
    return [target for table in tables for target in known.get(table, ()) if target.layout != preset]
