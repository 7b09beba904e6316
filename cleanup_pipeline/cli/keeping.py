"""What the commands about kept records have in common: where they are, and the ledger beside them."""

from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import TypeVar

from cleanup_pipeline.cli.errors import UsageError
from cleanup_pipeline.cli.home import dagster_home
from cleanup_pipeline.cli.ledger_place import folder_of, ledger_url
from cleanup_pipeline.keeping.costs import keeping_line
from cleanup_pipeline.ledger import Ledger, LedgerError, open_ledger
from cleanup_pipeline.model.plan import Plan
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.settings import Settings

Said = TypeVar("Said")


def known_target(settings: Settings, name: str) -> Target:
    """The target of a name. Raises UsageError."""
    found = next((each for each in settings.targets if each.name == name), None)
    if found is not None:
        return found
    known = [each.name for each in settings.targets]
    close = get_close_matches(name, known, n=1)
    hint = f"; did you mean {close[0]}?" if close else f", the targets are {', '.join(known)}"
    raise UsageError(f"there is no target {name}{hint}")


def state_folder() -> Path:
    """The folder of Dagster's own files, which both are in by default."""
    home = dagster_home().resolve()
    found = folder_of(home)
    if found is not None:
        return found
    from cleanup_pipeline.dagster_defs.launch import instance_at

    with instance_at(home) as instance:
        return Path(instance.root_directory)


def kept_line(settings: Settings, plan: Plan) -> str | None:
    """What a pass of this plan keeps of what it removes, as a line of the plan; None: nothing."""
    target = next((each for each in settings.targets if each.name == plan.target), None)
    if target is None or not (target.removals or target.quarantine):
        return None
    each = with_ledger(lambda ledger: ledger.keepings.bytes_each(target.name)) if target.quarantine else None
    return keeping_line(target, plan.census.expired, each)


def with_ledger(question: Callable[[Ledger], Said]) -> Said | None:
    """What the ledger says; None where there is none, or it cannot be asked."""
    url = ledger_url()
    file = url.removeprefix("sqlite:///")
    if file != url and not Path(file).exists():
        return None
    try:
        ledger = open_ledger(url)
        try:
            return question(ledger)
        finally:
            ledger.close()
    except LedgerError:
        return None
