"""Rules of more than a column: (rule, row) -> stays or goes, on a real server. Odd values never fail a statement."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from cleanup_pipeline.model.rules import (
    AgeGuard,
    ColumnExpiry,
    ColumnGuard,
    EarliestExpiry,
    LatestExpiry,
    LifetimeByValue,
    LifetimeColumn,
    NullMeans,
    Related,
    StartExpiry,
    TableExpiry,
    Test,
)
from cleanup_pipeline.model.words import EpochUnit
from cleanup_pipeline.stores.postgres import PostgresStore
from tests.stores.postgres.conftest import Clean, make_target

Db = psycopg.Connection[Any]
HOUR = timedelta(hours=1)

AGO = "now() - interval '1 h'"
AHEAD = "now() + interval '1 h'"
ODD = "stays: odd"
COLUMNS = "name text PRIMARY KEY, a timestamptz, b timestamptz, n timestamp, sec bigint, num numeric, txt text"

LIFETIME_COLUMN = StartExpiry(ColumnExpiry("a"), LifetimeColumn("sec"))
BY_VALUE = StartExpiry(
    ColumnExpiry("a"),
    LifetimeByValue("txt", (("short", timedelta(minutes=30)), ("x:long", 9 * HOUR)), (("x:", timedelta(minutes=5)),)),
)
LATEST = LatestExpiry((ColumnExpiry("a", null_means=NullMeans.DEAD), ColumnExpiry("b")))
EARLIEST = EarliestExpiry((ColumnExpiry("a"), StartExpiry(ColumnExpiry("n", zone="UTC"), 2 * HOUR)))

RULES: dict[str, tuple[TableExpiry, dict[str, dict[str, str]]]] = {
    "a lifetime in a column": (
        LIFETIME_COLUMN,
        {
            "goes: half an hour of an hour ago": {"a": AGO, "sec": "1800"},
            "stays: two hours of an hour ago": {"a": AGO, "sec": "7200"},
            "stays: no lifetime": {"a": "now() - interval '900 d'", "sec": "NULL"},
            "stays: a lifetime of zero": {"a": "now() - interval '900 d'", "sec": "0"},
            "stays: a negative lifetime": {"a": "now() - interval '900 d'", "sec": "-1"},
            "stays: the longest lifetime": {"a": AGO, "sec": "9223372036854775807"},
            "stays: no start": {"a": "NULL", "sec": "1"},
            "stays: a start at zero": {"a": "timestamptz 'epoch'", "sec": "1"},
            "stays: a start at -infinity": {"a": "timestamptz '-infinity'", "sec": "1"},
            "stays: a start at infinity": {"a": "timestamptz 'infinity'", "sec": "1"},
            "stays: the last instant there is": {"a": "timestamptz '294276-12-31 23:59:59Z'", "sec": "3000000"},
        },
    ),
    "a lifetime in a column of text, in milliseconds": (
        StartExpiry(ColumnExpiry("a"), LifetimeColumn("txt", EpochUnit.MILLISECONDS)),
        {
            "goes: half an hour": {"a": AGO, "txt": "'1800000'"},
            "stays: two hours": {"a": AGO, "txt": "'7200000'"},
            "stays: not a number": {"a": AGO, "txt": "'soon'"},
            "stays: empty": {"a": AGO, "txt": "''"},
        },
    ),
    "a lifetime by value": (
        BY_VALUE,
        {
            "goes: a short one": {"a": AGO, "txt": "'short'"},
            "stays: a short one that lives": {"a": "now() - interval '29 min'", "txt": "'short'"},
            "goes: by its beginning": {"a": AGO, "txt": "'x:any'"},
            "stays: listed, before its beginning counts": {"a": AGO, "txt": "'x:long'"},
            "stays: not listed": {"a": "now() - interval '900 d'", "txt": "'api'"},
            "stays: a pattern is no prefix": {"a": AGO, "txt": "chr(37)"},
            "stays: nothing": {"a": AGO, "txt": "NULL"},
        },
    ),
    "the latest of several": (
        LATEST,
        {
            "goes: both": {"a": AGO, "b": AGO},
            "stays: the first lives": {"a": AHEAD, "b": AGO},
            "stays: the second lives": {"a": AGO, "b": AHEAD},
            "goes: the first is not there": {"a": "NULL", "b": AGO},
            "stays: the second never dies": {"a": AGO, "b": "NULL"},
            "stays: the second cannot be right": {"a": AGO, "b": "timestamptz '1999-01-01'"},
            "stays: the second is zero": {"a": AGO, "b": "timestamptz 'epoch'"},
            "stays: the second is too late to be right": {"a": AGO, "b": "timestamptz '57000-01-01'"},
            "stays: nothing at all": {"a": "NULL", "b": "NULL"},
        },
    ),
    "the earliest of several": (
        EARLIEST,
        {
            "goes: the first": {"a": AGO, "n": "now() AT TIME ZONE 'utc'"},
            "goes: the second": {"a": AHEAD, "n": "now() AT TIME ZONE 'utc' - interval '121 min'"},
            "stays: neither": {"a": AHEAD, "n": "now() AT TIME ZONE 'utc' - interval '119 min'"},
            "stays: nothing at all": {"a": "NULL", "n": "NULL"},
            "stays: what cannot be right is nothing": {"a": "timestamptz '1999-01-01'", "n": "NULL"},
            "stays: the last instant there is": {"a": "NULL", "n": "timestamp '294276-12-31 23:59:59'"},
        },
    ),
    "null is dead": (
        ColumnExpiry("n", zone="Asia/Tokyo", null_means=NullMeans.DEAD),
        {
            "goes: nothing": {"n": "NULL"},
            "goes: an hour ago": {"n": "now() AT TIME ZONE 'Asia/Tokyo' - interval '1 h'"},
            "stays: an hour ahead": {"n": "now() AT TIME ZONE 'Asia/Tokyo' + interval '1 h'"},
            "stays: zero": {"n": "timestamp 'epoch'"},
            "stays: the first instant there is": {"n": "timestamp '4713-01-02 BC'"},
        },
    ),
    "never, by value": (
        ColumnExpiry("sec", unit=EpochUnit.SECONDS, never_values=(1600000000,)),
        {
            "goes: long ago": {"sec": "1600000001"},
            "stays: the value": {"sec": "1600000000"},
        },
    ),
    "never, by value, of text": (
        ColumnExpiry("txt", unit=EpochUnit.SECONDS, never_values=("1600000000", "never")),
        {
            "goes: long ago": {"txt": "'1600000001'"},
            "stays: the value": {"txt": "'1600000000'"},
            "stays: the word": {"txt": "'never'"},
        },
    ),
    "a start in numbers and a fixed lifetime": (
        StartExpiry(ColumnExpiry("num", unit=EpochUnit.SECONDS), 2 * HOUR),
        {
            "goes: three hours ago": {"num": "extract(epoch FROM now()) - 10800"},
            "stays: an hour ago": {"num": "extract(epoch FROM now()) - 3600"},
            "stays: zero": {"num": "0"},
        },
    ),
}


def fill(db: Db, rows: Mapping[str, Mapping[str, str]]) -> None:
    db.execute(f"CREATE TABLE s ({COLUMNS})")  # type: ignore[call-overload]
    for name, values in rows.items():
        names, texts = ", ".join(["name", *values]), ", ".join(["%s", *values.values()])
        db.execute(f"INSERT INTO s ({names}) VALUES ({texts})", (name,))  # type: ignore[call-overload]


def names(db: Db, table: str = "s") -> set[str]:
    return {row[0] for row in db.execute(f"SELECT name FROM {table}")}  # type: ignore[call-overload]


@pytest.mark.parametrize("case", RULES)
def test_each_row(db: Db, store: PostgresStore, clean: Clean, case: str) -> None:
    rule, rows = RULES[case]
    fill(db, rows)
    report = clean(store, replace(make_target(), expiry=rule))
    assert names(db) == {name for name in rows if name.startswith("stays")}
    gone = sum(name.startswith("goes") for name in rows)
    assert (report.expired_found, report.deleted, report.survivors) == (gone, gone, 0)
    kept = [report.kept_live, report.without_expiry, report.unparsable]
    assert sum(n or 0 for n in kept) == len(rows) - gone


@pytest.mark.parametrize("index", [True, False], ids=["walk", "sweep"])
def test_a_window_of_a_fixed_lifetime(db: Db, store: PostgresStore, clean: Clean, index: bool) -> None:
    """Bounds are about the death, not the start: what died before the window is left."""
    fill(db, {f"{h} hours ago": {"a": f"now() - interval '{h} h'"} for h in (1, 3, 5, 7)})
    if index:
        db.execute("CREATE INDEX ON s (a)")
    since = datetime.now(UTC) - timedelta(hours=4)
    target = replace(make_target(), expiry=StartExpiry(ColumnExpiry("a"), 2 * HOUR), since=since)
    assert clean(store, target).deleted == 2
    assert names(db) == {"1 hours ago", "7 hours ago"}


def test_a_window_of_a_rule_of_several_columns(db: Db, store: PostgresStore, clean: Clean) -> None:
    fill(db, {f"{h} hours ago": {"a": f"now() - interval '{h} h'", "sec": "7200"} for h in (1, 3, 5, 7)})
    since = datetime.now(UTC) - timedelta(hours=4)
    assert clean(store, replace(make_target(), expiry=LIFETIME_COLUMN, since=since)).deleted == 2
    assert names(db) == {"1 hours ago", "7 hours ago"}


def test_the_oldest_is_told_by_its_death(db: Db, store: PostgresStore) -> None:
    fill(db, {"x": {"a": "now() - interval '3 h'", "sec": "3600"}})
    cutoff = store.clock()
    for rule in (LIFETIME_COLUMN, StartExpiry(ColumnExpiry("a"), HOUR)):
        target = replace(make_target(), expiry=rule)
        oldest = store.census(target, cutoff, timedelta(seconds=5)).oldest_expired
        assert oldest is not None
        assert abs(cutoff - oldest - 2 * HOUR) < timedelta(seconds=5)


def test_more_than_a_batch(db: Db, store: PostgresStore, clean: Clean) -> None:
    db.execute(f"CREATE TABLE s ({COLUMNS})")  # type: ignore[call-overload]
    db.execute(
        "INSERT INTO s (name, a, sec) SELECT i::text, now() - interval '1 h', CASE WHEN i % 2 = 0 THEN 60 ELSE 7200 END"
        " FROM generate_series(1, 5000) i"
    )
    report = clean(store, replace(make_target(), expiry=LIFETIME_COLUMN))
    assert (report.deleted, report.survivors, report.largest_batch) == (2500, 0, 1000)


def test_related_rows(db: Db, store: PostgresStore, clean: Clean) -> None:
    """The latest of those that belong to a record counts; a column of the same name in both is no confusion."""
    db.execute("CREATE TABLE s (name text PRIMARY KEY, id int, expires timestamptz)")
    db.execute("CREATE TABLE other (id int, name int, expires timestamptz, lasts int)")
    rows = {"goes": 1, "stays: one of two lives": 2, "stays: of nobody": 3, "stays: one never dies": 4}
    for name, number in rows.items():
        db.execute("INSERT INTO s VALUES (%s, %s, now() - interval '9 d')", (name, number))
    db.execute("INSERT INTO s VALUES ('stays: refers to nothing', NULL, now() - interval '9 d')")
    db.execute(
        f"INSERT INTO other VALUES (9, 1, {AGO}, 60), (9, 2, {AGO}, 60), (9, 2, {AHEAD}, 7200), (9, 4, {AGO}, 60),"
        " (9, 4, NULL, NULL), (9, NULL, now() - interval '9 d', 60)"
    )
    of = Related("other", key="name", by="id")
    start = ColumnExpiry("expires")
    for rule in (ColumnExpiry("expires", of=of), StartExpiry(ColumnExpiry("expires", of=of), timedelta(minutes=1))):
        assert store.census(replace(make_target(), expiry=rule), store.clock(), HOUR / 60).expired == 1
    by_column = StartExpiry(start, LifetimeColumn("lasts", of=of))
    db.execute("UPDATE s SET expires = now() - interval '1 h'")
    report = clean(store, replace(make_target(), expiry=by_column))
    assert report.deleted == 1
    assert "goes" not in names(db)


def test_guards_on_columns(db: Db, store: PostgresStore, clean: Clean) -> None:
    old = {"a": AGO, "b": "now() - interval '20 d'"}
    fill(
        db,
        {
            "goes": {**old, "sec": "1", "txt": "'x'"},
            "stays: not in the list": {**old, "sec": "3", "txt": "'x'"},
            "stays: not listed because null": {**old, "sec": "NULL", "txt": "'x'"},
            "stays: null": {**old, "sec": "1", "txt": "NULL"},
            "stays: not null": {**old, "sec": "1", "txt": "'x'", "num": "1"},
            "stays: too young": {"a": AGO, "b": "now() - interval '13 d'", "sec": "1", "txt": "'x'"},
            "stays: of no age": {"a": AGO, "b": "NULL", "sec": "1", "txt": "'x'"},
        },
    )
    guards = (
        ColumnGuard("sec", Test.IN, (1, 2)),
        ColumnGuard("txt", Test.NOT_NULL),
        ColumnGuard("num", Test.NULL),
        AgeGuard(ColumnExpiry("b"), timedelta(days=14)),
    )
    clean(store, make_target(column="a", guards=guards))
    assert {name for name in names(db) if name.startswith("goes")} == set()
    assert len(names(db)) == 6


def test_an_age_is_reckoned_from_the_cutoff(db: Db, store: PostgresStore, clean: Clean) -> None:
    fill(
        db, {"stays: 15 days, of 14 and a grace of 2": {"a": "now() - interval '9 d'", "b": "now() - interval '15 d'"}}
    )
    guard = AgeGuard(ColumnExpiry("b"), timedelta(days=14))
    clean(store, make_target(column="a", guards=(guard,), grace=timedelta(days=2)))
    assert len(names(db)) == 1
