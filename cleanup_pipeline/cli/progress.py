"""How far a pass is, on a terminal: each target's records, rate and time left, on stderr while it runs."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from cleanup_pipeline.cli.show import colours
from cleanup_pipeline.engine.progress import listening
from cleanup_pipeline.model.outcome import Tally
from cleanup_pipeline.reporting.words import number

_LONGEST_NAME = 26


@dataclass
class _Bar:
    task: TaskID
    before: int = 0
    """Records that the shards before this one removed."""
    last: Tally = field(default_factory=Tally)

    def deleted(self, tally: Tally) -> int:
        """Records that the target has lost. In one process its shards come one after the other, each from 0."""
        if tally.batches < self.last.batches:
            self.before += self.last.deleted
        self.last = tally
        return self.before + tally.deleted


@contextmanager
def progress(quiet: bool) -> Iterator[None]:
    """Show it while the block lasts, then take it away. Nothing in a pipe, and nothing when `quiet`."""
    if quiet or not sys.stderr.isatty():
        yield
        return
    # Dagster captures the process's stdout and stderr for its own logs while steps run; a copy keeps the terminal.
    with os.fdopen(os.dup(sys.stderr.fileno()), "w", buffering=1) as terminal:
        shown = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=12),
            TextColumn("{task.fields[records]}", justify="right"),
            TextColumn("{task.fields[rate]}", justify="right"),
            TimeRemainingColumn(compact=True),
            TextColumn("left"),
            console=Console(file=terminal, force_terminal=True, color_system=colours()),
            transient=True,
        )
        bars: dict[str, _Bar] = {}

        def follow(target: str, tally: Tally, expected: int | None) -> None:
            if target not in bars:
                name = target if len(target) <= _LONGEST_NAME else f"{target[: _LONGEST_NAME - 1]}…"
                bars[target] = _Bar(shown.add_task(name, total=expected, records="", rate=""))
            bar = bars[target]
            task = shown.tasks[shown.task_ids.index(bar.task)]
            done = bar.deleted(tally)
            records = number(done) if expected is None else f"{number(done)}/{number(expected)}"
            rate = f"{task.speed:,.0f}/s" if task.speed else ""
            shown.update(bar.task, completed=done, records=records, rate=rate)

        with shown, listening(follow):
            yield
