"""Which store, and which table, collection or keys in it."""

import os
import re
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import typer

from cleanup_pipeline.cli.errors import UsageError
from cleanup_pipeline.cli.own.asking import Ask, Option
from cleanup_pipeline.cli.own.given import Given, Place
from cleanup_pipeline.cli.own.suggest import instants, most_likely
from cleanup_pipeline.engine.checkup import check_target
from cleanup_pipeline.layouts import layouts
from cleanup_pipeline.layouts.field_types import NAME, NAME_WANTED
from cleanup_pipeline.layouts.recognise import asked_for, recognise
from cleanup_pipeline.model.seen import Seen
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.target import CollectionSource, Source, TableSource
from cleanup_pipeline.model.words import StoreType
from cleanup_pipeline.settings import load_settings
from cleanup_pipeline.settings.document import read_document
from cleanup_pipeline.settings.environment import STORE_VARIABLES
from cleanup_pipeline.settings.load import DEFAULT_FILE
from cleanup_pipeline.stores.base import Describes, Surveys

_USUAL = {store_type: (variable, name) for variable, (name, store_type) in STORE_VARIABLES.items()}
_KIND_OF_SOURCE = {StoreType.POSTGRES: "table", StoreType.MONGO: "collection", StoreType.REDIS: "keys"}


class _AsWritten(dict[str, str]):
    """Every variable is what stands for it."""

    def get(self, name: str, default: Any = None) -> Any:
        return f"${{{name}}}"


@contextmanager
def chosen_place(ask: Ask, given: Given) -> Iterator[Place]:
    """The store that is meant, looked at where its URL is known; it is open for as long as the context is.

    Raises UsageError, SettingsError, and StoreError where it cannot be looked at.
    """
    known, passes = _known(given)
    config: StoreConfig | None
    if given.store in known or (known and given.store_type is None and given.url_variable is None):
        place, config = _existing(ask, given, known)
    else:
        place, config = _new(ask, given)
    place = replace(place, passes=passes)
    if config is None or not given.look:
        yield place
        return
    from cleanup_pipeline.stores.open import open_store

    store = open_store(config)
    try:
        if isinstance(store, Describes):
            place = replace(place, seen=store.describe(), magnitude=store.magnitude)
        if isinstance(store, Surveys):
            place = replace(place, survey=store.survey)
            place = replace(place, check=lambda target: check_target(store, target).findings)
        yield place
    finally:
        store.close()


def existing_file(given: Given) -> Path | None:
    """The settings file whose stores can be named."""
    named = os.environ.get("CLEANUP_SETTINGS")
    path = given.settings or (Path(named) if named else DEFAULT_FILE)
    return path if path.exists() or given.settings else None


_Known = Mapping[str, tuple[StoreConfig, dict[str, object]]]


def _known(given: Given) -> tuple[_Known, Mapping[str, object]]:
    """The stores of an existing settings file, as they are and as they are written, and its passes as written."""
    path = existing_file(given)
    if path is None:
        return {}, {}
    settings = load_settings(path)
    content = read_document(path.read_bytes(), _AsWritten()).content
    written = content.get("stores") or {}
    stores = {
        name: (config, {key: written[name][key] for key in ("type", "url", "url_file") if key in written[name]})
        for name, config in settings.stores.items()
        if name in written
    }
    return stores, content.get("passes") or {}


def _existing(ask: Ask, given: Given, known: _Known) -> tuple[Place, StoreConfig]:
    options = [Option(name, config.type) for name, (config, _) in known.items()]
    fitting = [option for option in options if option.note == _by_source(given)]
    options = fitting or options
    only = options[0].value if len(options) == 1 else None
    name = ask.pick(given.store, "--store", "Which store?", options, only)
    ask.stop_if_lacking()
    config, written = known[name]
    return Place(name, config.type, written, None, None), config


def _new(ask: Ask, given: Given) -> tuple[Place, StoreConfig | None]:
    set_ones = [store_type for store_type, (variable, _) in _USUAL.items() if os.environ.get(variable)]
    options = [Option(each.value, f"${_USUAL[each][0]} is set" if each in set_ones else "") for each in StoreType]
    default = _by_source(given) or (set_ones[0].value if len(set_ones) == 1 else None)
    answer = ask.pick(given.store_type, "--type", "What kind of store is it?", options, default)
    ask.stop_if_lacking()
    store_type = StoreType(answer)
    usual, usual_name = _USUAL[store_type]
    variable = ask.text(
        given.url_variable, "--url-variable", "Environment variable that holds its URL", usual, _variable
    )
    name = ask.text(given.store, "--store", "Name of the store in the file", usual_name, checked_name)
    url = os.environ.get(variable, "")
    written: dict[str, object] = {"type": store_type.value, "url": f"${{{variable}}}"}
    if not url:
        typer.echo(f"${variable} is not set, so that nothing is suggested or checked in the store.", err=True)
        return Place(name, store_type, written, variable, None), None
    return Place(name, store_type, written, variable, None), StoreConfig(name, store_type, url)


