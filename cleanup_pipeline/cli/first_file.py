"""The settings file that `init` writes: what was recognised as targets, what is not certain as comments."""

import re
import shlex
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import yaml

from cleanup_pipeline.layouts.match import Described, Recognised
from cleanup_pipeline.layouts.strangers import Stranger
from cleanup_pipeline.model.words import StoreType
from cleanup_pipeline.settings.json_schema import MODELINE

_NEW_LAYOUT = "cleanup-pipeline layouts new"
_WIDTH = 100


@dataclass(frozen=True, slots=True)
class StoreSeen:
    """What was found in one store."""

    name: str
    type: StoreType
    variable: str
    found: tuple[Recognised, ...]
    described: tuple[Described, ...] = ()
    """Of no layout, and clear enough for a target."""
    strangers: tuple[Stranger, ...] = ()
    """What looks like sessions or tokens, and is of no layout."""
    whole: bool = True
    """False: there is more than was looked at."""


def describing(stranger: Stranger, settings: str = "") -> str:
    """The command that describes it, as a shell takes it; `settings`: the settings file, where that is not the usual
    one."""
    return " ".join(
        [_NEW_LAYOUT, *map(shlex.quote, [*stranger.options, *(["--settings", settings] if settings else [])])]
    )


def document(stores: Sequence[StoreSeen], settings: str = "") -> str:
    """The text of the file; `settings`: its name, where that is not the usual one."""
    lines = [
        MODELINE,
        "# Written by `cleanup-pipeline init`. Nothing is deleted by it: each target is in `mode: dry_run`.",
        "# Read `cleanup-pipeline check` and `cleanup-pipeline plan sessions`, then set `mode: delete`.",
        "# Every key is in docs/settings.md.",
        "",
        "stores:",
    ]
    lines += [f'  {each.name}: {{type: {each.type}, url: "${{{each.variable}}}"}}' for each in stores]
    blocks = [(each, one, name) for each in stores for one, name in _named(each.found)]
    ready = [_target(store, one, name) for store, one, name in blocks if not one.missing]
    ready += [_own_target(each, one) for each in stores for one in each.described]
    waiting = [_target(store, one, name) for store, one, name in blocks if one.missing]
    lines += ["", "targets:" if ready else "targets: {}"]
    for block in ready:
        lines += ["", *(f"  {line}" if line else "" for line in block)]
    if waiting:
        lines += ["", "  # These need what only the application knows: fill it in, and take the # away."]
    for block in waiting:
        lines += ["", *(f"  {line}" if line.startswith("#") else f"  # {line}" for line in block)]
    for each in stores:
        lines += _strangers(each, settings)
    return "\n".join(lines) + "\n"


def _named(found: Sequence[Recognised]) -> list[tuple[Recognised, str]]:
    """Each with a name of its own."""
    named: list[tuple[Recognised, str]] = []
    for one in found:
        name, number = one.name, 2
        while name in {other for _, other in named}:
            name, number = f"{one.name}_{number}", number + 1
        named.append((one, name))
    return named


def _target(store: StoreSeen, one: Recognised, name: str) -> list[str]:
    preset = one.preset
    lines = _comment(f"{preset.title}.")
    for seen in one.seen:
        lines += _comment(f"Seen: {seen}.")
    for doubt in one.doubts:
        lines += _comment(f"Not certain: {doubt}.")
    for key in one.missing:
        lines += _comment(f"Needs {key}: {preset.params[key].about}.")
    if one.instead:
        lines += _comment(f"The same records also fit {', '.join(one.instead)}.")
    if preset.report_only:
        lines += _comment(f"Only to look at: {preset.report_only}")
    lines += [f"{name}:", f"  store: {store.name}", f"  layout: {preset.name}"]
    if one.location.container and "schema" not in preset.params:
        key = "schema" if store.type is StoreType.POSTGRES else "database"
        lines.append(f"  {key}: {_scalar(one.location.container)}")
    params = [f"    {key}: {_scalar(value)}" for key, value in one.params.items()]
    params += [f"    {key}:   # {preset.params[key].wanted}" for key in one.missing]
    if params:
        lines += ["  params:", *params]
    for key in one.optional:
        lines += [f"  {line}" for line in _comment(f"May be given as a parameter, {key}: {preset.params[key].about}")]
    if one.columns:
        lines += ["  columns:", *(f"    {old}: {_scalar(new)}" for old, new in sorted(one.columns.items()))]
    lines.append("  mode: dry_run")
    return lines


def _own_target(store: StoreSeen, one: Described) -> list[str]:
    lines = [line for seen in one.seen for line in _comment(f"Of no layout that is known. Seen: {seen}.")]
    lines += [line for doubt in one.doubts for line in _comment(f"Not certain: {doubt}.")]
    name = re.sub(r"[^a-z0-9]+", "_", one.name.lower()).strip("_")
    lines += [f"{name}_of_{store.name}:", f"  store: {store.name}"]
    lines += [f"  {key}: {_scalar(value)}" for key, value in one.source.items()]
    return [*lines, "  mode: dry_run"]


def _strangers(store: StoreSeen, settings: str) -> list[str]:
    lines = []
    if store.strangers:
        about = f"These in {store.name} look like sessions or tokens, and no layout knows them. To describe one:"
        lines += ["", f"  # {about}"]
        for each in store.strangers:
            lines += [f"  # {line}" for line in textwrap.wrap(f"- {each.phrase}", _WIDTH, subsequent_indent="  ")]
            lines += [f"  #   {describing(each, settings)}"]
    if not store.whole:
        more = f"There is more in {store.name} than was looked at: what is rare there may not have been seen."
        lines += ["", *(f"  {line}" for line in _comment(more))]
    return lines


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(text, _WIDTH)]


def _scalar(value: object) -> str:
    """As YAML writes it on one line."""
    return yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("\n...\n").strip()
