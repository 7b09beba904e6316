"""What a target does, in a sentence or three that somebody who knows the application can say yes or no to."""

from collections.abc import Mapping, Sequence
from datetime import timedelta

from cleanup_pipeline.layouts.key_words import UNITS
from cleanup_pipeline.layouts.words import guard_words, value_words
from cleanup_pipeline.model.durations import format_duration
from cleanup_pipeline.model.rules import (
    SESSION_ZONE,
    ColumnExpiry,
    EarliestExpiry,
    JsonEntriesExpiry,
    LatestExpiry,
    LifetimeByValue,
    LifetimeColumn,
    NullMeans,
    StartExpiry,
)
from cleanup_pipeline.model.target import (
    CollectionSource,
    ElementsExpiry,
    FieldExpiry,
    HashFieldExpiry,
    JsonExpiry,
    JwtKeyExpiry,
    KeySource,
    MembersExpiry,
    MsgpackExpiry,
    NativeTtl,
    PointerExpiry,
    ScoreExpiry,
    TableSource,
    Target,
    ValueExpiry,
)
from cleanup_pipeline.model.words import EpochUnit, StoreType

Types = Mapping[str, str]
"""Of columns and fields, by name, as far as they are known."""

_SHORT = {"timestamp with time zone": "timestamptz", "timestamp without time zone": "timestamp"}


def sentence(target: Target, types: Types | None = None) -> str:
    """Who is dead, what keeps it all the same, and what becomes of it. Plain text on one line."""
    parts = [_who_is_dead(target, types or {}), *_only(target), _what_becomes(target)]
    return " ".join(parts).replace("`", "")


def _before(grace: timedelta) -> str:
    return f"before now - {format_duration(grace)}" if grace else "before now"


def _who_is_dead(target: Target, types: Types) -> str:
    before = _before(target.grace)
    match target.source:
        case TableSource():
            return f"A row of {target.source_name} is dead once {_of_row(target, types, before)}."
        case CollectionSource():
            return _of_document(target, types, before)
        case KeySource(key_type=kind):
            return _of_key(target, kind, before)


def _of_row(target: Target, types: Types, before: str) -> str:
    match target.expiry:
        case ColumnExpiry() as column:
            return f"{_column(column, types)} lies {before}; {_never(column)}"
        case StartExpiry() as start:
            return f"{_start(start, types)} lies {before}; {_never_started(start)}"
        case LatestExpiry(of=several):
            listed = " and ".join(_part(one, types) for one in several)
            return f"{listed} all lie {before}; one that never expires keeps it"
        case EarliestExpiry(of=several):
            return f"the first of {' and '.join(_part(one, types) for one in several)} lies {before}"
        case JsonEntriesExpiry(column=name, field=field, unit=unit):
            ended = f"its {field} ({_since_1970(unit)}) lies {before}"
            return f"each entry of its {name} is, when {ended}; what is missing, 0 or unreadable never expires"
        case rule:
            raise TypeError(f"{type(rule).__name__} is no rule for a row")


def _part(rule: ColumnExpiry | StartExpiry, types: Types) -> str:
    return _column(rule, types) if isinstance(rule, ColumnExpiry) else _start(rule, types)


def _column(column: ColumnExpiry, types: Types) -> str:
    known = types.get(column.column) if column.of is None else None
    details = [_SHORT.get(known, known)] if known else []
    if column.unit is not None:
        details.append(_since_1970(column.unit))
    if column.zone is not None:
        zone = "the zone of the database's sessions" if column.zone == SESSION_ZONE else column.zone
        details.append(f"read in {zone}")
    named = column.column + (f" ({', '.join(details)})" if details else "")
    if column.of is None:
        return named
    return f"the latest {named} of the rows of {column.of.name} whose {column.of.key} is its {column.of.by}"


def _never(column: ColumnExpiry) -> str:
    never = [] if column.null_means is NullMeans.DEAD else ["NULL"]
    never += ["0"] if column.unit is not None else []
    never += [value_words(value) for value in column.never_values]
    words = f"{_listed(never)} never {_verb(never, 'expire')}" if never else ""
    if column.null_means is NullMeans.DEAD:
        words = "NULL is dead" + (f", {words}" if words else "")
    if column.of is not None:
        words += "; a row without any never expires"
    return words


def _start(rule: StartExpiry, types: Types) -> str:
    start = _column(rule.start, types)
    match rule.lifetime:
        case timedelta() as length:
            return f"{start} + {format_duration(length)}"
        case LifetimeColumn(column=name, unit=unit, of=of):
            whose = f" of {of.name}" if of else ""
            return f"{start} + {name}{whose} ({UNITS[unit]})"
        case LifetimeByValue(column=name, values=values, prefixes=prefixes):
            known = [f"{format_duration(length)} for {value}" for value, length in values]
            known += [f"{format_duration(length)} for {prefix}*" for prefix, length in prefixes]
            return f"{start} + what its {name} says ({', '.join(known)})"


def _never_started(rule: StartExpiry) -> str:
    match rule.lifetime:
        case LifetimeColumn(column=name):
            return f"where {name} is NULL, 0 or less, it never expires"
        case LifetimeByValue(column=name):
            return f"any other {name} never expires"
        case _:
            return _never(rule.start)


