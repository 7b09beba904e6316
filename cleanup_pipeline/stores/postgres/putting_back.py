"""Rows that were kept, written again: parents before children, then what had let go of them, unless there is one again.

A lot is one transaction, which is on disk when it is answered. Values go back as the text that the server wrote, by
the names of their columns, so that a column that was added since does no harm. Each row has a savepoint, and every
constraint is checked within it, deferrable or not: what one row breaks is not the others' business.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import psycopg
from psycopg import errors, sql

from cleanup_pipeline.model.removed import Fate, Form, Lot, PutBack, Removed
from cleanup_pipeline.stores.postgres.composite import fields_of
from cleanup_pipeline.stores.postgres.connect import Connection
from cleanup_pipeline.stores.postgres.statements import identifier, statement

MOST_REASONS = 5
UNFIT = "it is not as it was written"
Row = dict[str, str | None]
Values = tuple[str | None, ...]
_REFUSALS = (errors.IntegrityError, errors.DataError, errors.RaiseException, errors.UndefinedColumn)


@dataclass(slots=True)
class _State:
    """What has become of the rows so far."""

    rows: Sequence[tuple[int, Row | None]]
    """Form and values of each record; None: it cannot be read."""
    fates: list[Fate]
    reasons: dict[int, str] = field(default_factory=dict[int, str])
    """Of those that are refused, by record."""
    found: dict[tuple[int, tuple[str, ...]], dict[Values, Fate]] = field(
        default_factory=dict[tuple[int, tuple[str, ...]], dict[tuple[str | None, ...], Fate]]
    )
    """By form and columns: what became of the row with these values."""

    def fate_of(self, form: int, columns: Sequence[str], values: Values) -> Fate | None:
        """What became of the row of a form, all of which were tried, with these values; None: there was none."""
        key = form, tuple(columns)
        if key not in self.found:
            self.found[key] = {
                tuple(row[name] for name in columns): self.fates[number]
                for number, (its, row) in enumerate(self.rows)
                if its == form and row is not None
            }
        return self.found[key].get(values)


def put_back(connection: Connection, lot: Lot, *, dry_run: bool) -> PutBack:
    """`PutsBack.put_back`."""
    rows = [(record.form, _row(lot, record)) for record in lot.records]
    state = _State(rows, [Fate.LEFT] * len(rows))
    for number, (_, row) in enumerate(rows):
        if row is None:
            state.fates[number], state.reasons[number] = Fate.REFUSED, UNFIT
    with connection.transaction(force_rollback=dry_run):
        connection.execute(statement("durably"))
        connection.execute(statement("at_once"))
        for form_number in _order(lot.forms):
            numbers = [n for n, (its, row) in enumerate(rows) if its == form_number and row is not None]
            _in_rounds(connection, lot.forms[form_number], numbers, state)
    reasons = (state.reasons[number] for number in sorted(state.reasons))
    return PutBack(tuple(state.fates), tuple(dict.fromkeys(reasons))[:MOST_REASONS])


def _in_rounds(connection: Connection, form: Form, numbers: Sequence[int], state: _State) -> None:
    """Put rows of one table back. One that refers to another of them is tried again once that one may be there."""
    left, before = list(numbers), len(numbers) + 1
    while left and len(left) < before:
        before = len(left)
        # Turned round each time: a chain that lies the wrong way is done in two rounds.
        left = [number for number in left if _one(connection, form, number, state)][::-1]
    if len(left) > 1:
        _together(connection, form, left, state)


def _together(connection: Connection, form: Form, numbers: Sequence[int], state: _State) -> None:
    """Rows that refer to one another in a circle, where their constraint may wait until all of them are there."""
    try:
        with connection.transaction():
            connection.execute(statement("at_the_end"))
            fates = [_written(connection, form, _values(number, state), plain=False) for number in numbers]
            connection.execute(statement("at_once"))
    except (*_REFUSALS, errors.ObjectNotInPrerequisiteState):
        # The reason of each is known from the rounds.
        return
    for number, fate in zip(numbers, fates, strict=True):
        state.fates[number] = fate
        state.reasons.pop(number, None)


def _order(forms: Sequence[Form]) -> list[int]:
    """Records, their children from the top down, then rows that had let go."""
    children = [n for n, form in enumerate(forms) if "referring" in form]
    return [0, *reversed(children), *(n for n, form in enumerate(forms) if "detach" in form)]


def _row(lot: Lot, record: Removed) -> Row | None:
    """None: the body does not fit its form."""
    try:
        form = lot.forms[record.form]
        fields = fields_of(record.body.decode())[int(form.get("skip", 0)) :]
        return dict(zip(form["columns"], fields, strict=True))
    except (ValueError, LookupError):
        return None


def _values(number: int, state: _State) -> Row:
    return state.rows[number][1] or {}


def _one(connection: Connection, form: Form, number: int, state: _State) -> bool:
    """Try one row, and note what becomes of it. Whether another row that comes back may change that."""
    row = _values(number, state)
    state.reasons.pop(number, None)
    try:
        state.fates[number] = _tried(connection, form, row) if _with_its_record(form, row, state) else Fate.LEFT
    except LookupError:
        state.fates[number], state.reasons[number] = Fate.REFUSED, UNFIT
    except _REFUSALS as fault:
        # The primary line names constraints and columns; the detail would quote the row.
        state.fates[number], state.reasons[number] = Fate.REFUSED, _reason(fault)
        return isinstance(fault, errors.ForeignKeyViolation)
    return False


def _tried(connection: Connection, form: Form, row: Row) -> Fate:
    try:
        with connection.transaction():
            return _written(connection, form, row, plain=False)
    except errors.ObjectNotInPrerequisiteState:
        # ON CONFLICT refuses tables with a unique constraint that is deferrable.
        try:
            with connection.transaction():
                return _written(connection, form, row, plain=True)
        except (errors.UniqueViolation, errors.ExclusionViolation):
            return Fate.EXISTS


def _written(connection: Connection, form: Form, row: Row, *, plain: bool) -> Fate:
    if "detach" in form:
        return _columns_back(connection, form, row, [form["detach"]])
    if form.get("nulls"):
        return _columns_back(connection, form, row, form["nulls"])
    return _row_back(connection, form, row, plain=plain)


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
    """Places of the rows of a lot that went with some of its records, or had let go of them.

    A row that cannot be read is taken for one of them: nobody could put it back.
    """
    rows = [_row(lot, record) for record in lot.records]
    chosen = set(places)
    for number in _order(lot.forms)[1:]:
        form = lot.forms[number]
        above, named = (0, [form["by"]]) if "detach" in form else (int(form["above"]), form["referred"])
        mine = [form["detach"]] if "detach" in form else form["referring"]
        parents = [rows[n] for n in chosen if lot.records[n].form == above]
        theirs = {tuple(row.get(name) for name in named) for row in parents if row is not None}
        for n, row in enumerate(rows):
            if lot.records[n].form == number and (row is None or tuple(row.get(name) for name in mine) in theirs):
                chosen.add(n)
    return sorted(chosen - set(places))


def _row_back(connection: Connection, form: Form, row: Row, *, plain: bool) -> Fate:
    names = [name for name in form["columns"] if name not in form["computed"]]
    query = statement(
        "put_row_back",
        conflict=sql.SQL("" if plain else "ON CONFLICT DO NOTHING"),
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
