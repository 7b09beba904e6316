"""The commands by name, each imported when it is asked for: one that shows figures need not load what deletes."""

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

OPTIONS: dict[str, Any] = {
    "pretty_exceptions_enable": False,
    "rich_markup_mode": None,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}
"""What every part of the command line is made with."""

_PLACES = {
    "run": "run:run",
    "init": "init:init",
    "check": "check:check",
    "advise": "advise:advise",
    "roles": "roles:roles",
    "plan": "plan:plan",
    "plans": "plans:plans",
    "apply": "apply:apply",
    "backfill": "backfill:backfill",
    "retry": "retry:retry",
    "up": "up:up",
    "pause": "pause:pause",
    "resume": "pause:resume",
    "release-brake": "brakes:release_brake",
    "why": "why:why",
    "undo": "undo:undo",
    "forget": "forget:forget",
    "history": "history:history",
    "report": "report:report",
    "witness": "witness:witness",
    "leases": "leases:leases",
    "alerts": "alerts:alerts",
    "notifications": "notifications:notifications",
    "metrics": "metrics:metrics",
    "prune-history": "prune_history:prune_history",
    "layouts": "layouts:app",
    "schema": "schema:schema",
    "demo": "demo:demo",
}
"""Command -> its module in this folder, and the function or group of commands in it."""


class Commands(TyperGroup):
    """The group of all commands, in the order in which help names them."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(_PLACES)

    # Typer brings a click of its own, whose types it does not export.
    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        place = _PLACES.get(cmd_name)
        if place is None:
            return None
        module, _, name = place.partition(":")
        found = getattr(import_module(f"cleanup_pipeline.cli.{module}"), name)
        if not isinstance(found, typer.Typer):
            single = typer.Typer(add_completion=False, **OPTIONS)
            single.command(cmd_name)(found)
            found = single
        command = typer.main.get_command(found)
        command.name = cmd_name
        return command
