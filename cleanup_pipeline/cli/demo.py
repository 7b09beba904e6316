"""`cleanup-pipeline demo`: the main job on stores that need nobody: embedded servers, filled by real frameworks.

With store URLs in the environment it runs every pass on those stores instead, and writes no sample data to them.
"""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.resources import files
from pathlib import Path

import typer
from rich.console import Console

from cleanup_pipeline.cli.errors import UsageError
from cleanup_pipeline.cli.home import SETTINGS_VARIABLE, STATE, URL_VARIABLES, dagster_home, settings_for
from cleanup_pipeline.cli.plan_making import plans_of
from cleanup_pipeline.cli.progress import progress
from cleanup_pipeline.cli.show import complain, console, show_census, show_report
from cleanup_pipeline.cli.stopping import raise_if_interrupted
from cleanup_pipeline.model.words import PassStatus
from cleanup_pipeline.settings import Settings

DEMO = STATE / "demo"


def demo() -> None:
    """Show it at work on sample data, record by record.

    Starts a PostgreSQL, a Redis-protocol and a MongoDB-protocol server in .cleanup/demo, has Django, Flask-Session and
    a sign-in service fill them, runs every pass, checks each record, and stops the servers.

    With CLEANUP_POSTGRES_URL, CLEANUP_REDIS_URL or CLEANUP_MONGO_URL set it runs every pass on those stores instead,
    and DELETES what is expired there. No sample data is written to them.

    \b
    Examples:
      cleanup-pipeline demo
    """
    out = console()
    if any(os.environ.get(name) for name in URL_VARIABLES):
        settings = settings_for(None)
        out.print(f"Running on your own stores, by {settings.source}; no sample data is written.", markup=False)
        green = _run_all(out, settings)
        _next(out)
        raise typer.Exit(0 if green else 1)
    shutil.rmtree(DEMO, ignore_errors=True)
    with demo_stores():
        from cleanup_pipeline.embedded.sample import compare, write_samples

        urls = [os.environ[name] for name in URL_VARIABLES]
        out.print("Django, Flask-Session and a sign-in service write sessions and tokens ...")
        manifest = write_samples(*urls)
        settings = settings_for(None)
        out.print(f"  {manifest.count('gone'):,} expired, {manifest.count('stay'):,} that must stay\n")
        green = _run_all(out, settings)
        wrong = compare(manifest, *urls)
    for line in wrong[:20]:
        complain(f"✗ {line}")
    if wrong:
        complain(f"✗ {len(wrong):,} records are not as they should be")
    else:
        out.print(
            f"Compared record by record: all {manifest.count('gone'):,} expired ones are gone, "
            f"all {manifest.count('stay'):,} others are still there."
        )
    _next(out)
    raise typer.Exit(0 if green and not wrong else 1)


def has_demo() -> bool:
    """Whether a demo ran here and left its stores."""
    return DEMO.is_dir()


@contextmanager
def demo_stores() -> Iterator[None]:
    """The demo's servers, running, with this process's environment pointing at them and at the demo's settings."""
    try:
        from cleanup_pipeline.embedded.servers import Server, start_mongo, start_postgres, start_redis
    except ImportError as fault:
        raise UsageError(
            f"the demo needs the embedded servers ({fault.name} is missing); pip install 'cleanup-pipeline[embedded]'"
        ) from None
    starters: tuple[Callable[[Path], Server], ...] = (start_postgres, start_redis, start_mongo)
    with ExitStack() as stack:
        for variable, start in zip(URL_VARIABLES, starters, strict=True):
            folder = DEMO / variable.split("_")[1].lower()
            folder.mkdir(parents=True, exist_ok=True)
            server = start(folder.resolve())
            stack.callback(server.stop)
            os.environ[variable] = server.url
        os.environ[SETTINGS_VARIABLE] = str(_demo_settings())
        yield


def _demo_settings() -> Path:
    made = DEMO / "cleanup.yaml"
    made.write_text(files("cleanup_pipeline.embedded").joinpath("demo.yaml").read_text(encoding="utf-8"), "utf-8")
    return made.resolve()


def _run_all(out: Console, settings: Settings) -> bool:
    """Census before, every pass through Dagster, its report. False when one of them is red."""
    plans, faults = plans_of(settings, settings.targets)
    out.print("[bold]before[/bold]")
    show_census(out, plans)
    for fault in faults.values():
        complain(f"✗ {fault}")
    out.print()
    from cleanup_pipeline.dagster_defs.launch import instance_at, run_pass

    green = True
    with instance_at(dagster_home()) as instance:
        for name in settings.passes:
            with progress(quiet=False):
                report = run_pass(settings, name, instance=instance)
            show_report(out, report)
            raise_if_interrupted(instance, report.run_id)
            out.print()
            green = green and report.status not in {PassStatus.FAILED, PassStatus.PARTIAL}
    plans, _ = plans_of(settings, settings.targets)
    out.print("[bold]after[/bold]")
    show_census(out, plans)
    out.print()
    return green


def _next(out: Console) -> None:
    program = Path(sys.argv[0])
    command = program.name if shutil.which(program.name) else os.path.relpath(program)
    out.print(f"Next: [bold]{command} up[/bold] shows these runs in the Dagster UI, with the schedules on.")
