"""Rows that were kept, written again: parents before children, then what had let go of them, unless there is one again.

A lot is one transaction, which is on disk when it is answered. Values go back as the text that the server wrote, by
the names of their columns, so that a column that was added since does no harm.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import psycopg
from psycopg import errors, sql

from cleanup_pipeline.model.removed import Fate, Form, Lot, PutBack
from cleanup_pipeline.stores.postgres.composite import fields_of
from cleanup_pipeline.stores.postgres.connect import Connection
from cleanup_pipeline.stores.postgres.statements import identifier, statement

MOST_REASONS = 5
Row = dict[str, str | None]
Values = tuple[str | None, ...]


@dataclass(slots=True)
class _State:
    """What has become of the rows so far."""

    fates: list[Fate]
    reasons: list[str] = field(default_factory=list[str])
    rows: dict[int, list[tuple[Row, Fate]]] = field(default_factory=dict[int, list[tuple[Row, Fate]]])
    """By form."""
    found: dict[tuple[int, tuple[str, ...]], dict[Values, Fate]] = field(
        default_factory=dict[tuple[int, tuple[str, ...]], dict[tuple[str | None, ...], Fate]]
    )
    """By form and columns: what became of the row with these values."""

    def fate_of(self, form: int, columns: Sequence[str], values: Values) -> Fate | None:
        """What became of the row of a form with these values; None: there was none."""
        key = form, tuple(columns)
        if key not in self.found:
            self.found[key] = {tuple(row[name] for name in columns): fate for row, fate in self.rows[form]}
        return self.found[key].get(values)


def put_back(connection: Connection, lot: Lot, *, dry_run: bool) -> PutBack:
    """`PutsBack.put_back`."""
    state = _State([Fate.LEFT] * len(lot.records))
    by_form: dict[int, list[tuple[int, Row]]] = {}
    for number, record in enumerate(lot.records):
        by_form.setdefault(record.form, []).append((number, _row(lot.forms[record.form], record.body)))
    with connection.transaction(force_rollback=dry_run):
        connection.execute(statement("durably"))
        for form_number in _order(lot.forms):
            form = lot.forms[form_number]
            done: list[tuple[Row, Fate]] = []
            for number, row in by_form.get(form_number, []):
                fate = _one(connection, form, row, state)
                state.fates[number] = fate
                done.append((row, fate))
            state.rows[form_number] = done
    return PutBack(tuple(state.fates), tuple(dict.fromkeys(state.reasons))[:MOST_REASONS])


def _order(forms: Sequence[Form]) -> list[int]:
    """Records, their children from the top down, then rows that had let go."""
    children = [n for n, form in enumerate(forms) if "referring" in form]
    return [0, *reversed(children), *(n for n, form in enumerate(forms) if "detach" in form)]


def _row(form: Form, body: bytes) -> Row:
    fields = fields_of(body.decode())[int(form.get("skip", 0)) :]
    return dict(zip(form["columns"], fields, strict=True))


def _one(connection: Connection, form: Form, row: Row, state: _State) -> Fate:
    if not _with_its_record(form, row, state):
        return Fate.LEFT
    try:
        with connection.transaction():
            if "detach" in form:
                return _columns_back(connection, form, row, [form["detach"]])
            if form.get("nulls"):
                return _columns_back(connection, form, row, form["nulls"])
            return _row_back(connection, form, row)
    except (errors.IntegrityError, errors.DataError, errors.RaiseException, errors.UndefinedColumn) as fault:
        # The primary line names constraints and columns; the detail would quote the row.
        state.reasons.append(_reason(fault))
        return Fate.REFUSED


def _reason(fault: psycopg.Error) -> str:
    what = fault.diag.constraint_name or fault.diag.column_name
    kind = type(fault).__name__
    return f"{kind} ({what})" if what else kind


def _with_its_record(form: Form, row: Row, state: _State) -> bool:
    """Whether what a row went with, or had let go of, was put back."""
    if "detach" in form:
        return state.fate_of(0, [form["by"]], (row[form["detach"]],)) is Fate.RESTORED
    if "referring" not in form:
        return True
    mine = tuple(row[name] for name in form["referring"])
    return state.fate_of(int(form["above"]), form["referred"], mine) is Fate.RESTORED


def belonging(lot: Lot, places: Sequence[int]) -> list[int]:
    """Places of the rows of a lot that went with some of its records, or had let go of them."""
    rows = [_row(lot.forms[record.form], record.body) for record in lot.records]
    chosen = set(places)
    for number in _order(lot.forms)[1:]:
        form = lot.forms[number]
        above, named = (0, [form["by"]]) if "detach" in form else (int(form["above"]), form["referred"])
        mine = [form["detach"]] if "detach" in form else form["referring"]
        theirs = {tuple(rows[n].get(name) for name in named) for n in chosen if lot.records[n].form == above}
        chosen |= {
            n
            for n, record in enumerate(lot.records)
            if record.form == number and tuple(rows[n].get(name) for name in mine) in theirs
        }
    return sorted(chosen - set(places))


def _row_back(connection: Connection, form: Form, row: Row) -> Fate:
    names = [name for name in form["columns"] if name not in form["computed"]]
    query = statement(
        "put_row_back",
        table=_table(form),
        columns=sql.SQL(", ").join(identifier(name) for name in names),
        values=sql.SQL(", ").join(sql.Placeholder() for _ in names),
    )
    inserted = connection.execute(query, [row[name] for name in names]).rowcount
    return Fate.RESTORED if inserted else Fate.EXISTS


def _columns_back(connection: Connection, form: Form, row: Row, names: Sequence[str]) -> Fate:
    """Give a row that stayed its columns back, if they are still empty."""
    key = sql.SQL(" AND ").join(sql.SQL("{} = {}").format(identifier(name), sql.Placeholder()) for name in form["key"])
    keys = [row[name] for name in form["key"]]
    changes = sql.SQL(", ").join(sql.SQL("{} = {}").format(identifier(name), sql.Placeholder()) for name in names)
    empty = sql.SQL(" AND ").join(sql.SQL("{} IS NULL").format(identifier(name)) for name in names)
    query = statement("put_columns_back", table=_table(form), changes=changes, key=key, empty=empty)
    if connection.execute(query, [*(row[name] for name in names), *keys]).rowcount:
        return Fate.RESTORED
    there = connection.execute(statement("row_is_there", table=_table(form), key=key), keys).fetchone()
    return Fate.EXISTS if there and there[0] else Fate.LEFT


def _table(form: Form) -> sql.Identifier:
    return identifier(*(part for part in form["table"] if part))
