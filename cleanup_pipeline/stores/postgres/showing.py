"""The statements of a target as they are sent, for people to read."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from psycopg import sql

from cleanup_pipeline.model.rules import SESSION_ZONE, ColumnExpiry, JsonEntriesExpiry, Related
from cleanup_pipeline.model.target import TableSource, Target
from cleanup_pipeline.stores.postgres.predicate import (
    Predicate,
    column_alone,
    columns_in,
    compile_predicate,
    lifetimes_in,
    related_in,
)
from cleanup_pipeline.stores.postgres.relation import source_of
from cleanup_pipeline.stores.postgres.removal import Removal
from cleanup_pipeline.stores.postgres.shape import AWARE, NAIVE, Shape
from cleanup_pipeline.stores.postgres.statements import identifier, statement


@dataclass(frozen=True, slots=True)
class Shown:
    """One statement, and the values of its parameters by name."""

    title: str
    text: str
    parameters: Mapping[str, object]


def shown(target: Target, cutoff: datetime) -> list[Shown]:
    """What a batch of a target sends. The types of its columns are those that its rule asks for."""
    source, _ = source_of(target)
    shape = assumed_shape(target)
    predicate = predicate_of(target, shape, cutoff)
    table = _table(source, shape)
    detach = tuple((shape.key(related), related) for related in target.detach)
    removal = Removal(nulls=target.set_null, detach=detach)
    given: dict[str, object] = {**predicate.parameters, "size": target.batch_size}
    first = [
        Shown("rows that refer to what was found let go of it", text.as_string(), {}) for text in removal.first(table)
    ]
    if target.children_first:
        first.append(Shown("then rows of every table that refers to it by a foreign key are deleted", "", {}))
    walks = column_alone(target.expiry) is not None  # type: ignore[arg-type]
    found = walk_query(predicate, table) if walks else _sweep(predicate, table)
    if first:
        doom = statement("doom_found", found=found)
        removing = removal.statement(table, predicate.kept)
        last = statement("delete_doomed", removal=removing, expired=predicate.expired)
        return [Shown("what is found is locked", _plain(doom), given), *first, Shown("and goes", _plain(last), given)]
    whole = statement(
        "delete_found",
        found=found,
        patience=sql.SQL("''"),
        removal=removal.statement(table, predicate.kept),
        expired=predicate.expired,
    )
    title = "along the index on expiry, where there is one; else block by block" if walks else "block by block"
    return [Shown(title, _plain(whole), given)]


def walk_query(predicate: Predicate, table: sql.Identifier) -> sql.Composed:
    """What an index walk begins with: the oldest of what has expired."""
    return statement(
        "walk_found",
        table=table,
        expiry=predicate.expiry,
        expired=predicate.expired,
        after=sql.SQL("true"),
        locking=sql.SQL(""),
    )


def predicate_of(target: Target, shape: Shape, cutoff: datetime) -> Predicate:
    """The conditions of a target over tables of this shape."""
    _, rule = source_of(target)
    return compile_predicate(
        rule, shape, cutoff, target.since, where=target.where, guards=target.guards, set_null=target.set_null
    )


def assumed_shape(target: Target) -> Shape:
    """The columns that a rule reads, of the types that it asks for: for a table that nobody has looked at."""
    source, rule = source_of(target)
    own: dict[str, str] = {}
    others: dict[tuple[str, str], dict[str, str]] = {}
    schema = source.schema or ""

    def columns(of: Related | None) -> dict[str, str]:
        return own if of is None else others.setdefault((of.schema or schema, of.table), {})

    for related in related_in(rule, target.guards):
        columns(related)
    for column in columns_in(rule, target.guards):
        columns(column.of)[column.column] = _type(column)
    if isinstance(rule, JsonEntriesExpiry):
        own[rule.column] = "json"
    for lifetime in lifetimes_in(rule):
        columns(getattr(lifetime, "of", None))[lifetime.column] = "bigint"
    return Shape(schema, own, others, f"<{SESSION_ZONE}>")


def _type(column: ColumnExpiry) -> str:
    if column.unit is not None:
        return "bigint"
    return NAIVE if column.zone is not None else AWARE


def _table(source: TableSource, shape: Shape) -> sql.Identifier:
    return identifier(source.schema, source.table) if source.schema else identifier(source.table)


def _sweep(predicate: Predicate, table: sql.Identifier) -> sql.Composed:
    order = sql.SQL("ORDER BY ctid" if predicate.joins else "")
    return statement(
        "sweep_found", table=table, inner=sql.SQL("*"), expired=predicate.expired, order=order, locking=sql.SQL("")
    )


def _plain(text: sql.Composed) -> str:
    """Without the comments, and with a line for each condition."""
    plain = re.sub(r"-- .*\n", "", text.as_string()).replace(" AND true", "")
    return plain.replace(" AND ", "\n  AND ")
