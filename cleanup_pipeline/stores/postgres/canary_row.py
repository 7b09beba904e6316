"""What a planted row of a table holds, column by column, from the table's own catalog; nothing is guessed.

A column is left to its default or to null wherever that is allowed. Pure: asks no server.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from secrets import randbelow, token_bytes
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

from cleanup_pipeline.model.canary import (
    CANARY_PREFIX,
    SHORTEST_MARK,
    UNGUESSABLE,
    Canary,
    CanaryKind,
    CanarySettings,
    new_mark,
    random_text,
)
from cleanup_pipeline.model.rules import (
    AgeGuard,
    ColumnExpiry,
    ColumnGuard,
    EarliestExpiry,
    JsonEntriesExpiry,
    LatestExpiry,
    NullMeans,
    TableExpiry,
    Test,
)
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.stores.postgres.shape import NAIVE, NUMBERS, TEXTS, Shape, epoch_at

HASHED = "sha256:"
"""Stands in the identity of a canary before the SHA-256, in hexadecimal, of a value that may be a token."""
_OLDER = timedelta(days=1)
_UNREADABLE = datetime(1990, 1, 1, tzinfo=UTC)
"""Before any login there is: the rule takes it for something that cannot be right."""
_SECRET = re.compile(
    r"token|secret|(?<!en)code|passw|nonce|signature|api_?key|digest|hash|(?<![a-z])(t?otp|pin)(?![a-z])", re.IGNORECASE
)
_NO_SECRET = re.compile(
    r"_(type|method|at|id|count|status|hint|version)$|country|currency|language|zip|postal|locale", re.IGNORECASE
)
_BY_TYPE: Mapping[str, Any] = {
    "boolean": False,
    **dict.fromkeys(NUMBERS, 0),
    "json": "{}",
    "jsonb": "{}",
    "bytea": b"",
    # A documentation address (RFC 5737).
    "inet": "192.0.2.1",
    "cidr": "192.0.2.0/24",
    "interval": timedelta(0),
}


@dataclass(frozen=True, slots=True)
class Column:
    """A column as the catalog describes it."""

    name: str
    type: str
    modifier: int
    not_null: bool
    has_default: bool
    generated: bool
    type_kind: str
    """As pg_type.typtype: b is a base type, d a domain, e an enum."""
    primary: bool
    unique: bool
    refers: bool

    @property
    def mandatory(self) -> bool:
        return self.not_null and not self.has_default and not self.generated

    @property
    def width(self) -> int | None:
        """Characters; None: any number."""
        return self.modifier - 4 if self.type in TEXTS and self.modifier > 4 else None

    @property
    def secret(self) -> bool:
        """Whether its name says that who knows the value may get in."""
        return bool(_SECRET.search(self.name)) and not _NO_SECRET.search(self.name)

    def guessable(self, *, marked: bool) -> bool:
        """Whether what can stand in it has fewer than 128 random bits; a random UUID, with 122, is taken."""
        if self.type in TEXTS:
            fixed = len(CANARY_PREFIX) if marked else 0
            return self.width is not None and self.width < fixed + UNGUESSABLE
        return self.type in NUMBERS or self.type in {"json", "jsonb"}

    @property
    def holds_mark(self) -> bool:
        wide = self.width is None or self.width >= SHORTEST_MARK
        return self.type in TEXTS and self.type_kind == "b" and wide and not self.refers and not self.generated


@dataclass(frozen=True, slots=True)
class Recipe:
    """How rows of a table are made: `problems` say, one a line, what keeps them from being made."""

    columns: Mapping[str, Column]
    mark: str | None
    """The column that carries the mark."""
    identity: tuple[str, ...]
    expiry: tuple[tuple[ColumnExpiry, timedelta], ...]
    """Columns that say when a row dies, and how long after what they hold that is."""
    problems: tuple[tuple[str, str], ...]
    """What is wrong, and what to do."""


def recipe_of(target: Target, rule: TableExpiry, columns: list[Column]) -> Recipe:
    """How canaries of a target are made, or why they cannot be."""
    by_name = {column.name: column for column in columns}
    settings = target.canaries or CanarySettings()
    expiry = tuple(_expiry(rule))
    guarded = {guard.column for guard in target.guards if isinstance(guard, ColumnGuard)}
    guarded |= {guard.start.column for guard in target.guards if isinstance(guard, AgeGuard) and guard.start.of is None}
    taken = {column.column for column, _ in expiry} | set(target.where) | guarded | set(settings.values)
    primary = [column for column in columns if column.primary]
    able = [column for column in columns if column.holds_mark and column.name not in taken]
    # A token only where nothing else is: what tells a canary is no way in.
    able.sort(
        key=lambda each: (each.secret and not each.primary, not each.primary, not each.mandatory, not each.unique)
    )
    mark = able[0].name if able else None
    place = f"targets.{target.name}.canaries"
    problems: list[tuple[str, str]] = []
    if not expiry:
        problems.append(("canaries need an expiry in columns of the record itself", f"remove {place}"))
    if target.set_null:
        problems.append(("canaries are whole rows, and this target removes columns of one", f"remove {place}"))
    if mark is None:
        what = f"no column of text has room for the {SHORTEST_MARK} characters by which a canary is known"
        problems.append((what, f"remove {place}"))
    if not primary:
        what = "without a primary key a canary could not be found again without reading the table"
        problems.append((what, "ALTER TABLE ... ADD PRIMARY KEY"))
    unknown = [name for name in settings.values if name not in by_name]
    problems += [(f"there is no column {name}", f"correct {place}.values") for name in unknown]
    for column in columns:
        if column.name not in taken and _needs_word(column):
            asked = "refers to another table" if column.refers else f"is {column.type}"
            what = f"column {column.name} {asked} and has to have a value, which nobody but you knows"
            problems.append((what, f"set {place}.values: {{{column.name}: ...}}"))
        elif column.name not in taken and column.secret and _is_filled(column, mark):
            marked = column.name == mark or (column.primary and column.holds_mark)
            if column.guessable(marked=marked):
                what = f"column {column.name} looks like a secret, and what has room in it could be guessed"
                problems.append((what, f"set {place}.values: {{{column.name}: ...}} to what nobody can log in with"))
    return Recipe(by_name, mark, tuple(column.name for column in primary), expiry, tuple(problems))


def _needs_word(column: Column) -> bool:
    """Whether a column has to be filled and there is nothing to fill it with."""
    if column.refers:
        return column.not_null and not column.generated
    if column.primary and not column.generated:
        return not _can_be_key(column)
    return column.mandatory and _plain(column) is None


def _is_filled(column: Column, mark: str | None) -> bool:
    """Whether a row of a canary has a value in it that was made up here."""
    if column.generated:
        return False
    return column.name == mark or column.primary or column.mandatory or (column.unique and column.not_null)


def _can_be_key(column: Column) -> bool:
    return column.type in {"uuid", "integer", "bigint"} or column.holds_mark


def _plain(column: Column) -> Any:
    """A value of the column's type that means nothing; None where there is none, or it has to be unlike others."""
    if column.type_kind != "b":
        return None
    if column.type in TEXTS:
        return random_text(32)[: column.width]
    if column.secret and column.type == "bytea":
        return token_bytes(32)
    if column.type == "uuid":
        return uuid4()
    if column.unique:
        return -1 - randbelow(2**31 - 1) if column.type in {"integer", "bigint"} else None
    if column.type.startswith("timestamp") or column.type == "date":
        return datetime.now(UTC).replace(tzinfo=None if column.type == NAIVE else UTC)
    return "{}" if column.type.endswith("[]") else _BY_TYPE.get(column.type)


