"""Entries of a JSON object in a column, as SQL: when the first of them dies, and what is left of the object without
those that have.

Nothing in such an expression fails on a value, however odd. The text of the entries that stay is theirs (json keeps it
as it was written; jsonb has a form of its own anyway).
"""

from datetime import datetime

from psycopg import sql

from cleanup_pipeline.model.rules import JsonEntriesExpiry
from cleanup_pipeline.model.words import FIRST_PLAUSIBLE_SECONDS, LAST_PLAUSIBLE_SECONDS
from cleanup_pipeline.stores.postgres.shape import EPOCH, RECORD, Binds, Shape, column_of, epoch_at
from cleanup_pipeline.stores.postgres.statements import identifier

JSON_TYPES = frozenset({"json", "jsonb"})


def problem_with(column_type: str, rule: JsonEntriesExpiry) -> tuple[str, str] | None:
    """What keeps a column of this type from being read as an object of entries, and the remedy; None when nothing."""
    if column_type in JSON_TYPES:
        return None
    what = f"column {rule.column} is {column_type}, not json or jsonb"
    return what, "text that holds JSON is not taken apart: ALTER TABLE ... TYPE jsonb, or leave this target out"


def first_death(rule: JsonEntriesExpiry, shape: Shape, binds: Binds) -> sql.Composable:
    """The instant at which the first entry of the record dies; NULL where none ever does, -infinity for none that is
    plausible."""
    per_second = rule.unit.per_second
    return sql.SQL(
        "(SELECT CASE WHEN {odd} THEN '-infinity'::timestamptz\n"
        "     WHEN bool_or(n >= {first}) THEN\n"
        "       to_timestamp((min(n) FILTER (WHERE n >= {first}) / {per}::numeric)::float8)\n"
        "     WHEN bool_or(n > 0) THEN '-infinity'::timestamptz END\n"
        "     FROM (SELECT least({number}, {last}) AS n FROM {entries}) of_record)"
    ).format(
        odd=_odd(rule, shape),
        first=binds.add(FIRST_PLAUSIBLE_SECONDS * per_second),
        last=binds.add(LAST_PLAUSIBLE_SECONDS * per_second),
        per=sql.Literal(per_second),
        number=_number(rule),
        entries=_entries(rule, shape),
    )


def kept(rule: JsonEntriesExpiry, shape: Shape, cutoff: datetime, binds: Binds) -> sql.Composable:
    """The column set to the entries that have not died before the cutoff."""
    kind = shape.columns[rule.column]
    return sql.SQL(
        "{column} = (SELECT coalesce({agg}(entry.key, entry.value ORDER BY entry.at), '{{}}'::{kind}) FROM {entries}\n"
        "    WHERE ({number} >= {first} AND {number} < {limit}) IS NOT TRUE)"
    ).format(
        column=identifier(rule.column),
        agg=sql.SQL("jsonb_object_agg" if kind == "jsonb" else "json_object_agg"),
        kind=sql.SQL(kind),
        entries=_entries(rule, shape),
        number=_number(rule),
        first=binds.add(FIRST_PLAUSIBLE_SECONDS * rule.unit.per_second),
        # Up, as `dead` has it: an entry of the second that the cutoff lies in has died before the cutoff.
        limit=binds.add(-epoch_at(EPOCH - (cutoff - EPOCH), rule.unit)),
    )


def _entries(rule: JsonEntriesExpiry, shape: Shape) -> sql.Composable:
    kind = sql.SQL(shape.columns[rule.column])
    column = column_of(RECORD, rule.column)
    return sql.SQL(
        "{kind}_each(CASE WHEN {kind}_typeof({column}) = 'object' AND NOT {odd} THEN {column} ELSE '{{}}'::{kind} END)"
        " WITH ORDINALITY AS entry (key, value, at)"
    ).format(kind=kind, column=column, odd=_odd(rule, shape))


def _odd(rule: JsonEntriesExpiry, shape: Shape) -> sql.Composable:
    """Whether to take it apart could fail: json is stored unchecked, and these escapes stand for no text."""
    if shape.columns[rule.column] == "jsonb":
        return sql.SQL("false")
    return sql.SQL("({}::text ~* '\\\\u(0000|d[89a-f])')").format(column_of(RECORD, rule.column))


def _number(rule: JsonEntriesExpiry) -> sql.Composable:
    text = sql.SQL("(entry.value ->> {})").format(sql.Literal(rule.field))
    return sql.SQL("(CASE WHEN {t} ~ '^[0-9]{{1,18}}$' THEN {t}::bigint END)").format(t=text)
