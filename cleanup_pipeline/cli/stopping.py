"""Ctrl-C, SIGTERM and a closed terminal: one way out for all of them, so that what a command started is stopped.

Does not belong here: what is stopped; each command does that in its own `finally`.
"""

import signal
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    # Settings faults and usage are answered without the second that Dagster takes to import.
    import dagster as dg

STOPPED = 130
"""The exit code of a command that was stopped from outside."""


class Stopped(BaseException):
    """The process was asked to end. Not KeyboardInterrupt, which Typer would turn into an exit code of its own."""


def end_on_signals() -> None:
    """From now on the first SIGINT, SIGTERM or SIGHUP raises Stopped in the main thread.

    SIGINT even where the shell that put the program into the background had it ignored: Dagster lets SIGTERM do what
    SIGINT does, and would then have both ignored. SIGHUP only where nohup did not.
    """
    signal.signal(signal.SIGINT, _stop)
    signal.signal(signal.SIGTERM, _stop)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _stop)


def raise_if_interrupted(instance: "dg.DagsterInstance", run_id: str | None) -> None:
    """Raise Stopped when the run ended because this process was asked to: Dagster keeps the signal to itself."""
    run = instance.get_run_by_id(run_id) if run_id else None
    if run is not None and (
        run.status.value == "CANCELED" or run.tags.get("dagster/failure_reason") == "UNEXPECTED_TERMINATION"
    ):
        raise Stopped


def _stop(*_: object) -> NoReturn:
    raise Stopped