def _by_source(given: Given) -> str | None:
    named = {StoreType.POSTGRES: given.table, StoreType.MONGO: given.collection, StoreType.REDIS: given.keys}
    return next((store_type.value for store_type, name in named.items() if name), None)


def _variable(answer: str) -> str:
    # The answer is not shown: somebody may have given the URL itself.
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", answer):
        raise ValueError("the name of an environment variable, such as CLEANUP_POSTGRES_URL, and not the URL")
    return answer


def checked_name(answer: str) -> str:
    """Of a store or a target. Raises ValueError."""
    if not NAME.fullmatch(answer):
        raise ValueError(NAME_WANTED)
    return answer


def chosen_source(ask: Ask, given: Given, place: Place) -> tuple[dict[str, Any], Seen | None]:
    """The keys of a target that say where its records are, and what was seen there.

    Raises UsageError for a source that the store has not.
    """
    kind = _KIND_OF_SOURCE[place.type]
    question = {
        StoreType.POSTGRES: "Which table holds the records?",
        StoreType.MONGO: "Which collection holds the records, or the documents that they are in?",
        StoreType.REDIS: "Which keys are the records, or hold them? A pattern such as session:*",
    }[place.type]
    options = _options(place)
    named: Mapping[str, str | None] = {"table": given.table, "collection": given.collection, "keys": given.keys}
    for other, value in named.items():
        if value is not None and other != kind:
            raise UsageError(
                f"--{other}: store {place.name} is {place.type}; give --{kind}, or another --type or --store"
            )
    name = ask.pick(named[kind], f"--{kind}", question, options, only=False)
    ask.stop_if_lacking()
    seen = _seen(place, name, given)
    source: dict[str, Any] = {kind: name}
    more = (("schema", given.schema), ("database", given.database), ("key_type", given.key_type))
    source |= {key: value for key, value in more if value is not None}
    exclude = list(given.exclude)
    if seen is not None and seen.exclude and not exclude:
        exclude = _excluded(ask, seen)
    if exclude:
        source["exclude"] = exclude
    return source, seen


def known_layouts(place: Place, source: Mapping[str, Any]) -> list[str]:
    """Layouts that fit a table or collection, by name and by all that they require of it."""
    if place.survey is None or place.type is StoreType.REDIS:
        return []
    name = str(source.get("table") or source.get("collection")).rpartition(".")[2]
    fitting = [
        preset
        for preset in layouts().values()
        if preset.store_type is place.type and any(name == _name(step.source) for step in preset.every_layout())
    ]
    return [each.preset.name for each in recognise(fitting, place.type, place.survey(asked_for(fitting, place.type)))]


def _name(source: Source) -> str | None:
    match source:
        case TableSource(table=name) | CollectionSource(collection=name):
            return name
        case _:
            return None


def _excluded(ask: Ask, seen: Seen) -> list[str]:
    listed = ", ".join(seen.exclude)
    words = f"{seen.name} also matches {listed}, which were seen as keys of their own."
    typer.echo(f"\n{textwrap.fill(words, 79)}", err=not ask.terminal)
    return list(seen.exclude) if ask.confirm("Leave those out?") else []


def _options(place: Place) -> list[Option]:
    """What was seen, first what has something like an expiry."""
    seen = sorted(place.seen or (), key=lambda each: most_likely(each, place.type) is None)
    return [Option(each.name, _note(each, place.type)) for each in seen]


def _note(seen: Seen, store_type: StoreType) -> str:
    fields = instants(seen, store_type)
    best = most_likely(seen, store_type)
    shown = ", ".join(f"{field.name} {field.type}".strip() for field in ([best] if best else fields[:2]))
    if store_type is StoreType.REDIS:
        ttl = f"{seen.without_ttl} of {seen.looked} without TTL" if seen.looked else "gone meanwhile"
        return ", ".join(part for part in (seen.key_type, ttl, shown) if part)
    return shown


def _seen(place: Place, name: str, given: Given) -> Seen | None:
    if place.seen is None:
        return None
    found = [each for each in place.seen if _is(each, name, given)]
    if place.type is StoreType.REDIS:
        # A pattern may well be right without a key that matches it now.
        fitting = [each for each in found if given.key_type in {None, each.key_type}]
        return fitting[0] if fitting else None
    if not found and given.database is None:
        from cleanup_pipeline.settings.faults import nearest

        kind = _KIND_OF_SOURCE[place.type]
        close = nearest(name, [each.name for each in place.seen])
        hint = f"; did you mean {close}?" if close else ""
        raise UsageError(f"--{kind} {name}: store {place.name} has no such {kind} that the login may read{hint}")
    return found[0] if found else None


def _is(seen: Seen, name: str, given: Given) -> bool:
    if seen.schema is None:
        return seen.name == name
    if given.schema is not None:
        return (seen.schema, seen.name.rpartition(".")[2]) == (given.schema, name)
    return name in {seen.name, f"{seen.schema}.{seen.name}"}
