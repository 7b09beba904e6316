"""Windows of a pass, several at a time, each in one of a few processes that outlive it.

Processes and not threads: Dagster ends a run by signal, and only a main thread gets those.
"""

import os
import sys
import time
import warnings
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

from cleanup_pipeline.cli.stopping import STOPPED, Stopped, end_on_signals, raise_if_interrupted
from cleanup_pipeline.model.outcome import PassReport

PATIENCE_SECONDS = 45
"""How long a worker may take to end its batch and write down what it did, before it is killed."""


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a window: a report, or why there is none."""

    key: str
    report: PassReport | None
    fault: str | None = None


@dataclass(slots=True)
class _Worker:
    process: SpawnProcess
    pipe: "Connection[str, Done]"
    key: str | None = None


def run_windows(pass_name: str, keys: Sequence[str], parallel: int, backfill: str, home: Path) -> Generator[Done]:
    """Run these windows, and say of each what became of it as it ends, in any order.

    When the iterator is closed or the program stopped, the workers are asked to end, and what they are at is written
    down as stopped. A worker that dies takes its window along and nothing else.
    """
    waiting = list(reversed(keys))
    workers = [_start(pass_name, backfill, home) for _ in range(min(parallel, len(keys)))]
    try:
        while workers:
            for worker in workers:
                if worker.key is None and waiting:
                    worker.key = waiting.pop()
                    with suppress(BrokenPipeError):
                        worker.pipe.send(worker.key)
            busy = [worker for worker in workers if worker.key is not None]
            if not busy:
                return
            ready = wait([worker.pipe for worker in busy])
            for worker in [worker for worker in busy if worker.pipe in ready]:
                key, worker.key = worker.key or "", None
                try:
                    yield worker.pipe.recv()
                except (EOFError, ConnectionError):
                    worker.process.join()
                    workers.remove(worker)
                    if waiting:
                        workers.append(_start(pass_name, backfill, home))
                    yield Done(key, None, f"its process died (exit code {worker.process.exitcode})")
    finally:
        _end(workers)


def _start(pass_name: str, backfill: str, home: Path) -> _Worker:
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, pass_name, backfill, home))
    process.start()
    # What is still open here would keep a dead worker's end from being noticed.
    theirs.close()
    return _Worker(process, ours)


def _end(workers: Sequence[_Worker]) -> None:
    for worker in workers:
        if worker.key is None:
            worker.pipe.close()  # it waits for a window, and ends when none can come
        elif worker.process.is_alive():
            worker.process.terminate()
    ends = time.monotonic() + PATIENCE_SECONDS
    for worker in workers:
        worker.process.join(max(0.1, ends - time.monotonic()))
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()


def _work(pipe: "Connection[Done, str]", pass_name: str, backfill: str, home: Path) -> None:
    """The life of a worker: windows come in, reports go out, until the other end is closed."""
    # Ctrl-C is for the command, which asks each worker once.
    os.setpgrp()
    warnings.simplefilter("ignore")
    end_on_signals()
    try:
        from cleanup_pipeline.dagster_defs import names
        from cleanup_pipeline.dagster_defs.launch import instance_at, run_pass
        from cleanup_pipeline.dagster_defs.windows import partition_tags
        from cleanup_pipeline.settings import load_settings

        settings = load_settings()
        with instance_at(home) as instance:
            while True:
                key = pipe.recv()
                tags = {**partition_tags(names.job_name(pass_name), key), names.BACKFILL_TAG: backfill}
                try:
                    report = run_pass(settings, pass_name, instance=instance, tags=tags)
                except Exception as fault:  # noqa: BLE001 - the next window may fare better
                    line = " ".join(str(fault).split())[:200]
                    pipe.send(Done(key, None, f"Dagster could not run it: {type(fault).__name__}, {line}"))
                    continue
                raise_if_interrupted(instance, report.run_id)
                pipe.send(Done(key, report))
    except (EOFError, ConnectionError):
        return
    except Stopped:
        sys.exit(STOPPED)
