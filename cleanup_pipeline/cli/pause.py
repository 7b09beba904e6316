"""`cleanup-pipeline pause` and `resume`: targets switched off and on by hand, seen by passes that are running."""

import getpass
import platform
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from typing import Annotated

import typer

from cleanup_pipeline.cli import completing
from cleanup_pipeline.cli.errors import UsageError
from cleanup_pipeline.cli.home import dagster_home, settings_for
from cleanup_pipeline.cli.run import SettingsOption
from cleanup_pipeline.cli.show import console
from cleanup_pipeline.model.durations import parse_duration
from cleanup_pipeline.settings import Settings

TargetArgument = Annotated[
    str | None, typer.Argument(metavar="TARGET", autocompletion=completing.targets, help="The target. None with --all.")
]
AllOption = Annotated[bool, typer.Option("--all", help="Every target.")]


def pause(
    target: TargetArgument = None,
    everything: AllOption = False,
    duration: Annotated[
        str | None, typer.Option("--for", help="How long, such as 2h. Default: until `resume`.")
    ] = None,
    settings_file: SettingsOption = None,
) -> None:
    """Delete nothing from a target, or from any, until it is resumed.

    A pass that is running ends within a second, after its batch. Without TARGET and --all, shows what is paused.

    \b
    Examples:
      cleanup-pipeline pause sessions_main --for 2h
      cleanup-pipeline pause --all
    """
    settings = settings_for(settings_file)
    chosen = _chosen(settings, target, everything) if target or everything else None
    until = datetime.now(UTC) + _duration(duration) if duration else None
    from cleanup_pipeline.dagster_defs.launch import instance_at
    from cleanup_pipeline.dagster_defs.switches import ALL, Pause, standing
    from cleanup_pipeline.dagster_defs.switches import pause as put

    with instance_at(dagster_home()) as instance:
        if chosen is not None:
            put(instance, Pause(chosen, datetime.now(UTC), until, f"{getpass.getuser()}@{platform.node()}"))
        orders = standing(instance, [ALL, *(each.name for each in settings.targets)])
    for order in orders:
        console().print(f"{'all targets' if order.target == ALL else order.target}: {order}", markup=False)
    if not orders:
        console().print("nothing is paused")


def resume(target: TargetArgument = None, everything: AllOption = False, settings_file: SettingsOption = None) -> None:
    """Take a pause back. --all takes every one back.

    \b
    Examples:
      cleanup-pipeline resume sessions_main
      cleanup-pipeline resume --all
    """
    settings = settings_for(settings_file)
    chosen = _chosen(settings, target, everything)
    from cleanup_pipeline.dagster_defs.launch import instance_at
    from cleanup_pipeline.dagster_defs.switches import ALL
    from cleanup_pipeline.dagster_defs.switches import resume as take_back

    with instance_at(dagster_home()) as instance:
        names = [ALL, *(each.name for each in settings.targets)] if everything else [chosen]
        resumed = [name for name in names if take_back(instance, name)]
        for name in resumed:
            console().print(f"{'all targets' if name == ALL else name}: resumed", markup=False)
        if not resumed:
            console().print(f"{'nothing' if everything else chosen} was {'' if everything else 'not '}paused")


def _chosen(settings: Settings, target: str | None, everything: bool) -> str:
    if everything == (target is not None):
        raise UsageError("name a target, or say --all")
    if target is None:
        return "*"
    known = [each.name for each in settings.targets]
    if target in known:
        return target
    close = get_close_matches(target, known, n=1)
    hint = f"; did you mean {close[0]}?" if close else f", the targets are {', '.join(known)}"
    raise UsageError(f"there is no target {target}{hint}")


def _duration(text: str) -> timedelta:
    try:
        duration = parse_duration(text)
    except ValueError:
        raise UsageError(f"--for {text}: expected a duration such as 30m, 2h or 1d") from None
    if duration <= timedelta(0):
        raise UsageError(f"--for {text}: expected more than 0")
    return duration
