"""A sweep goes by place, whatever an index offers: it passes over no row, also where some are locked."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg

from cleanup_pipeline.stores.postgres import PostgresStore
from tests.stores.postgres.conftest import Clean, make_target

Db = psycopg.Connection[Any]


def test_locked_rows_and_an_index_that_hands_rows_on_in_its_own_order(
    db: Db, store: PostgresStore, clean: Clean, postgres_url: str
) -> None:
    db.execute("CREATE TABLE s (id int PRIMARY KEY, kind text, expires_at timestamptz, x text)")
    db.execute(
        "INSERT INTO s SELECT n, CASE WHEN n % 5 = 0 THEN 'k' || n % 4000 ELSE 'reset' END,"
        " now() - (1 + hashint4(n)::bigint % 500000 + 600000) * interval '1 second', repeat('x', 30)"
        " FROM generate_series(1, 60000) n"
    )
    db.execute("CREATE INDEX ON s (kind, expires_at)")
    db.execute("VACUUM ANALYZE s")
    locked = [1, 1001, 4001, 8001]
    target = replace(make_target(), where={"kind": "reset"}, pause=timedelta(0))
    with psycopg.connect(postgres_url) as login:
        login.execute("SELECT FROM s WHERE id = ANY(%s) FOR UPDATE", (locked,))
        report = clean(store, target)
    left = [row[0] for row in db.execute("SELECT id FROM s WHERE kind = 'reset' ORDER BY id")]
    assert (left, report.survivors) == (locked, len(locked))
