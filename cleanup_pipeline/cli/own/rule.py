"""How a record says when it dies: the `expires` of a target."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cleanup_pipeline.cli.errors import UsageError
from cleanup_pipeline.cli.own.asking import Ask, Option, looks_like_mapping, mapping
from cleanup_pipeline.cli.own.documents import document_rule
from cleanup_pipeline.cli.own.given import Given, Place
from cleanup_pipeline.cli.own.keys import key_rule
from cleanup_pipeline.cli.own.suggest import AWARE, NAIVE, NUMBERS, TEXTS, instants, is_beginning, is_end
from cleanup_pipeline.cli.own.values import a_duration, a_zone, listed, null_and_never, the_unit
from cleanup_pipeline.layouts.expiry_spec import EXPIRY_WANTED, choose_spec
from cleanup_pipeline.model.seen import Seen, SeenField
from cleanup_pipeline.model.target import Source, TableSource
from cleanup_pipeline.model.words import StoreType

Rule = dict[str, Any]

AT, AFTER, LATEST, EARLIEST, OTHER, WRITTEN = "at", "after", "latest", "earliest", "other", "written"
_FORMS = (
    Option(AT, "at the instant in a column, such as expires_at"),
    Option(AFTER, "so long after an instant in a column, such as created_at"),
    Option(LATEST, "when all of several columns have passed, as with two tokens in a row"),
    Option(EARLIEST, "when the first of several columns has, as with an idle and a hard limit"),
    Option(OTHER, "with a row of another table, at the instant in a column there"),
    Option(WRITTEN, "by another rule, written in YAML (docs/own-layout.md lists them)"),
)


def chosen_rule(ask: Ask, given: Given, place: Place, source: Mapping[str, Any], seen: Seen | None) -> Rule:
    """The rule as it is written. Raises UsageError."""
    if given.expires is not None and looks_like_mapping(given.expires):
        return _written(given, place.type, given.expires)
    _refuse_refinements(given, place.type)
    match place.type:
        case StoreType.POSTGRES:
            return _of_row(ask, given, place, source, seen)
        case StoreType.MONGO:
            return document_rule(ask, given, seen) or _asked_as_yaml(ask, given, place.type)
        case StoreType.REDIS:
            return key_rule(ask, given, seen) or _asked_as_yaml(ask, given, place.type)


def _written(given: Given, store_type: StoreType, text: str) -> Rule:
    try:
        rule = mapping(text, EXPIRY_WANTED[store_type])
    except ValueError as fault:
        raise UsageError(f"--expires: expected {fault}") from None
    stray = [flag for flag, value in _refinements(given).items() if value]
    if stray:
        raise UsageError(f"{', '.join(stray)}: write it into the mapping of --expires, or give --expires a name alone")
    if choose_spec(store_type, rule) is None:
        raise UsageError(f"--expires: expected {EXPIRY_WANTED[store_type]}, because the store is {store_type}")
    return rule


def _refinements(given: Given) -> dict[str, Any]:
    return {
        "--unit": given.unit,
        "--zone": given.zone,
        "--lifetime": given.lifetime,
        "--null-means": given.null_means,
        "--never-value": given.never_value,
    }


_HAVE_NOT: Mapping[StoreType, tuple[str, ...]] = {
    StoreType.POSTGRES: (),
    StoreType.MONGO: ("--zone", "--null-means", "--never-value"),
    StoreType.REDIS: ("--zone", "--null-means", "--never-value", "--lifetime"),
}


def _refuse_refinements(given: Given, store_type: StoreType) -> None:
    """What would not be in the rule must not look as if it were."""
    said = _refinements(given)
    stray = [flag for flag in _HAVE_NOT[store_type] if said[flag]]
    if stray:
        raise UsageError(f"{', '.join(stray)}: no rule of a {store_type} store has that")
    beside = [flag for flag in ("--null-means", "--never-value") if said[flag]]
    if given.lifetime and beside:
        raise UsageError(f"{', '.join(beside)}: beside --lifetime, write the rule as a mapping")


def _asked_as_yaml(ask: Ask, given: Given, store_type: StoreType) -> Rule:
    def check(answer: str) -> str:
        if choose_spec(store_type, mapping(answer, EXPIRY_WANTED[store_type])) is None:
            raise ValueError(EXPIRY_WANTED[store_type])
        return answer

    answer = ask.text(given.expires, "--expires", "The rule", check=check)
    ask.stop_if_lacking()
    return mapping(answer, EXPIRY_WANTED[store_type])


def _of_row(ask: Ask, given: Given, place: Place, source: Mapping[str, Any], seen: Seen | None) -> Rule:
    columns = _Columns(ask, given, place, source, seen)
    if given.expires is not None:
        return columns.after(given.expires) if given.lifetime else columns.at(given.expires)
    ends = seen is None or any(is_end(field.name) for field in instants(seen, StoreType.POSTGRES))
    form = ask.pick(None, "--expires", "When does a record die?", _FORMS, AT if ends else AFTER)
    match form:
        case "at":
            return columns.at(None)
        case "after":
            return columns.after(None)
        case "latest" | "earliest":
            names = listed(ask.text(None, "--expires", "Which columns, with commas between them", check=columns.two))
            return {form: [columns.at(name, plain=True) for name in names]}
        case "other":
            return _with_another(ask, columns)
        case _:
            return _asked_as_yaml(ask, given, StoreType.POSTGRES)


def _with_another(ask: Ask, columns: "_Columns") -> Rule:
    table = ask.text(None, "--expires", "Which other table")
    key = ask.text(None, "--expires", f"Its column that says which record it is about (key, in {table})")
    by = columns.pick("The column of this record that it equals", "id", anything=True)
    column = ask.text(None, "--expires", f"Its column that says when it dies (in {table})", "expires_at")
    rule: Rule = {"column": column}
    kind = ask.pick(None, "--expires", f"What is {column} of {table}?", _TYPES, "timestamptz")
    if kind == "timestamp":
        rule["zone"] = ask.text(
            None, "--zone", "In which zone was it written (utc, session or an IANA name)", check=a_zone
        )
    elif kind == "number":
        rule["unit"] = the_unit(ask, None, None)
    return {**rule, "of": {"table": table, "key": key, "by": by}}


_TYPES = (Option("timestamptz"), Option("timestamp", "without zone, or a date"), Option("number", "or text with one"))


class _Columns:
    """The columns of a table, and how an instant in one of them is read."""

    def __init__(self, ask: Ask, given: Given, place: Place, source: Mapping[str, Any], seen: Seen | None) -> None:
        self.ask, self.given, self.place, self.seen = ask, given, place, seen
        schema = str(source.get("schema") or (seen.schema if seen else "")) or None
        self.source: Source = TableSource(str(source["table"]).rpartition(".")[2], schema)
        self.fields = {field.name: field for field in seen.fields} if seen else {}

    def at(self, name: str | None, *, plain: bool = False) -> Rule:
        """The instant in a column; `plain`: one of several, without what null and other values mean."""
        column = self._checked(name) if name else self.pick("Which column says when?", self._best(is_end))
        rule = {"column": column, **self._reading(column)}
        return rule if plain else rule | null_and_never(self.ask, self.given, column, numeric="unit" in rule)

    def after(self, name: str | None) -> Rule:
        """So long after one."""
        column = self._checked(name) if name else self.pick("After which column?", self._best(is_beginning))
        reading = self._reading(column)
        start: Any = {"column": column, **reading} if reading else column
        question = "How long does a record live, as the application has it (2h, 30d)"
        lifetime = self.ask.text(self.given.lifetime, "--lifetime", question, check=a_duration)
        self.ask.stop_if_lacking()
        return {"start": start, "lifetime": lifetime}

    def two(self, answer: str) -> str:
        """Checks a list of columns. Raises ValueError."""
        names = listed(answer)
        unknown = [name for name in names if self.fields and name not in self.fields]
        if len(names) < 2 or unknown:
            raise ValueError(
                f"two columns or more of {', '.join(self.fields)}" if self.fields else "two columns or more"
            )
        return answer

    def pick(self, question: str, default: str | None, *, anything: bool = False) -> str:
        """One of the columns, first those that may hold an instant unless it may be anything."""
        fields: Sequence[SeenField] = self.seen.fields if self.seen is not None else ()
        if self.seen is not None and not anything:
            likely = instants(self.seen, StoreType.POSTGRES)
            fields = [*likely, *(field for field in fields if field not in likely)]
        options = [Option(field.name, field.type) for field in fields]
        known = {option.value for option in options}
        default = default if not options or default in known else None
        return self.ask.pick(None, "--expires", question, options, default, only=bool(options))

    def _best(self, fits: Callable[[str], bool]) -> str | None:
        if self.seen is None:
            return None
        names = [field.name for field in instants(self.seen, StoreType.POSTGRES)]
        return next((name for name in names if fits(name)), names[0] if len(names) == 1 else None)

    def _checked(self, name: str) -> str:
        if self.fields and name not in self.fields:
            from cleanup_pipeline.settings.faults import nearest

            close = nearest(name, self.fields)
            hint = f"; did you mean {close}?" if close else f"; it has {', '.join(self.fields)}"
            raise UsageError(f"--expires {name}: {self.source.table} has no such column{hint}")  # type: ignore[union-attr]
        return name

    def _reading(self, column: str) -> Rule:
        """Zone or unit, as far as the column's type needs one."""
        known = self.fields.get(column)
        zone, unit = self.given.zone, self.given.unit
        kind = known.type if known else None
        if kind is None and self.ask.terminal and zone is None and unit is None:
            shown = {"timestamptz": AWARE, "timestamp": NAIVE[0], "number": NUMBERS[0]}
            kind = shown[self.ask.pick(None, "--expires", f"What is {column}?", _TYPES, "timestamptz")]
        if kind == AWARE:
            self._refuse(zone, unit, column, "a timestamptz, which needs neither --zone nor --unit")
            return {}
        if kind in NAIVE:
            self._refuse(None, unit, column, f"a {kind}, which has a --zone and no --unit")
            question = (
                f"In which zone was {column} written (utc, session = that of the database's logins, or an IANA name)"
            )
            rule = {"zone": self.ask.text(zone, "--zone", question, check=a_zone)}
            self.ask.stop_if_lacking()
            return rule
        if kind in NUMBERS or kind in TEXTS:
            self._refuse(zone, None, column, f"of type {kind}, which has a --unit and no --zone")
            likely = self.place.magnitude(self.source, column)
            return {"unit": the_unit(self.ask, unit, likely)}
        if kind is not None:
            raise UsageError(f"--expires {column}: it is of type {kind}, in which no rule finds an instant")
        return {key: value for key, value in (("zone", zone and a_zone(zone)), ("unit", unit)) if value}

    def _refuse(self, zone: str | None, unit: str | None, column: str, what: str) -> None:
        if zone is not None or unit is not None:
            raise UsageError(f"--expires {column}: the column is {what}")
