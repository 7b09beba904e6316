"""Where a layout is found. Which one: tests/layouts/test_init_finds.py."""

import psycopg

from cleanup_pipeline.layouts import layouts
from cleanup_pipeline.layouts.match import Recognised
from cleanup_pipeline.layouts.recognise import asked_for, recognise
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.words import StoreType
from cleanup_pipeline.stores.postgres import open_postgres


def found(url: str) -> list[Recognised]:
    store = open_postgres(StoreConfig("main", StoreType.POSTGRES, url))
    try:
        presets = list(layouts().values())
        return recognise(presets, StoreType.POSTGRES, store.survey(asked_for(presets, StoreType.POSTGRES)))
    finally:
        store.close()


def test_other_schemas(postgres_url: str) -> None:
    columns = "(session_key text, session_data text, expire_date timestamptz)"
    with psycopg.connect(postgres_url, autocommit=True) as db:
        db.execute(f"CREATE SCHEMA shop; CREATE TABLE shop.django_session {columns}")  # type: ignore[call-overload]
        [one] = found(postgres_url)
    assert (one.name, one.location.container, one.doubts) == ("django_sessions_shop", "shop", ())
