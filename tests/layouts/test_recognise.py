"""`init` finds the layout that is there, and none that is not."""

import psycopg
import pytest

from cleanup_pipeline.layouts import layouts
from cleanup_pipeline.layouts.match import Recognised
from cleanup_pipeline.layouts.recognise import asked_for, recognise
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.words import StoreType
from cleanup_pipeline.stores.postgres import open_postgres
from tests.layouts.case import case_names, read_case

Db = psycopg.Connection[tuple[object, ...]]


def found(url: str) -> list[Recognised]:
    store = open_postgres(StoreConfig("main", StoreType.POSTGRES, url))
    try:
        presets = list(layouts().values())
        return recognise(presets, StoreType.POSTGRES, store.survey(asked_for(presets, StoreType.POSTGRES)))
    finally:
        store.close()


@pytest.mark.parametrize("name", case_names())
def test_the_tables_of_each_framework_are_its_own(name: str, postgres_url: str) -> None:
    case = read_case(name)
    if case.columns:
        pytest.skip("columns that the application renamed are not recognised")
    with psycopg.connect(postgres_url, autocommit=True) as db:
        db.execute(case.ddl)  # type: ignore[call-overload]
    names = {each.preset.name for each in found(postgres_url)}
    if layouts()[case.preset].missing(None).keys() & {"table"}:
        assert names == set(), "nobody but the application knows the name"
        return
    assert names == {case.preset} | ({"django-sessions"} if "TABLE django_session " in case.ddl else set())


def test_other_schemas(postgres_url: str) -> None:
    columns = "(session_key text, session_data text, expire_date timestamptz)"
    with psycopg.connect(postgres_url, autocommit=True) as db:
        db.execute(f"CREATE SCHEMA shop; CREATE TABLE shop.django_session {columns}")  # type: ignore[call-overload]
        [one] = found(postgres_url)
    assert (one.name, one.location.container, one.doubts) == ("django_sessions_shop", "shop", ())
