"""(expiry, column type) -> stays or goes, row by row, on a real server."""

from typing import Any

import psycopg
import pytest

from cleanup_pipeline.model.words import EpochUnit
from cleanup_pipeline.stores.postgres import PostgresStore
from tests.stores.postgres.conftest import Clean, make_target

Db = psycopg.Connection[Any]
NOW_MS = "(extract(epoch FROM now()) * 1000)::bigint"

AWARE = {
    "gone: a second ago": "now() - interval '1 second'",
    "gone: years ago": "now() - interval '9 years'",
    "gone: as early as is plausible": "timestamptz '2001-09-09 02:00:00Z'",
    "stays: seconds read as milliseconds": "timestamptz '1970-01-20'",
    "stays: in an hour": "now() + interval '1 hour'",
    "stays: NULL": "NULL",
    "stays: epoch zero": "timestamptz 'epoch'",
    "stays: Go's zero time": "timestamptz '0001-01-01 00:00:00Z'",
    "stays: infinity": "timestamptz 'infinity'",
    "stays: -infinity": "timestamptz '-infinity'",
}
BERLIN = {
    "gone: an hour ago there": "(now() AT TIME ZONE 'Europe/Berlin') - interval '1 hour'",
    "stays: in half an hour there": "(now() AT TIME ZONE 'Europe/Berlin') + interval '30 minutes'",
    "stays: NULL": "NULL",
    "stays: zero": "timestamp 'epoch'",
    "stays: year one": "timestamp '0001-01-01'",
}
NEW_YORK = {
    # Read as UTC, this session would have been dead for hours.
    "stays: half an hour left there": "(now() AT TIME ZONE 'America/New_York') + interval '30 minutes'",
    "gone: half an hour ago there": "(now() AT TIME ZONE 'America/New_York') - interval '30 minutes'",
}
MILLISECONDS = {
    "gone: a minute ago": f"{NOW_MS} - 60000",
    "stays: in a minute": f"{NOW_MS} + 60000",
    "stays: Long.MAX means never": "9223372036854775807",
    "stays: zero": "0",
    "stays: negative": "-1",
    "stays: NULL": "NULL",
    "stays: a lifetime": "3600",
    "stays: live, but in seconds": "extract(epoch FROM now())::bigint + 86400",
}
TEXT_SECONDS = {
    "gone: digits in the past": "'1600000000'",
    "stays: digits in the future": "'9600000000'",
    "stays: garbage": "'soon'",
    "stays: empty": "''",
    "stays: hex": "'0x10'",
    "stays: exponent": "'1e9'",
    "stays: zero": "'0'",
    "stays: NULL": "NULL",
}


@pytest.mark.parametrize("index", [False, True], ids=["no index", "index on expiry"])
@pytest.mark.parametrize(
    ("column_type", "options", "rows"),
    [
        ("timestamptz", {}, AWARE),
        ("timestamp", {"zone": "Europe/Berlin"}, BERLIN),
        ("timestamp", {"zone": "America/New_York"}, NEW_YORK),
        ("bigint", {"unit": EpochUnit.MILLISECONDS}, MILLISECONDS),
        ("numeric", {"unit": EpochUnit.MILLISECONDS}, MILLISECONDS),
        ("text", {"unit": EpochUnit.SECONDS}, TEXT_SECONDS),
    ],
    ids=["timestamptz", "naive Berlin", "naive New York", "bigint ms", "numeric ms", "text s"],
)
def test_each_row(
    db: Db,
    store: PostgresStore,
    clean: Clean,
    column_type: str,
    options: dict[str, Any],
    rows: dict[str, str],
    index: bool,
) -> None:
    # The session's own time zone must not matter.
    db.execute("ALTER ROLE CURRENT_USER SET timezone = 'Asia/Tokyo'")
    db.execute(f"CREATE TABLE s (name text PRIMARY KEY, expires_at {column_type})")
    for name, value in rows.items():
        db.execute(f"INSERT INTO s VALUES (%s, {value})", (name,))
    if index:
        db.execute("CREATE INDEX ON s (expires_at)")
    report = clean(store, make_target(**options))
    left = {row[0] for row in db.execute("SELECT name FROM s")}
    assert left == {name for name in rows if name.startswith("stays")}
    gone = len(rows) - len(left)
    assert (report.expired_found, report.deleted, report.survivors) == (gone, gone, 0)
    assert report.kept_live is not None and report.without_expiry is not None and report.unparsable is not None
    assert report.kept_live + report.without_expiry + report.unparsable == len(left)
    db.execute("ALTER ROLE CURRENT_USER RESET timezone")


def test_unreadable_and_without_expiry_are_told_apart(db: Db, store: PostgresStore, clean: Clean) -> None:
    db.execute("CREATE TABLE s (expires_at text)")
    db.execute("INSERT INTO s VALUES ('soon'), ('1e9'), ('0'), (NULL), ('9600000000'), ('1600000000')")
    report = clean(store, make_target(unit=EpochUnit.SECONDS))
    assert (report.unparsable, report.without_expiry, report.kept_live, report.deleted) == (2, 2, 1, 1)


def test_an_ambiguous_local_time_dies_late(db: Db, store: PostgresStore) -> None:
    """02:30 on 2026-10-25 was twice in Berlin, at 00:30 and 01:30 UTC: at 00:45 UTC it may still be alive."""
    from datetime import UTC, datetime, timedelta

    db.execute("CREATE TABLE s (expires_at timestamp)")
    db.execute("INSERT INTO s VALUES ('2026-10-25 02:30')")
    target = make_target(zone="Europe/Berlin")
    between = datetime(2026, 10, 25, 0, 45, tzinfo=UTC)
    assert store.census(target, between, timedelta(seconds=5)).expired == 0
    after = datetime(2026, 10, 25, 1, 31, tzinfo=UTC)
    assert store.census(target, after, timedelta(seconds=5)).expired == 1


def test_guards_and_grace(db: Db, store: PostgresStore, clean: Clean) -> None:
    db.execute("CREATE TABLE s (name text, token_type_id int, expires_at timestamptz)")
    db.execute(
        "INSERT INTO s VALUES ('stays: inside grace', 0, now() - interval '1 hour'),"
        " ('gone', 0, now() - interval '2 days'), ('stays: another kind', 1, now() - interval '2 days'),"
        " ('stays: no kind', NULL, now() - interval '2 days')"
    )
    from datetime import timedelta

    report = clean(store, make_target(where={"token_type_id": 0}, grace=timedelta(hours=24)))
    assert {row[0] for row in db.execute("SELECT name FROM s")} == {
        "stays: inside grace",
        "stays: another kind",
        "stays: no kind",
    }
    # A record inside its grace is not expired as far as this target goes.
    assert (report.deleted, report.kept_live) == (1, 1)


def test_odd_names_are_quoted(db: Db, store: PostgresStore, clean: Clean) -> None:
    db.execute('CREATE SCHEMA "Auth; DROP"')
    db.execute('CREATE TABLE "Auth; DROP"."Session ""x"" %s {y}" ("expires At" timestamptz, "user\'s" text)')
    db.execute('INSERT INTO "Auth; DROP"."Session ""x"" %%s {y}" VALUES (now() - interval \'1 day\', %s)', ("o'hara",))
    target = make_target('Session "x" %s {y}', "expires At", schema="Auth; DROP", where={"user's": "o'hara"})
    assert clean(store, target).deleted == 1
