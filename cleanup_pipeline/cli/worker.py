"""`cleanup-pipeline worker`: a worker of Celery, for passes whose executor it is."""

import platform
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from cleanup_pipeline.cli.errors import UsageError
from cleanup_pipeline.cli.home import settings_for
from cleanup_pipeline.cli.run import SettingsOption
from cleanup_pipeline.settings.execution import CELERY


def worker(
    concurrency: Annotated[
        int, typer.Option("--concurrency", "-c", min=1, max=64, help="Steps at a time, each in a process of its own.")
    ] = 1,
    name: Annotated[
        str | None, typer.Option("--name", help="A name that no other worker on this host has. Default: a new one.")
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say which steps come and go.")] = False,
    settings_file: SettingsOption = None,
) -> None:
    """Do the steps that runs hand to Celery's broker, until Ctrl-C.

    For `execution: {executor: celery}`; settings, stores' URLs and CLEANUP_DAGSTER_POSTGRES_URL as where runs are
    started. Ctrl-C or SIGTERM: the steps under way end first. Where a worker is killed, its steps fail.

    \b
    Examples:
      cleanup-pipeline worker
      cleanup-pipeline worker --concurrency 4 --name one
    """
    settings = settings_for(settings_file)
    if settings.execution.executor != CELERY:
        raise UsageError(
            f"execution.executor is {settings.execution.executor}: only runs of executor celery have workers"
        )
    if name is not None and not name.replace("-", "").replace("_", "").isalnum():
        raise UsageError(f"--name: found {name}, expected letters, digits, - and _")
    import os

    from cleanup_pipeline.dagster_defs.celery_executor import reach_broker, worker_app
    from cleanup_pipeline.dagster_defs.storage import look_at_database

    look_at_database()
    try:
        app = worker_app(settings.execution)
    except LookupError as fault:
        raise UsageError(str(fault)) from None
    reach_broker(app)
    # Its banner would have the broker's URL.
    os.environ["CELERY_QUIET"] = "1"
    chosen = f"{name or f'cleanup-{os.getpid()}'}@{platform.node()}"
    typer.echo(f"worker {chosen}: {concurrency} at a time, queue {settings.execution.queue}; Ctrl-C ends it")
    arguments = ["--quiet", "worker", "--pool", "prefork", "--concurrency", str(concurrency), "--hostname", chosen]
    arguments += ["--queues", settings.execution.queue, "--without-gossip", "--without-mingle"]
    if verbose:
        from celery.signals import task_prerun

        task_prerun.connect(_say, weak=False)
    # Celery's own next level shows what each task gave back.
    app.worker_main([*arguments, "--loglevel", "WARNING"])


def _say(kwargs: Any = None, **_: Any) -> None:
    packed = (kwargs or {}).get("execute_step_args_packed") or {}
    steps = ", ".join(map(str, packed.get("step_keys_to_execute") or ["a step"]))
    typer.echo(f"{datetime.now(UTC):%H:%M:%S} run {str(packed.get('run_id'))[:8]}: {steps}")
