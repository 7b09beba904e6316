"""Whether PostgreSQL could remove a target's rows by itself: by partitions that are dropped, or by pg_cron.

The commands are whole: they are run as they are printed by tests/stores/postgres/test_advice.py, those of extensions
that the server does not offer excepted, which are not printed at all.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from psycopg import sql

from cleanup_pipeline.model.advice import Advice, Native, Step, Way, drain
from cleanup_pipeline.model.durations import format_duration
from cleanup_pipeline.model.plan import Census
from cleanup_pipeline.model.rules import ColumnExpiry
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.stores.postgres.connect import Connection
from cleanup_pipeline.stores.postgres.predicate import column_alone
from cleanup_pipeline.stores.postgres.relation import Relation, source_of
from cleanup_pipeline.stores.postgres.shape import AWARE, FIRST, NAIVE, NUMBERS, epoch_at
from cleanup_pipeline.stores.postgres.statements import statements

MONTHS = 3
"""Partitions that are made at first: this month and the next ones; what expires later goes to the default one."""
_LIKE = "DEFAULTS", "CONSTRAINTS", "COMMENTS", "STORAGE", "COMPRESSION", "GENERATED", "IDENTITY"


@dataclass(frozen=True, slots=True)
class _Table:
    """What the commands are made of."""

    relation: Relation
    column: ColumnExpiry
    kept: timedelta
    """Between what the column holds and the removal."""
    now: datetime

    @property
    def name(self) -> sql.Identifier:
        return sql.Identifier(self.relation.schema, self.relation.name)

    def beside(self, suffix: str) -> sql.Identifier:
        return sql.Identifier(self.relation.schema, f"{self.relation.name[: 63 - len(suffix)]}{suffix}")


def advise(connection: Connection, relation: Relation, target: Target, census: Census, now: datetime) -> Advice:
    """What the server could do, from its catalog."""
    reasons = tuple(_against(connection, relation, target))
    _, rule = source_of(target)
    alone = column_alone(rule)
    if reasons or alone is None:
        return Advice(target.name, Native.NO, reasons, backlog=census.expired)
    table = _Table(relation, alone[0], alone[1] + target.grace, now)
    key, parts = _row(connection, "advice_partition_key", {"oid": relation.oid})
    if key is not None:
        return _partitioned(table, target, key, parts, census)
    offered = {row[0]: row for row in connection.execute(_statement("advice_extensions"))}
    ways = [_by_partitions(connection, table, target, "pg_partman" in offered)]
    why = []
    if "pg_cron" in offered:
        ways.insert(0, _by_cron(table, target, installed=bool(offered["pg_cron"][2])))
    else:
        why.append("pg_cron is not among the extensions that this server offers (pg_available_extensions)")
    if "pg_partman" not in offered:
        why.append("nor is pg_partman, so that partitions have to be made by somebody, month by month")
    hindrance = _hinders_partitions(connection, relation)
    if hindrance:
        why.append(f"no partitions: {hindrance}")
        ways = [way for way in ways if way.name != _PARTITIONS]
    keys = _keys_without(connection, table)
    native = Native.POSSIBLE if ways else Native.NO
    if keys and ways and ways[0].name == _PARTITIONS:
        native = Native.CHANGE_FIRST
        why.append(
            f"a key of a partitioned table has to hold {table.column.column}, and {' and '.join(keys)} does not: where"
            " the application writes by INSERT ... ON CONFLICT on it, as many session stores do, every login would"
            " fail"
        )
    return Advice(target.name, native, tuple(why), tuple(ways), census.expired)


_PARTITIONS = "partitions by expiry"


def _against(connection: Connection, relation: Relation, target: Target) -> Iterator[str]:
    _, rule = source_of(target)
    alone = column_alone(rule)
    if alone is None:
        yield "when a row dies takes more than one column, a null that means dead, or another table"
    elif relation.shape.columns[alone[0].column] not in {AWARE, NAIVE, *NUMBERS}:
        yield f"column {alone[0].column} is {relation.shape.columns[alone[0].column]}, which has no order in time"
    elif alone[0].never_values:
        yield "some values of the column stand for no expiry at all"
    if target.guards or target.where:
        yield "the target has guards: a partition goes as a whole, whatever they say of its rows"
    if target.set_null:
        yield "what expires are columns of rows that stay"
    if target.detach or relation.children or target.cascade:
        yield "rows of other tables go with a row, or let go of it, before it"


def _hinders_partitions(connection: Connection, relation: Relation) -> str | None:
    """What would not survive that the expiry is part of every unique key."""
    row = connection.execute(
        "SELECT con.conrelid::regclass::text FROM pg_constraint con"
        " WHERE con.contype = 'f' AND con.confrelid = %s AND con.conparentid = 0 ORDER BY 1 LIMIT 1",
        (relation.oid,),
    ).fetchone()
    if row is not None:
        return f"rows of {row[0]} refer to this table, and a partitioned one has no key that does not hold the expiry"
    return None


def _keys_without(connection: Connection, table: _Table) -> list[str]:
    """The columns of each unique key that the expiry is not a part of."""
    of = {"oid": table.relation.oid}
    rows = connection.execute(_statement("advice_indexes"), of).fetchall()
    return [
        f"({', '.join(names)})" if names else f"index {name}"
        for name, _, unique, _, names, _ in rows
        if unique and table.column.column not in names
    ]


def _partitioned(table: _Table, target: Target, key: str, parts: int, census: Census) -> Advice:
    if table.column.column not in key:
        why = f"the table is partitioned by {key}, which is not the expiry"
        return Advice(target.name, Native.NO, (why,), backlog=census.expired)
    if target.drop_partitions:
        why = f"{parts} partitions by {key}, of which a pass drops those that are over"
        return Advice(target.name, Native.WORKS, (why,), backlog=census.expired)
    step = Step(f"set targets.{target.name}.drop_partitions: true, so that a pass drops what is over as a whole")
    loses = ("partitions that are dropped are removed in one transaction, however many rows they hold",)
    why = f"{parts} partitions by {key}"
    return Advice(target.name, Native.POSSIBLE, (why,), (Way("drop partitions", (step,), loses),), census.expired)


def _by_partitions(connection: Connection, table: _Table, target: Target, partman: bool) -> Way:
    of = {"oid": table.relation.oid, "schema": table.relation.schema, "name": table.relation.name}
    columns = connection.execute(_statement("advice_columns"), of).fetchall()
    indexes = connection.execute(_statement("advice_indexes"), of).fetchall()
    foreign = connection.execute(_statement("advice_foreign_keys"), of).fetchall()
    new, steps = table.beside("_by_expiry"), [drain(target)]
    keys = _keys_without(connection, table)
    if keys:
        what = "first see that nothing writes by ON CONFLICT on "
        what += f"{' or '.join(keys)}, nor relies on it to be unique by itself; where something does, stop here"
        steps.insert(0, Step(what))
    words = {"new": new, "table": table.name}
    like = sql.SQL(" ").join(sql.SQL(f"INCLUDING {each}") for each in _LIKE)
    create = sql.SQL("CREATE TABLE {new} (LIKE {table} {like}) PARTITION BY RANGE ({key});").format(
        **words, like=like, key=sql.Identifier(table.column.column)
    )
    steps.append(Step("a table of the same columns, in partitions by the month of the expiry", _text(create)))
    parts = [_text(each) for each in _months(table, new)]
    steps.append(Step("its partitions, and one for what expires later or never", "\n".join(parts)))
    keys = [_text(each) for each in _keys(table, new, columns, indexes)]
    keys += [_text(sql.SQL("ALTER TABLE {} ADD ").format(new)) + f"{row[0]};" for row in foreign]
    if keys:
        steps.append(Step("its keys and indexes", "\n".join(keys)))
    plain = [row[0] for row in columns if not row[2]]
    before = f"{table.relation.name[:56]}_before"
    swap = sql.SQL(statements()["advice_swap"]).format(
        **words,
        columns=sql.SQL(", ").join(map(sql.Identifier, plain)),
        overriding=sql.SQL("OVERRIDING SYSTEM VALUE " if any(row[3] for row in columns) else ""),
        before=sql.Identifier(before),
        name=sql.Identifier(table.relation.name),
    )
    what = f"put it in the place of the old one, which is kept as {before}; logins wait for as long as the copy takes"
    steps.append(Step(what, _text(swap)))
    sequences = [_text(each) for each in _sequences(table, columns)]
    if sequences:
        steps.append(Step("its sequences go on where the old ones are", "\n".join(sequences)))
    steps.append(Step(f"set targets.{target.name}.drop_partitions: true: passes then drop what is over as a whole"))
    by = "with pg_partman, which this server offers" if partman else "by a job of your own"
    steps.append(Step(f"make the next month's partition before it begins, {by}"))
    odd = [row[0] for row in indexes if not row[3] or row[5] != "btree"]
    loses = [
        "a key is unique only together with the expiry: INSERT ... ON CONFLICT on the key alone fails",
        "an UPDATE that prolongs a record into another month moves its row",
        "GRANTs, triggers, policies and what views make of the table are not copied: repeat them",
        f"a record is kept for up to a month longer than {format_duration(table.kept) if table.kept else 'its expiry'}",
    ]
    if odd:
        loses.append(f"indexes with an expression or a condition are not copied: {', '.join(odd)}")
    return Way(_PARTITIONS, tuple(steps), tuple(loses))


def _months(table: _Table, new: sql.Identifier) -> Iterator[sql.Composed]:
    first = (table.now - table.kept).astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    many = (table.now.year - first.year) * 12 + table.now.month - first.month + MONTHS
    for _ in range(min(many, 24)):
        after = (first + timedelta(days=32)).replace(day=1)
        yield sql.SQL("CREATE TABLE {} PARTITION OF {} FOR VALUES FROM ({}) TO ({});").format(
            table.beside(f"_p{first:%Y%m}"), new, _bound(table, first), _bound(table, after)
        )
        first = after
    yield sql.SQL("CREATE TABLE {} PARTITION OF {} DEFAULT;").format(table.beside("_pdefault"), new)


def _bound(table: _Table, at: datetime) -> sql.Literal:
    """An instant as the column holds it."""
    if table.column.unit is not None:
        return sql.Literal(epoch_at(at, table.column.unit))
    zone = table.relation.shape.zone_of(table.column)
    if table.relation.shape.columns[table.column.column] == NAIVE and zone:
        return sql.Literal(f"{at.astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M:%S}")
    return sql.Literal(f"{at:%Y-%m-%d %H:%M:%S}+00")


def _keys(table: _Table, new: sql.Identifier, columns: list[Any], indexes: list[Any]) -> Iterator[sql.Composed]:
    expiry, led = table.column.column, False
    required = {row[0] for row in columns if row[1]}
    for _, primary, unique, simple, names, method in indexes:
        if not simple or method != "btree":
            continue
        whole = [*names, *([] if expiry in names or not unique else [expiry])]
        listed = sql.SQL(", ").join(map(sql.Identifier, whole))
        led = led or whole[0] == expiry
        if primary and set(whole) <= required:
            yield sql.SQL("ALTER TABLE {} ADD PRIMARY KEY ({});").format(new, listed)
        elif unique:
            yield sql.SQL("CREATE UNIQUE INDEX ON {} ({});").format(new, listed)
        else:
            yield sql.SQL("CREATE INDEX ON {} ({});").format(new, listed)
    if not led:
        yield sql.SQL("CREATE INDEX ON {} ({});").format(new, sql.Identifier(expiry))


def _sequences(table: _Table, columns: list[Any]) -> Iterator[sql.Composed]:
    for name, _, _, identity, sequence in columns:
        if identity:
            yield sql.SQL(
                "SELECT setval(pg_get_serial_sequence({}, {}), (SELECT coalesce(max({}), 0) + 1 FROM {}), false);"
            ).format(sql.Literal(_text(table.name)), sql.Literal(name), sql.Identifier(name), table.name)
        elif sequence:
            # The name comes quoted from the server.
            yield sql.SQL("ALTER SEQUENCE {} OWNED BY {}.{};").format(
                sql.SQL(sequence), table.name, sql.Identifier(name)
            )


def _by_cron(table: _Table, target: Target, *, installed: bool) -> Way:
    steps = [drain(target)]
    if not installed:
        steps.append(Step("the extension, which this server offers", "CREATE EXTENSION pg_cron;"))
    job = sql.SQL("SELECT cron.schedule({}, '* * * * *', {});").format(
        sql.Literal(f"cleanup_{target.name}"), sql.Literal(cron_delete(table))
    )
    steps.append(Step("a job that removes up to 1000 a minute", _text(job)))
    steps.append(Step(f"set targets.{target.name}.mode: dry_run, so that passes go on to look"))
    loses = (
        "no brake, no canary, no load signal and no pause: it deletes whatever its condition says",
        "nobody is told when it fails: cron.job_run_details has it",
    )
    return Way("pg_cron", tuple(steps), loses)


def cron_delete(table: _Table) -> str:
    """One bounded DELETE, with what a pass takes for no expiry left out."""
    column, kept = sql.Identifier(table.column.column), sql.Literal(f"{table.kept.total_seconds():.0f} seconds")
    limit: sql.Composable = sql.SQL("now() - {}::interval").format(kept)
    first: sql.Composable = sql.Literal(f"{FIRST:%Y-%m-%d %H:%M:%S}+00")
    if table.column.unit is not None:
        per_second = sql.Literal(table.column.unit.per_second)
        limit = sql.SQL("extract(epoch FROM {})::numeric * {}").format(limit, per_second)
        first = sql.Literal(epoch_at(FIRST, table.column.unit))
    elif table.relation.shape.columns[table.column.column] == NAIVE:
        limit = sql.SQL("({}) AT TIME ZONE {}").format(limit, sql.Literal(table.relation.shape.zone_of(table.column)))
        first = sql.Literal(f"{FIRST:%Y-%m-%d %H:%M:%S}")
    dead = sql.SQL("{c} < {limit} AND {c} >= {first}").format(c=column, limit=limit, first=first)
    return _text(sql.SQL(statements()["advice_cron_delete"]).format(table=table.name, dead=dead))


def _statement(name: str) -> sql.SQL:
    return sql.SQL(statements()[name])


def _row(connection: Connection, name: str, given: dict[str, Any]) -> tuple[Any, ...]:
    row = connection.execute(_statement(name), given).fetchone()
    assert row is not None  # noqa: S101 - it has no FROM
    return row


def _text(composed: sql.Composable) -> str:
    return composed.as_string(None)
