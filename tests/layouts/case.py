"""A case: rows as a framework writes them, those that have to go beside those that have to stay, and a pass over them.

One YAML file for each preset, in cases/. Values are SQL expressions. A case says, too, what the naive statement that
people write does to the same rows: which live ones it kills, and which dead ones it misses.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import yaml
from psycopg.abc import Buffer
from psycopg.types.datetime import TimestamptzLoader

from cleanup_pipeline.engine.limits import limits_of
from cleanup_pipeline.engine.loop import Watch, clean_shard
from cleanup_pipeline.engine.scan import scan
from cleanup_pipeline.layouts import Preset
from cleanup_pipeline.model.outcome import ShardOutcome, TargetReport
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.model.words import Mode, StoreType
from cleanup_pipeline.reporting.fold import fold_target
from cleanup_pipeline.settings.faults import Fault
from cleanup_pipeline.settings.layouts import read_layout
from cleanup_pipeline.settings.schema import TargetSection
from cleanup_pipeline.settings.targets import targets_of
from cleanup_pipeline.stores.postgres import PostgresStore, open_postgres

CASES = Path(__file__).parent / "cases"

Db = psycopg.Connection[Any]
Key = tuple[str, tuple[Any, ...]]
"""A table and the primary key of a row."""


@dataclass(frozen=True)
class Row:
    table: str
    fate: str
    """goes, stays, nulled: its columns of `set_null` go, or changed: some of its columns become what `left` says."""
    why: str
    values: Mapping[str, str]
    left: Mapping[str, Any]
    """What is to be in some columns afterwards: an expression, and once the row is written its value."""


@dataclass(frozen=True)
class Naive:
    sql: str
    kills: tuple[str, ...]
    misses: tuple[str, ...]
    traps: tuple[str, ...] = ()
    """Those of traps.yaml that it falls into."""


@dataclass(frozen=True)
class Case:
    name: str
    preset: str
    params: Mapping[str, Any]
    columns: Mapping[str, str]
    zone: str | None
    ddl: str
    rows: tuple[Row, ...]
    naive: tuple[Naive, ...]
    walks: tuple[str, ...]
    """Steps that go along the framework's own index on expiry."""
    without_expiry: int | None
    """How many records are counted as having none, where the case says so."""
    report_only: bool
    """Whether settings that would delete by it are refused."""


def read_case(name: str) -> Case:
    raw = yaml.safe_load((CASES / f"{name}.yaml").read_text(encoding="utf-8"))
    defaults, number = raw.get("defaults", {}), count(1)
    rows = tuple(
        _row(table, fate, why, {**defaults.get(table, {}), **values}, next(number))
        for table, fates in raw["rows"].items()
        for fate, of_fate in fates.items()
        for why, values in of_fate.items()
    )
    naive = tuple(
        Naive(one["sql"], tuple(one.get("kills", ())), tuple(one.get("misses", ())), tuple(one.get("traps", ())))
        for one in raw.get("naive", ())
    )
    return Case(
        name=name,
        preset=raw.get("preset", name),
        params=raw.get("params", {}),
        columns=raw.get("columns", {}),
        zone=raw.get("zone"),
        ddl=raw["ddl"],
        rows=rows,
        naive=naive,
        walks=tuple(raw.get("walks", ())),
        without_expiry=raw.get("without_expiry"),
        report_only=raw.get("report_only", False),
    )


def _row(table: str, fate: str, why: str, values: Mapping[str, Any], number: int) -> Row:
    """`#` in a value stands for a number that no other row has."""
    all_of = {column: str(value).replace("#", str(number)) for column, value in values.items()}
    left = {column.removeprefix(_LEFT): value for column, value in all_of.items() if column.startswith(_LEFT)}
    return Row(table, fate, why, {c: value for c, value in all_of.items() if not c.startswith(_LEFT)}, left)


_LEFT = "left "


def case_names() -> list[str]:
    return sorted(file.stem for file in CASES.glob("*.yaml"))


def write(db: Db, case: Case) -> dict[Key, Row]:
    """The tables and rows of a case. In one transaction, so that rows may refer to each other in circles."""
    if case.zone:
        name = db.execute("SELECT current_database()").fetchone()
        assert name
        db.execute(f"ALTER DATABASE \"{name[0]}\" SET TimeZone = '{case.zone}'")  # type: ignore[arg-type]
        db.execute(f"SET TimeZone = '{case.zone}'")  # type: ignore[arg-type]
    db.execute(case.ddl)  # type: ignore[arg-type]
    written: dict[Key, Row] = {}
    with db.transaction():
        for row in case.rows:
            keys = primary_key(db, row.table)
            names = ", ".join(_quoted(column) for column in row.values)
            returned = ", ".join(_quoted(key) for key in keys)
            text = f"INSERT INTO {row.table} ({names}) VALUES ({', '.join(row.values.values())}) RETURNING {returned}"
            found = db.execute(text).fetchone()  # type: ignore[arg-type]
            assert found
            left = {column: _value(db, expression) for column, expression in row.left.items()}
            written[row.table, tuple(found)] = replace(row, left=left)
    held = left_in(db, written)
    return {key: replace(row, left=held.get(key, {}) | row.left) for key, row in written.items()}


