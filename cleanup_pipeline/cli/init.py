"""`cleanup-pipeline init`: looks at stores and writes a cleanup.yaml for what it knows there, with nothing approved."""

import os
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from cleanup_pipeline.cli.errors import UsageError
from cleanup_pipeline.cli.schema import write_schema
from cleanup_pipeline.cli.show import complain
from cleanup_pipeline.layouts import layouts
from cleanup_pipeline.layouts.recognise import Recognised, recognise
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.words import StoreType
from cleanup_pipeline.settings import load_settings
from cleanup_pipeline.settings.environment import STORE_VARIABLES
from cleanup_pipeline.settings.json_schema import MODELINE
from cleanup_pipeline.stores.base import Recognises, StoreError

_WIDTH = 100


@dataclass(frozen=True, slots=True)
class StoreSeen:
    """What was found in one store."""

    name: str
    type: StoreType
    variable: str
    found: tuple[Recognised, ...]


def init(
    postgres: Annotated[
        str | None, typer.Option(help="A URL. Default: $CLEANUP_POSTGRES_URL.", show_default=False)
    ] = None,
    redis: Annotated[str | None, typer.Option(help="The same of Redis or Valkey.")] = None,
    mongo: Annotated[str | None, typer.Option(help="The same of MongoDB.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write; it must not be there.")] = Path(
        "cleanup.yaml"
    ),
) -> None:
    """Write a cleanup.yaml for the sessions and tokens of known frameworks that are found. Deletes nothing.

    Looks at catalogs and a sample of keys and documents. Every target is in `mode: dry_run`. URLs stay in the
    environment, not in the file. On a terminal, asks for what is not given.

    \b
    Examples:
      cleanup-pipeline init
      cleanup-pipeline init --postgres postgresql://app@db/app -o staging.yaml
    """
    if output.exists():
        raise UsageError(f"{output}: is there already, and is not written over; name another file with --output")
    given = {StoreType.POSTGRES: postgres, StoreType.REDIS: redis, StoreType.MONGO: mongo}
    urls = _urls(given)
    stores, failed = [], False
    for variable, (name, store_type, url) in urls.items():
        try:
            stores.append(StoreSeen(name, store_type, variable, tuple(_look(name, store_type, url))))
        except StoreError as fault:
            complain(f"✗ {fault}")
            failed = True
    if failed:
        raise typer.Exit(1)
    text = document(stores)
    environ = {**os.environ, **{variable: url for variable, (_, _, url) in urls.items()}}
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(f"{output}: is there already, and is not written over") from None
    except OSError as fault:
        raise UsageError(f"{output}: cannot be written ({type(fault).__name__})") from None
    load_settings(output, environ)
    write_schema(output)
    _tell(stores, output, [variable for variable in urls if os.environ.get(variable) != urls[variable][2]])


def _urls(given: Mapping[StoreType, str | None]) -> dict[str, tuple[str, StoreType, str]]:
    """By the variable that the file will name: the store's name, its type and its URL."""
    urls = {}
    for variable, (name, store_type) in STORE_VARIABLES.items():
        url = given[store_type] or os.environ.get(variable, "")
        if not url and sys.stdin.isatty():
            asked: str = typer.prompt(f"URL of {name} (empty: none)", default="", show_default=False, hide_input=True)
            url = asked.strip()
        if url:
            urls[variable] = (name, store_type, url)
    if not urls:
        options = ", ".join(f"--{name}" for name, _ in STORE_VARIABLES.values())
        raise UsageError(f"no store to look at; give {options}, or set {', '.join(STORE_VARIABLES)}")
    return urls


def _look(name: str, store_type: StoreType, url: str) -> list[Recognised]:
    from cleanup_pipeline.stores.open import open_store

    with closing(open_store(StoreConfig(name, store_type, url))) as store:
        store.clock()
        if not isinstance(store, Recognises):
            return []
        return recognise(list(layouts().values()), store_type, store.locations)


def document(stores: Sequence[StoreSeen]) -> str:
    """The text of the settings file."""
    lines = [
        MODELINE,
        "# Written by `cleanup-pipeline init`. Nothing is deleted by it: each target is in `mode: dry_run`.",
        "# Read `cleanup-pipeline check` and `cleanup-pipeline plan sessions`, then set `mode: delete`.",
        "# Every key is in docs/settings.md.",
        "",
        "stores:",
    ]
    lines += [f'  {each.name}: {{type: {each.type}, url: "${{{each.variable}}}"}}' for each in stores]
    blocks = [(each, one) for each in stores for one in each.found]
    ready = [_target(store, one) for store, one in blocks if not one.missing]
    waiting = [_target(store, one) for store, one in blocks if one.missing]
    lines += ["", "targets:" if ready else "targets: {}"]
    for block in ready:
        lines += ["", *(f"  {line}" if line else "" for line in block)]
    if waiting:
        lines += [
            "",
            "  # These need what only the application knows: fill it in, and take the # away.",
        ]
    for block in waiting:
        lines += ["", *(f"  {line}" if line.startswith("#") else f"  # {line}" for line in block)]
    return "\n".join(lines) + "\n"


def _target(store: StoreSeen, one: Recognised) -> list[str]:
    preset = one.preset
    lines = [f"# {line}" for line in textwrap.wrap(f"{preset.title}.", _WIDTH)]
    if one.instead:
        lines.append(f"# The same tables also fit {', '.join(one.instead)}.")
    if preset.report_only:
        lines += [f"# {line}" for line in textwrap.wrap(f"Only to look at: {preset.report_only}", _WIDTH)]
    lines += [f"{one.name}:", f"  store: {store.name}", f"  layout: {preset.name}"]
    in_param = "schema" in preset.params
    if one.location.container and not in_param:
        key = "schema" if store.type is StoreType.POSTGRES else "database"
        lines.append(f"  {key}: {one.location.container}")
    params = [f"    {flag}: true" for flag in one.flags]
    if one.location.container and in_param:
        params.insert(0, f"    schema: {one.location.container}")
    params += [f"    {key}:   # {preset.params[key].type}: {preset.params[key].about}" for key in one.missing]
    if params:
        lines += ["  params:", *params]
    lines.append("  mode: dry_run")
    return lines


def _tell(stores: Sequence[StoreSeen], output: Path, unset: Sequence[str]) -> None:
    for store in stores:
        typer.echo(f"{store.name}: {'; '.join(_found(store)) or 'nothing that a layout knows'}")
    typer.echo(f"\n{output} is written, with nothing approved. Next:")
    if unset:
        typer.echo(f"  set {', '.join(unset)}, which the file refers to")
    option = "" if output == Path("cleanup.yaml") else f" --settings {output}"
    typer.echo(f"  cleanup-pipeline check{option}\n  cleanup-pipeline plan sessions{option}")


def _found(store: StoreSeen) -> Iterator[str]:
    for one in store.found:
        yield f"{one.preset.name}" + (f" (needs {', '.join(one.missing)})" if one.missing else "")
