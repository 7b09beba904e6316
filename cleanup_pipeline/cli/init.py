"""`cleanup-pipeline init`: looks at stores and writes a cleanup.yaml for what it knows there, with nothing approved."""

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from cleanup_pipeline.cli.beside import say_beside
from cleanup_pipeline.cli.errors import UsageError
from cleanup_pipeline.cli.first_file import StoreSeen, describing, document
from cleanup_pipeline.cli.schema import write_schema
from cleanup_pipeline.cli.show import complain, console
from cleanup_pipeline.layouts import layouts
from cleanup_pipeline.layouts.guess_keys import described
from cleanup_pipeline.layouts.match import Recognised
from cleanup_pipeline.layouts.recognise import asked_for, recognise
from cleanup_pipeline.layouts.strangers import strangers
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.words import StoreType
from cleanup_pipeline.settings import load_settings
from cleanup_pipeline.settings.environment import STORE_VARIABLES
from cleanup_pipeline.settings.load import DEFAULT_FILE
from cleanup_pipeline.stores.base import StoreError, Surveys

_NEXT = 3
"""Commands for what is unknown on the terminal; the file has them all."""


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
    for name, store_type, url in urls.values():
        try:
            stores.append(_look(name, store_type, url))
        except StoreError as fault:
            complain(f"✗ {fault}")
            failed = True
    if failed:
        raise typer.Exit(1)
    text = document(stores, _named(output))
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


def _look(name: str, store_type: StoreType, url: str) -> StoreSeen:
    from cleanup_pipeline.stores.open import open_store

    presets = list(layouts().values())
    variable = next(each for each, (_, its_type) in STORE_VARIABLES.items() if its_type is store_type)
    with closing(open_store(StoreConfig(name, store_type, url))) as store:
        store.clock()
        if not isinstance(store, Surveys):
            return StoreSeen(name, store_type, variable, ())
        survey = store.survey(asked_for(presets, store_type))
    found = recognise(presets, store_type, survey)
    own = described(survey, found)
    unknown = strangers(survey, found, own)
    return StoreSeen(name, store_type, variable, tuple(found), tuple(own), tuple(unknown), survey.whole)


def _tell(stores: Sequence[StoreSeen], output: Path, unset: Sequence[str]) -> None:
    out = console()
    for store in stores:
        out.print(Text.assemble((store.name, "bold"), f"  {_counted(store)}"))
        for one in store.found:
            say_beside(out, Text("  found    ", style="green"), _phrase(one))
        for own in store.described:
            say_beside(out, Text("  found    ", style="green"), f"hashes {own.source['keys']}; not certain")
        for stranger in store.strangers:
            say_beside(out, Text("  unknown  ", style="yellow"), stranger.phrase)
    out.print(f"\n{output} is written, with nothing approved. Next:", markup=False)
    if unset:
        out.print(f"  set {', '.join(unset)}, which the file refers to", markup=False)
    unknown = [stranger for store in stores for stranger in store.strangers]
    if unknown:
        out.print(f"  for what is unknown and has to be cleaned{'' if len(unknown) <= _NEXT else ', such as'}:")
    for stranger in unknown[:_NEXT]:
        out.print(f"    {describing(stranger, _named(output))}", markup=False, soft_wrap=True)
    option = f" --settings {output}" if _named(output) else ""
    out.print(f"  cleanup-pipeline check{option}\n  cleanup-pipeline plan sessions{option}", markup=False)


def _named(output: Path) -> str:
    """Empty for the file that is taken where none is named."""
    return "" if output == DEFAULT_FILE else str(output)


def _counted(store: StoreSeen) -> str:
    count = len(store.found) + len(store.described)
    return f"{count} target{'s' * (count != 1)}" if count else "nothing that a layout knows"


def _phrase(one: Recognised) -> str:
    where = f" in {one.location.container}" if one.location.container else ""
    words = f"{one.preset.name}{where}"
    if one.suffix:
        words += f" ({one.suffix})"
    if one.missing:
        words += f", needs {', '.join(one.missing)}"
    return words + ("; not certain" if one.doubts else "")
