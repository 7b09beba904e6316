"""What a shell offers for the names of passes, targets, stores, plans and layouts.

Reads settings and the ledger's own file; never opens a store, never writes, and offers nothing rather than complain.
"""

import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from cleanup_pipeline.settings import Settings

_MOST_PLANS = 50
_PLANS = """
SELECT id, (SELECT group_concat(target, ', ') FROM cleanup_planned WHERE plan_id = id)
FROM cleanup_plans WHERE run_id IS NULL ORDER BY made_at DESC LIMIT ?
"""

Offers = list[tuple[str, str]]
"""Names, each with a few words about it."""


def passes(ctx: typer.Context, incomplete: str) -> Offers:
    """The passes."""
    return _begun(incomplete, _of_settings(ctx, _passes))


def targets(ctx: typer.Context, incomplete: str) -> Offers:
    """The targets."""
    return _begun(incomplete, _of_settings(ctx, _targets))


def passes_and_targets(ctx: typer.Context, incomplete: str) -> Offers:
    """Where a command takes either."""
    return _begun(incomplete, _of_settings(ctx, lambda settings: [*_passes(settings), *_targets(settings)]))


def stores(ctx: typer.Context, incomplete: str) -> Offers:
    """The stores."""
    return _begun(incomplete, _of_settings(ctx, lambda found: [(n, str(one.type)) for n, one in found.stores.items()]))


def plans(incomplete: str) -> Offers:
    """The newest plans that somebody made, where the ledger is a file."""
    from cleanup_pipeline.cli.home import STATE
    from cleanup_pipeline.cli.ledger_place import ledger_url

    try:
        if not STATE.is_dir():
            return []
        url = ledger_url()
        if not url.startswith("sqlite:///"):
            return []
        with closing(sqlite3.connect(f"file:{url.removeprefix('sqlite:///')}?mode=ro", uri=True, timeout=1)) as file:
            found = file.execute(_PLANS, (_MOST_PLANS,)).fetchall()
    except Exception:  # noqa: BLE001 - whatever it is, Tab is not the place to say so
        return []
    return _begun(incomplete, [(str(id_), str(about or "")) for id_, about in found])


def layouts(incomplete: str) -> Offers:
    """The layouts, by the names of their files."""
    presets = files("cleanup_pipeline.layouts").joinpath("presets")
    return _begun(incomplete, sorted((Path(each.name).stem, "") for each in presets.iterdir()))


def _passes(settings: "Settings") -> Offers:
    return [(name, f"pass of {len(settings.targets_of(name))} targets") for name in settings.passes]


def _targets(settings: "Settings") -> Offers:
    return [(target.name, f"{target.kind} in {target.store}") for target in settings.targets]


def _of_settings(ctx: typer.Context, names: Callable[["Settings"], Offers]) -> Offers:
    from cleanup_pipeline.settings import load_settings

    given: Any = ctx.params.get("settings_file")
    try:
        return names(load_settings(Path(given) if given else None))
    except Exception:  # noqa: BLE001 - as above
        return []


def _begun(incomplete: str, offers: Iterable[tuple[str, str]]) -> Offers:
    return [(name, about) for name, about in offers if name.startswith(incomplete)]
