"""The program in a process of its own that does not begin with two seconds of imports.

A server that has everything imported and has run nothing (multiprocessing's forkserver) forks a process for each call.
It gets the folder, environment, arguments and outputs of a program that was started, and its `main`. That the
installed program starts from nothing is what the tests that use COMMAND see.
"""

import atexit
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from contextlib import chdir
from multiprocessing.context import ForkServerContext
from pathlib import Path

IMPORTED = [
    "alembic.command",
    "dagster",
    "dagster._core.workspace.context",
    "pandas",
    "pymongo",
    "redis.cluster",
    "sqlalchemy.dialects.sqlite",
    "cleanup_pipeline.cli.main",
    "cleanup_pipeline.cli.show_plans",
    "cleanup_pipeline.dagster_defs.build",
    "cleanup_pipeline.layouts.layout",
    "cleanup_pipeline.settings.load",
    "cleanup_pipeline.stores.mongo.store",
    "cleanup_pipeline.stores.postgres.store",
    "cleanup_pipeline.stores.redis.store",
]


def context() -> ForkServerContext:
    """Where processes come from. One server for each process of the tests, begun at the first call."""
    forking = multiprocessing.get_context("forkserver")
    forking.set_forkserver_preload(IMPORTED)
    return forking


def run(
    program: str, arguments: list[str], folder: Path, environment: dict[str, str], seconds: float = 240
) -> "subprocess.CompletedProcess[str]":
    """Run the program with these arguments to its end, and answer as subprocess.run does.

    Raises subprocess.TimeoutExpired after `seconds`.
    """
    argv = [program, *arguments]
    with tempfile.TemporaryDirectory() as place:
        process = context().Process(target=_main, args=(argv, str(folder), environment, place))
        # The first one starts the server, which would work in the folder of a test for as long as there are tests.
        with chdir("/"):
            process.start()
        process.join(seconds)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(argv, seconds)
        texts = [Path(place, str(number)).read_text(encoding="utf-8") for number in (1, 2)]
    return subprocess.CompletedProcess(argv, process.exitcode, *texts)


def _main(argv: list[str], folder: str, environment: dict[str, str], place: str) -> None:
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    os.chdir(folder)
    for number, name in enumerate((os.devnull, f"{place}/1", f"{place}/2")):
        with Path(name).open("rb" if number == 0 else "wb") as file:
            os.dup2(file.fileno(), number)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w", buffering=1)  # noqa: SIM115
    sys.argv = argv
    from cleanup_pipeline.cli.main import main

    try:
        main()
    finally:
        # A process of multiprocessing ends without them.
        atexit._run_exitfuncs()
        sys.stdout.flush()
