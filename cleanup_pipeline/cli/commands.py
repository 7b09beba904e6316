"""The commands by name, each imported when it is asked for: one that shows figures need not load what deletes."""

from dataclasses import dataclass
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

_GROUPS: dict[str, dict[str, tuple[str, str]]] = {
    "Begin": {
        "demo": ("demo:demo", "Show it at work, on servers and data of its own."),
        "init": ("init:init", "Write a cleanup.yaml for what is found in your stores."),
        "layouts": ("layouts:app", "Show known frameworks; describe records of your own."),
        "check": ("check:check", "Say what stands in the way, and what to do."),
        "advise": ("advise:advise", "Say where a store could do it alone, and how to get there."),
        "roles": ("roles:roles", "Print the login that targets need, and no more."),
        "schema": ("schema:schema", "Print the JSON schema of cleanup.yaml, for editors."),
    },
    "Clean": {
        "plan": ("plan:plan", "Show what a pass would do; delete nothing."),
        "apply": ("apply:apply", "Delete what a plan covers and nothing else, once."),
        "plans": ("plans:plans", "List the plans on record."),
        "run": ("run:run", "Run a pass, once; --dry-run only looks."),
        "up": ("up:up", "Clean on schedule, with the Dagster UI."),
        "backfill": ("backfill:backfill", "Clean an old backlog window by window."),
        "worker": ("worker:worker", "Do steps that runs hand to Celery."),
        "retry": ("retry:retry", "Repeat what a red pass left undone."),
    },
    "Stop": {
        "pause": ("pause:pause", "Delete nothing from a target, or from any, until `resume`."),
        "resume": ("pause:resume", "Take a pause back."),
        "release-brake": ("brakes:release_brake", "Say what holds targets back; let one go on."),
        "leases": ("leases:leases", "Show who is cleaning what; take that right away."),
        "undo": ("undo:undo", "Put back what a run removed."),
    },
    "Look": {
        "history": ("history:history", "Show the last passes: how they ended, what they deleted."),
        "report": ("report:report", "Report what was removed, what failed, what is left."),
        "why": ("why:why", "Say when and by which pass a record was removed."),
        "witness": ("witness:witness", "Look whether everything is gone that ought to be."),
        "alerts": ("alerts:alerts", "Show what is wrong now, and was in the last seven days."),
        "notifications": ("notifications:notifications", "Show who was told of what, and whether it arrived."),
        "metrics": ("metrics:metrics", "Serve figures to Prometheus."),
        "forget": ("forget:forget", "Erase what is kept of somebody's removed records."),
        "ledger": ("ledger:app", "Back up the record of passes; put it back."),
        "simulate": ("simulate:simulate", "Say whether cleaning will keep up, and with what."),
        "prune-history": ("prune_history:prune_history", "Remove what is older than `history` keeps."),
    },
}
"""Heading -> command -> its module in this folder and the function or group in it, and a line for the list of commands.

The line is here so that help and Tab need not load every command.
"""

_COMMANDS = {name: found for group in _GROUPS.values() for name, found in group.items()}


@dataclass(frozen=True, slots=True)
class _Offer:
    """What a shell is offered, with the fields that Typer writes."""

    value: str
    help: str
    type: str = "plain"


class Commands(TyperGroup):
    """The group of all commands, in the order in which help names them."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(_COMMANDS)

    # Typer brings a click of its own, whose types it does not export.
    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name][0].partition(":")
        found = getattr(import_module(f"cleanup_pipeline.cli.{module}"), name)
        if not isinstance(found, typer.Typer):
            single = typer.Typer(add_completion=False, **OPTIONS)
            single.command(cmd_name)(found)
            found = single
        command = typer.main.get_command(found)
        command.name = cmd_name
        return command

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        widest = max(map(len, _COMMANDS))
        for heading, group in _GROUPS.items():
            with formatter.section(heading):
                formatter.write_dl([(name.ljust(widest), line) for name, (_, line) in group.items()])

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        # Options alone, so that no command is loaded for its name.
        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        return [_Offer(name, line) for name, (_, line) in _COMMANDS.items() if name.startswith(incomplete)]