def _expiry(rule: TableExpiry) -> Iterator[tuple[ColumnExpiry, timedelta]]:
    """The columns that say when a row dies; nothing where that takes other rows or a lifetime from a column."""
    parts = rule.of if isinstance(rule, LatestExpiry | EarliestExpiry) else (rule,)
    found: list[tuple[ColumnExpiry, timedelta]] = []
    for part in parts:
        if isinstance(part, JsonEntriesExpiry):
            return
        column, lifetime = (part, timedelta(0)) if isinstance(part, ColumnExpiry) else (part.start, part.lifetime)
        if not isinstance(lifetime, timedelta) or column.of is not None:
            return
        found.append((column, lifetime))
    yield from found


def row_of(recipe: Recipe, target: Target, shape: Shape, canary: Canary) -> dict[str, Any] | None:
    """The row of one canary; None where the columns cannot hold what its kind is."""
    settings = target.canaries or CanarySettings()
    row: dict[str, Any] = {}
    for rule, lifetime in recipe.expiry:
        value = _instant(recipe.columns[rule.column], rule, lifetime, shape, canary)
        if value is _NOT_THERE:
            return None
        row[rule.column] = value
    for column in recipe.columns.values():
        if column.name in row or column.generated:
            continue
        if column.name == recipe.mark:
            # A token of its own, of which the ledger keeps a hash: see `identity_of`.
            row[column.name] = (new_mark() if _hashed(column) else canary.mark)[: column.width]
        elif column.primary and column.holds_mark:
            row[column.name] = new_mark()[: column.width]
        elif column.primary and not column.refers:
            # Below zero: no sequence comes to it.
            row[column.name] = uuid4() if column.type == "uuid" else -1 - randbelow(2**31 - 1)
        elif column.mandatory or (column.unique and column.not_null):
            marked = column.holds_mark and not column.secret
            row[column.name] = new_mark()[: column.width] if marked else _plain(column)
    row |= _guarded(target, shape, canary)
    return row | dict(settings.values)


