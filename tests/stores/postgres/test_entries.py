"""Entries of a JSON object in a column: those that are over are cut out, the row and the others stay."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from cleanup_pipeline.model.rules import JsonEntriesExpiry
from cleanup_pipeline.stores.base import StoreError
from cleanup_pipeline.stores.postgres import PostgresStore
from tests.stores.postgres.conftest import Clean, make_target

Db = psycopg.Connection[Any]
RULE = JsonEntriesExpiry("tokens", "expiry")
TARGET = replace(make_target(), expiry=RULE)
HOUR_AGO = "extract(epoch FROM now() - interval '1 h')::bigint"
IN_AN_HOUR = "extract(epoch FROM now() + interval '1 h')::bigint"
OLD, NEW = f"json_build_object('expiry', {HOUR_AGO})", f"json_build_object('expiry', {IN_AN_HOUR})"


def users(db: Db, kind: str, rows: int) -> None:
    db.execute(f"CREATE TABLE s (id int PRIMARY KEY, tokens {kind})")  # type: ignore[call-overload]
    both = f"json_build_object('b', {OLD}, 'a', {NEW}, 'c', {OLD})::{kind}"
    query = f"INSERT INTO s SELECT i, CASE WHEN i % 2 = 0 THEN {both} END FROM generate_series(1, {rows}) i"
    db.execute(query)  # type: ignore[call-overload]


@pytest.mark.parametrize("kind", ["json", "jsonb"])
@pytest.mark.parametrize("batch", [3, 1000])
def test_entries_go_in_batches_of_rows(db: Db, store: PostgresStore, clean: Clean, kind: str, batch: int) -> None:
    users(db, kind, 40)
    report = clean(store, replace(TARGET, batch_size=batch))
    assert (report.deleted, report.survivors, report.without_expiry) == (20, 0, 20)
    assert report.largest_batch is None or report.largest_batch <= batch
    found = [row[0] for row in db.execute("SELECT tokens FROM s WHERE tokens IS NOT NULL")]
    assert len(found) == 20 and all(list(tokens) == ["a"] for tokens in found)


@pytest.mark.parametrize(
    "text",
    [
        '{"a": {"expiry": 1700000000, "x": "\\u0000"}}',
        '{"a": {"expiry": 1700000000, "x": "\\ud800"}}',
        '{"a": {"expiry": 99999999999999999999999}}',
        '{"a": {"expiry": 1e400}}',
        '{"a": {"expiry": -1}}',
        '{"a": {"expiry": [1700000000]}}',
        '{"a": {"expiry": true}, "b": null, "c": [], "d": "x"}',
        '"x"',
        "null",
        "[]",
        '{"expiry": 1700000000}',
    ],
)
def test_nothing_fails_on_a_value_and_what_is_odd_stays(db: Db, store: PostgresStore, clean: Clean, text: str) -> None:
    db.execute("CREATE TABLE s (id int PRIMARY KEY, tokens json)")
    db.execute("INSERT INTO s VALUES (1, %s)", (text,))
    db.execute(f"INSERT INTO s VALUES (2, json_build_object('a', {OLD}))")  # type: ignore[call-overload]
    report = clean(store, TARGET)
    assert (report.deleted, report.survivors) == (1, 0)
    assert db.execute("SELECT tokens::text FROM s ORDER BY id").fetchall() == [(text,), ("{}",)]


def test_a_window_leaves_what_died_before_it(db: Db, store: PostgresStore, clean: Clean) -> None:
    users(db, "jsonb", 2)
    since = store.clock() - timedelta(minutes=30)
    assert clean(store, replace(TARGET, since=since)).deleted == 0
    assert clean(store, TARGET).deleted == 1


def test_text_is_refused(db: Db, store: PostgresStore) -> None:
    users(db, "text", 2)
    with pytest.raises(StoreError, match="column tokens is text, not json or jsonb"):
        store.preflight(TARGET)
    with pytest.raises(StoreError, match="has no column nothing"):
        store.preflight(replace(TARGET, expiry=JsonEntriesExpiry("nothing", "expiry")))


def test_a_login_that_writes_at_the_same_moment_loses_nothing(
    db: Db, postgres_url: str, store: PostgresStore, clean: Clean
) -> None:
    """The row is held while the pass looks at it: what the login wrote is what is cut."""
    users(db, "jsonb", 2)
    with psycopg.connect(postgres_url) as login:
        login.execute(
            f"UPDATE s SET tokens = tokens || jsonb_build_object('new', {NEW}) WHERE id = 2"  # type: ignore[call-overload]
        )
        held = clean(store, replace(TARGET, operation_timeout=timedelta(seconds=5)))
        assert held.deleted == 0 and held.survivors == 1
    clean(store, TARGET)
    row = db.execute("SELECT tokens FROM s WHERE id = 2").fetchone()
    assert row and sorted(row[0]) == ["a", "new"], json.dumps(row)


def test_an_entry_of_the_second_that_the_cutoff_lies_in_goes_too(db: Db, store: PostgresStore, clean: Clean) -> None:
    db.execute("CREATE TABLE s (id int PRIMARY KEY, tokens jsonb)")
    # One a second: whatever the moment, one of them died within the second of the cutoff.
    db.execute(
        "INSERT INTO s SELECT 1, jsonb_object_agg(n, jsonb_build_object('expiry', extract(epoch FROM now())::bigint"
        " + n)) FROM generate_series(-90, 90) n"
    )
    report = clean(store, TARGET)
    assert (report.deleted, report.survivors) == (1, 0)
    left = db.execute("SELECT count(*) FROM s, jsonb_object_keys(tokens)").fetchone()
    assert left and 0 < left[0] <= 91