def left_in(db: Db, written: Mapping[Key, Row]) -> dict[Key, dict[str, Any]]:
    """What is in the columns of which some row of the same table is to be changed."""
    changed: dict[str, set[str]] = {}
    for row in written.values():
        changed.setdefault(row.table, set()).update(row.left)
    there = left(db, sorted(table for table, columns in changed.items() if columns))
    return {key: {column: values[column] for column in changed[key[0]]} for key, values in there.items()}


def _value(db: Db, expression: str) -> Any:
    found = db.execute(f"SELECT {expression}").fetchone()  # type: ignore[call-overload]
    assert found
    value = found[0]
    return json.loads(value) if isinstance(value, str) and value.startswith("{") else value


def primary_key(db: Db, table: str) -> list[str]:
    query = """
        SELECT a.attname FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
        WHERE i.indrelid = to_regclass(%s) AND i.indisprimary ORDER BY a.attnum"""
    keys = [row[0] for row in db.execute(query, (table,))]
    assert keys, f"{table} has no primary key"
    return keys


class _WithInfinity(TimestamptzLoader):
    """Python has no such instant."""

    def load(self, data: Buffer) -> datetime:
        return datetime.max.replace(tzinfo=UTC) if bytes(data) == b"infinity" else super().load(data)


def left(db: Db, tables: Sequence[str]) -> dict[Key, dict[str, Any]]:
    """Every row that is there, by table and primary key."""
    found: dict[Key, dict[str, Any]] = {}
    for table in tables:
        keys = primary_key(db, table)
        cursor = db.cursor()
        cursor.adapters.register_loader("timestamptz", _WithInfinity)
        cursor.execute(f"SELECT * FROM {table}")  # type: ignore[arg-type]
        names = [column.name for column in cursor.description or ()]
        for values in cursor:
            row = dict(zip(names, values, strict=True))
            found[table, tuple(row[key] for key in keys)] = row
    return found


def wrongs(written: Mapping[Key, Row], after: Mapping[Key, Any], nulled: Mapping[str, Sequence[str]]) -> list[str]:
    """Rows whose fate was not what the case says, as sentences."""
    found = []
    for key, row in written.items():
        there = key in after
        if row.fate == "goes" and there:
            found.append(f"{row.table}: kept, and should go: {row.why}")
        elif row.fate in {"stays", "nulled", "changed"} and not there:
            found.append(f"{row.table}: gone, and should stay: {row.why}")
        elif there:
            found += [
                f"{row.table}: {column} is {'not what it should be' if row.fate == 'changed' else 'changed'}: {row.why}"
                for column, value in row.left.items()
                if after[key][column] != value
            ]
            gone = [column for column in nulled.get(row.table, ()) if after[key][column] is None]
            held = [column for column in nulled.get(row.table, ()) if column in row.values]
            if row.fate == "nulled" and gone != list(nulled[row.table]):
                found.append(f"{row.table}: not set to null: {row.why}")
            if row.fate == "stays" and set(held) & set(gone) and "NULL" not in {row.values[c] for c in held}:
                found.append(f"{row.table}: set to null: {row.why}")
    return found


def targets_for(
    preset: Preset, params: Mapping[str, Any], columns: Mapping[str, str], **more: Any
) -> tuple[Target, ...]:
    given = preset.params_model.model_validate(dict(params))
    options: dict[str, Any] = {"mode": Mode.DELETE, "pause": timedelta(0), **more}
    return targets_of(preset, preset.resolve(given, columns), "t", "main", **options)


def refuses_to_delete(preset: Preset, case: Case) -> bool:
    """Whether a settings file with `mode: delete` for it is refused for that, and one with `dry_run` is not."""
    found: dict[Mode, list[Fault]] = {}
    for mode in (Mode.DRY_RUN, Mode.DELETE):
        given = {"store": "main", "layout": preset.name, "params": case.params, "columns": case.columns, "mode": mode}
        read_layout(TargetSection.model_validate(given), preset, ("targets", "t"), found.setdefault(mode, []))
    assert not found[Mode.DRY_RUN], found
    return [fault.path for fault in found[Mode.DELETE]] == ["targets.t.mode"]


def clean(url: str, targets: Sequence[Target]) -> dict[str, TargetReport]:
    """A pass over targets, one after another, without Dagster."""
    reports = {}
    store = open_postgres(StoreConfig("main", StoreType.POSTGRES, url))
    try:
        for target in targets:
            reports[target.name] = _clean(store, target)
    finally:
        store.close()
    return reports


def _clean(store: PostgresStore, target: Target) -> TargetReport:
    plan = scan(store, target, dry_run=False)
    outcomes: list[ShardOutcome] = []
    for shard in plan.work.shards:
        clean_shard(store, target, plan.work, shard, plan.cutoff, limits_of(target), Watch(outcomes.append))
    return fold_target(plan, outcomes, store.survivors(target, plan.cutoff, timedelta(seconds=10)))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
