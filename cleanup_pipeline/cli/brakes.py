"""`cleanup-pipeline release-brake`: what holds targets back, and letting one go; and what `plan` shows of it."""

import getpass
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import typer

from cleanup_pipeline.cli import completing
from cleanup_pipeline.cli.errors import UsageError
from cleanup_pipeline.cli.home import settings_for
from cleanup_pipeline.cli.ledger_place import ledger_url
from cleanup_pipeline.cli.run import SettingsOption
from cleanup_pipeline.cli.show import console
from cleanup_pipeline.engine.brakes import History
from cleanup_pipeline.engine.looks import look_of, skew_of
from cleanup_pipeline.ledger import Ledger, LedgerError, open_ledger
from cleanup_pipeline.ledger.braking import Held
from cleanup_pipeline.ledger.judging import judged
from cleanup_pipeline.model.plan import Plan
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.settings import Settings
from cleanup_pipeline.stores.base import Store


def release_brake(
    target: Annotated[
        str | None,
        typer.Argument(metavar="TARGET", autocompletion=completing.targets, help="The target that is braked."),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="For the next pass that deletes, and no other.")] = False,
    settings_file: SettingsOption = None,
) -> None:
    """Let a braked target go on, for what its brakes saw and for 24 hours.

    Where a later pass sees something else, or figures that are worse by more than a quarter, the brake holds again.
    It cannot be let go in advance. Without TARGET, shows what is braked. The ledger keeps who let go what, and when.

    \b
    Examples:
      cleanup-pipeline release-brake
      cleanup-pipeline release-brake sessions_main --once
    """
    settings = settings_for(settings_file)
    if target is not None:
        _known(settings, target)
    elif once:
        raise UsageError("name a target")
    now = datetime.now(UTC)
    with _ledger() as ledger:
        if target is None:
            _show(() if ledger is None else ledger.brakes.held(), now)
            return
        by = f"{getpass.getuser()}@{platform.node()}"
        held = () if ledger is None else ledger.brakes.release(target, by, once=once, now=now)
    if not held:
        raise UsageError(
            f"{target}: no pass was braked, or it is let go already; `cleanup-pipeline release-brake` lists"
        )
    _show(held, now)


def judged_plans(plans: Sequence[Plan], targets: Mapping[str, Target], stores: Mapping[str, Store]) -> list[Plan]:
    """The plans with the brakes that a pass would meet now, as far as the ledger is there. Writes nothing."""
    now = datetime.now(UTC)
    measured = {name: skew_of(store) for name, store in stores.items()} if len(stores) > 1 else {}
    skews = {name: skew for name, skew in measured.items() if skew is not None}
    nothing_yet = not _there(ledger_url())
    with _ledger(patient=True) as ledger:

        def ask(question: Any) -> Any:
            if nothing_yet:
                return History(), ()
            try:
                return None if ledger is None else question(ledger)
            except LedgerError:
                return None

        return [judged(ask, targets[plan.target], plan, look_of(plan, skews), now).plan for plan in plans]


@contextmanager
def _ledger(*, patient: bool = False) -> Iterator[Ledger | None]:
    """The ledger if there is one: looking makes no file. `patient`: None also where it cannot be opened."""
    url = ledger_url()
    if not _there(url):
        yield None
        return
    try:
        ledger = open_ledger(url)
    except LedgerError as fault:
        if not patient:
            raise UsageError(str(fault)) from None
        yield None
        return
    try:
        yield ledger
    finally:
        ledger.close()


def _there(url: str) -> bool:
    file = url.removeprefix("sqlite:///")
    return file == url or Path(file).exists()


def _show(several: Sequence[Held], now: datetime) -> None:
    out = console()
    if not several:
        out.print("nothing is braked")
    for held in several:
        out.print(f"{held.target}: brake {held.brake.name}, since {held.began_at:%Y-%m-%d %H:%M} UTC", markup=False)
        out.print(f"  saw      {held.brake.what}", markup=False)
        if held.brake.remedy:
            out.print(f"  look     {held.brake.remedy}", markup=False)
        out.print(f"  {_state(held, now)}", markup=False)


def _state(held: Held, now: datetime) -> str:
    if held.release is None or now >= held.release.until:
        return f"let go   cleanup-pipeline release-brake {held.target}"
    span = "for the next pass, " if held.release.once else ""
    return f"let go   by {held.release.by}, {span}until {held.release.until:%Y-%m-%d %H:%M} UTC"


def _known(settings: Settings, target: str) -> None:
    known = [each.name for each in settings.targets]
    if target in known:
        return
    close = get_close_matches(target, known, n=1)
    hint = f"; did you mean {close[0]}?" if close else f", the targets are {', '.join(known)}"
    raise UsageError(f"there is no target {target}{hint}")