def _of_document(target: Target, types: Types, before: str) -> str:
    rule = target.expiry
    if not isinstance(rule, FieldExpiry):
        raise TypeError(f"{type(rule).__name__} is no rule for a document")
    kind = _since_1970(rule.unit) if rule.unit else "date"
    if rule.or_unit:
        kind = f"date, or {_since_1970(rule.or_unit)}"
    named = f"{rule.field} ({kind})"
    if rule.lifetime:
        named += f" + {format_duration(rule.lifetime)}"
    who = f"A document of {target.source_name}"
    if rule.pull:
        who = f"An element of {rule.pull}, in a document of {target.source_name},"
    seen = types.get(rule.field)
    otherwise = "a missing, null or other value never expires"
    if seen and rule.unit is None and rule.or_unit is None and "date" not in seen:
        otherwise = f"what was seen there is {seen}, which is no date and so never expires"
    return f"{who} is dead once {named} lies {before}; {otherwise}."


def _of_key(target: Target, key_type: str, before: str) -> str:
    who = f"A key {target.source_name} ({key_type})"
    unreadable = "what is missing, 0 or unreadable never expires"
    match target.expiry:
        case HashFieldExpiry(field=name, unit=unit, repair_ttl=repair):
            more = "; a live one that lost its TTL gets it back" if repair else ""
            return f"{who} is dead once its field {name} ({_since_1970(unit)}) lies {before}; {unreadable}{more}."
        case JsonExpiry() | MsgpackExpiry() as rule:
            form = "JSON" if isinstance(rule, JsonExpiry) else "MessagePack"
            kind = _since_1970(rule.unit) if rule.unit else "ISO 8601"
            named = f"{'.'.join(rule.path)} ({kind}) of its {form}"
            more = "; a key that has a TTL is left to it" if rule.ttl_wins else ""
            return f"{who} is dead once {named} lies {before}; {unreadable}{more}."
        case ValueExpiry(unit=unit):
            return f"{who} is dead once its value ({_since_1970(unit)}) lies {before}; {unreadable}."
        case JwtKeyExpiry():
            return f"{who} is dead once exp of the JWT in its name lies {before}; {unreadable}."
        case NativeTtl():
            return f"{who} is dead when its own TTL says so; keys without one are counted and left."
        case PointerExpiry() as rule:
            return f"{who} is dead once {_pointer(rule, before)}."
        case MembersExpiry() as rule:
            return f"A member of {target.source_name} ({key_type}) is dead once {_gone(rule)}."
        case ElementsExpiry() as rule:
            return f"An element of the JSON array in {target.source_name} is dead once {_element(rule, before)}."
        case ScoreExpiry(unit=unit, above=above, members=members):
            also = f" and {_gone(members)}" if members else ""
            member = f"A member of {target.source_name} (sorted set)"
            score = f"its score ({_since_1970(unit)}) lies {before}{also}"
            return f"{member} is dead once {score}; a score of {above:g} or less never expires."
        case rule:
            raise TypeError(f"{type(rule).__name__} is no rule for a key")


def _pointer(rule: PointerExpiry, before: str) -> str:
    gone = f"the key {rule.target_prefix}... that its value names is gone"
    if rule.expires is None:
        return gone
    ended = f"that one's {rule.expires.field} ({_since_1970(rule.expires.unit)}) lies {before}"
    return f"{gone}, {ended}, or its {rule.matches} is another one"


def _element(rule: ElementsExpiry, before: str) -> str:
    ends = []
    if rule.path is not None:
        kind = _since_1970(rule.unit) if rule.unit else "ISO 8601"
        ends.append(f"its {'.'.join(rule.path)} ({kind}) lies {before}")
    if rule.members is not None:
        named = f", with its {'.'.join(rule.member)} for {{member}}," if rule.member else ""
        ends.append(_gone(rule.members).replace(" is gone", f"{named} is gone"))
    never = "; what is missing, 0 or unreadable never expires" if rule.path is not None else ""
    return " and ".join(ends) + never


def _gone(rule: MembersExpiry) -> str:
    return f"{_listed(rule.keys)} {'is' if len(rule.keys) == 1 else 'are'} gone"


def _only(target: Target) -> list[str]:
    words = [f"where {key} is {value_words(value)}" for key, value in target.where.items()]
    words += [guard_words(guard) for guard in target.guards]
    found = [f"It goes only {', and only '.join(words)}."] if words else []
    if isinstance(target.source, KeySource) and target.source.exclude:
        found.append(f"Keys that match {_listed(target.source.exclude)} are left alone.")
    return found


def _what_becomes(target: Target) -> str:
    if target.set_null:
        return f"The row stays; {_listed(target.set_null)} {_verb(target.set_null, 'become')} NULL."
    if target.unset:
        return f"The document stays; {_listed(target.unset)} {'goes' if len(target.unset) == 1 else 'go'}."
    detached = [f"{one.key} of {one.name} becomes NULL" for one in target.detach]
    first = f"First {_listed(detached)}. " if detached else ""
    match target.expiry:
        case FieldExpiry(pull=array) if array:
            return "The element is pulled; the document stays."
        case JsonEntriesExpiry():
            return "The entry is removed; the row stays."
        case ElementsExpiry():
            return "The element is cut out; the key goes with its last one."
        case MembersExpiry() | ScoreExpiry():
            return "The member is removed; the key stays while it has others."
        case NativeTtl():
            return "A pass deletes nothing."
    what = {StoreType.POSTGRES: "row", StoreType.MONGO: "document", StoreType.REDIS: "key"}[target.store_type]
    children = ", after the rows that refer to it" if target.children_first else ""
    cascade = ", with the rows of other tables that go by cascade" if target.cascade else ""
    return f"{first}The {what} is deleted{children}{cascade}."


def _since_1970(unit: EpochUnit) -> str:
    return f"{UNITS[unit]} since 1970"


def _verb(several: Sequence[str], verb: str) -> str:
    return f"{verb}s" if len(several) == 1 else verb


def _listed(several: list[str] | tuple[str, ...]) -> str:
    return several[0] if len(several) == 1 else f"{', '.join(several[:-1])} and {several[-1]}"