def identity_of(recipe: Recipe, row: Mapping[str, Any]) -> dict[str, Any]:
    """By which a row is found again: its primary key, and its mark, or the hash of that where it is a token."""
    names = dict.fromkeys((*recipe.identity, recipe.mark or ""))
    return {
        name: HASHED + sha256(row[name].encode()).hexdigest() if _hashed(recipe.columns[name]) else row[name]
        for name in names
    }


def _hashed(column: Column) -> bool:
    return column.secret and not column.primary and column.type in TEXTS


_NOT_THERE = object()


def _instant(of: Column, rule: ColumnExpiry, lifetime: timedelta, shape: Shape, canary: Canary) -> Any:
    if canary.kind is CanaryKind.WITHOUT_EXPIRY:
        return None if not of.not_null and rule.null_means is NullMeans.NEVER else _NOT_THERE
    if canary.kind is CanaryKind.UNPARSABLE and of.type in TEXTS:
        return "cleanup-canary"[: of.width]
    at = _UNREADABLE if canary.dies_at is None else canary.dies_at - lifetime
    if rule.unit is not None:
        number = 1 if canary.dies_at is None else epoch_at(at, rule.unit)
        return str(number) if of.type in TEXTS else number
    zone = shape.zone_of(rule)
    return at.astimezone(ZoneInfo(zone)).replace(tzinfo=None) if of.type == NAIVE and zone else at


def _guarded(target: Target, shape: Shape, canary: Canary) -> dict[str, Any]:
    """What takes a row into a target's guards, as far as that is a matter of its own columns."""
    row: dict[str, Any] = dict(target.where)
    for guard in target.guards:
        match guard:
            case ColumnGuard(column=name, test=Test.IN, values=values):
                row[name] = values[0]
            case ColumnGuard(column=name, test=Test.NULL):
                row[name] = None
            case ColumnGuard(column=name) if shape.columns.get(name) in TEXTS:
                row[name] = new_mark()
            case ColumnGuard(column=name):
                row[name] = datetime.now(UTC).replace(tzinfo=None)
            case AgeGuard(start=start, age=age) if start.of is None:
                at = (canary.dies_at or datetime.now(UTC)) - age - _OLDER
                zone = shape.zone_of(start)
                row[start.column] = at.astimezone(ZoneInfo(zone)).replace(tzinfo=None) if zone else at
            case _:
                pass
    return row
