"""A pass over a framework's rows, undone: every table is byte for byte what it was."""

import os
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from cleanup_pipeline.engine.limits import limits_of
from cleanup_pipeline.engine.loop import Watch, clean_shard
from cleanup_pipeline.engine.scan import scan
from cleanup_pipeline.layouts import layouts
from cleanup_pipeline.model.removed import Fate
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.words import StoreType
from cleanup_pipeline.stores.base import StoreError
from cleanup_pipeline.stores.postgres import open_postgres
from tests.layouts.case import case_names, read_case, targets_for, write
from tests.stores.handing import Memory

WITH_OTHERS = ["django-oauth-toolkit", "simplejwt-blacklist", "devise-reset-tokens", "allauth-idp-tokens"]
"""Layouts with children, with rows that let go, with columns that are emptied. CLEANUP_ALL_LAYOUTS tries every one."""
REFUSED = "cannot keep what goes"


def content(db: Any) -> dict[str, list[str]]:
    tables = db.execute(
        "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.relkind = 'r' AND n.nspname NOT IN ('pg_catalog', 'information_schema')"
    ).fetchall()
    return {
        table: sorted(row[0] for row in db.execute(f"SELECT t::text FROM {table} t").fetchall()) for (table,) in tables
    }


@pytest.mark.parametrize("name", case_names() if os.environ.get("CLEANUP_ALL_LAYOUTS") else WITH_OTHERS)
def test_every_row_comes_back(name: str, postgres_url: str) -> None:
    case = read_case(name)
    store = open_postgres(StoreConfig("main", StoreType.POSTGRES, postgres_url))
    refused: dict[str, str] = {}
    done: list[tuple[Any, Memory]] = []
    with psycopg.connect(postgres_url, autocommit=True) as db:
        write(db, case)
        before = content(db)
        try:
            for plain in targets_for(layouts()[case.preset], case.params, case.columns):
                memory = Memory()
                target = replace(plain, quarantine=True, handover=memory)
                try:
                    plan = scan(store, target, dry_run=False)
                except StoreError as fault:
                    assert REFUSED in str(fault), fault
                    refused[target.name] = str(fault)
                    continue
                for shard in plan.work.shards:
                    clean_shard(store, target, plan.work, shard, plan.cutoff, limits_of(target), Watch(lambda _: None))
                done.append((target, memory))
            assert any(memory.went for _, memory in done) or refused
            assert (content(db) != before) == any(memory.went for _, memory in done)
            for target, memory in reversed(done):
                assert set(memory.back_to(store, target)) <= {Fate.RESTORED}, target.name
        finally:
            store.close()
        assert content(db) == before
    if name in WITH_OTHERS:
        assert not refused
    elif refused:
        print(f"{name}: {refused}")
