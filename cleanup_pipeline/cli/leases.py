"""`cleanup-pipeline leases`: who cleans what at present, and taking that right away."""

from collections.abc import Iterator
from contextlib import closing
from difflib import get_close_matches
from typing import Annotated

import typer
from rich.table import Table

from cleanup_pipeline.cli import completing
from cleanup_pipeline.cli.errors import UsageError
from cleanup_pipeline.cli.home import settings_for
from cleanup_pipeline.cli.run import SettingsOption
from cleanup_pipeline.cli.show import complain, console
from cleanup_pipeline.model.lease import Holder
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.settings import Settings
from cleanup_pipeline.stores.base import Leases, StoreError
from cleanup_pipeline.stores.open import open_store, store_for


def leases(
    release: Annotated[
        str | None,
        typer.Option(
            "--release", metavar="TARGET", autocompletion=completing.targets, help="Take the target's leases away."
        ),
    ] = None,
    settings_file: SettingsOption = None,
) -> None:
    """Show which targets are being cleaned, and by whom.

    A cleaner whose lease is taken away deletes nothing more and ends red. A lease whose cleaner died ends by itself,
    after `lease` of its store (30 s).

    \b
    Examples:
      cleanup-pipeline leases
      cleanup-pipeline leases --release sessions_main
    """
    settings = settings_for(settings_file)
    if release is not None:
        _release(settings, release)
        return
    table = Table("target", "held by", "since (UTC)", "takes", box=None, pad_edge=False, header_style="bold")
    failed = False
    for target in settings.targets:
        try:
            for holder in _holders(settings, target):
                since = f"{holder.since:%Y-%m-%d %H:%M:%S}" if holder.since else "unknown"
                table.add_row(target.name, holder.host or "unknown", since, "a window" if holder.window else "all")
        except StoreError as fault:
            failed = True
            complain(str(fault))
    if table.row_count:
        console().print(table)
    elif not failed:
        console().print("no target is being cleaned")
    if failed:
        raise typer.Exit(1)


def _holders(settings: Settings, target: Target) -> Iterator[Holder]:
    with closing(open_store(settings.stores[target.store])) as base:
        store = store_for(base, target)
        if isinstance(store, Leases):
            yield from store.holders(target)


def _release(settings: Settings, name: str) -> None:
    target = next((each for each in settings.targets if each.name == name), None)
    if target is None:
        close = get_close_matches(name, [each.name for each in settings.targets], n=1)
        raise UsageError(f"--release: there is no target {name}" + (f"; did you mean {close[0]}?" if close else ""))
    try:
        with closing(open_store(settings.stores[target.store])) as base:
            store = store_for(base, target)
            count = store.free(target) if isinstance(store, Leases) else 0
    except StoreError as fault:
        complain(str(fault))
        raise typer.Exit(1) from None
    console().print(f"{name}: {count} lease{'s' if count != 1 else ''} taken away" if count else f"{name} was free")
