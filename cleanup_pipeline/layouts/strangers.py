"""What looks like sessions or tokens and is of no layout: a person has to say what it is."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from cleanup_pipeline.layouts.guess_keys import begins_as
from cleanup_pipeline.layouts.match import Described, Recognised, describe
from cleanup_pipeline.layouts.session_words import BEGINNING, EXPIRY, speaks_of_sessions
from cleanup_pipeline.model.survey import CollectionSeen, KeysSeen, Survey, TableSeen

MOST = 20


@dataclass(frozen=True, slots=True)
class Stranger:
    """One of them."""

    phrase: str
    options: tuple[str, ...] = ()
    """What `layouts new` takes to describe it, as far as it was seen; not quoted for a shell."""


def strangers(survey: Survey, found: Sequence[Recognised], described: Sequence[Described] = ()) -> list[Stranger]:
    """At most MOST, and how many more there are; without what a layout was found for."""
    taken = {name for each in found for name, _ in each.claims}
    prefixes = {each.name for each in described}
    keys = [each for each in survey.keys if each.key_type != "hash" or each.prefix not in prefixes]
    several = [*_tables(survey.tables, taken), *_collections(survey.collections, taken)]
    several += _keys([each for each in keys if not begins_as(each, found)], taken)
    more = len(several) - MOST
    return [*several[:MOST], *([Stranger(f"and {more} more")] if more > 0 else [])]


def _tables(tables: Sequence[TableSeen], taken: set[str]) -> Iterator[Stranger]:
    for each in tables:
        if each.name not in taken and speaks_of_sessions(each.name):
            when = _when(each.columns)
            if when:
                kinds = ", ".join(f"{name} {each.columns[name]}" for name in when)
                name = each.name if each.visible else f"{each.schema}.{each.name}"
                yield Stranger(f"table {each.schema}.{each.name} ({kinds})", ("--table", name, *_expires(when)))


def _collections(collections: Sequence[CollectionSeen], taken: set[str]) -> Iterator[Stranger]:
    for each in collections:
        if f"{each.database}.{each.name}" in taken or not speaks_of_sessions(each.name):
            continue
        fields = {name: kind for document in each.documents for name, kind in document.items()}
        when = _when(fields)
        if when:
            phrase = f"collection {each.name} ({', '.join(f'{name} {fields[name]}' for name in when)})"
            where = () if each.own else ("--database", each.database)
            yield Stranger(phrase, ("--collection", each.name, *where, *_expires(when)))


def _keys(keys: Sequence[KeysSeen], taken: set[str]) -> Iterator[Stranger]:
    for each in keys:
        claimed = any(f"{each.key_type} {name}" in taken for name in each.names)
        # What ends by its TTL leaves nothing to clean.
        if (
            each.pattern is None
            and each.prefix
            and not claimed
            and speaks_of_sessions(each.prefix)
            and each.without_ttl
        ):
            # A prefix with a sign of patterns in it would stand for other keys as well.
            plain = re.search(r"[\[\]*?\\]", each.prefix) is None
            yield Stranger(describe(each), ("--keys", f"{each.prefix}*") if plain else ())


def _when(names: Iterable[str]) -> list[str]:
    known = list(names)
    ends = [name for name in known if EXPIRY.fullmatch(name)]
    return ends or [name for name in known if BEGINNING.fullmatch(name)][:2]


def _expires(when: Sequence[str]) -> tuple[str, ...]:
    """None where it is only known when a record began: how long it lives is for a person to say."""
    return ("--expires", when[0]) if EXPIRY.fullmatch(when[0]) else ()
