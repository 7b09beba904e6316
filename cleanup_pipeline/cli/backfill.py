"""`cleanup-pipeline backfill`: the windows of a pass between two instants, several at a time."""

import sys
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING, Annotated
from uuid import uuid4
from zoneinfo import ZoneInfo

import typer
from rich.console import Console

from cleanup_pipeline.cli.errors import UsageError
from cleanup_pipeline.cli.home import dagster_home, known_pass, settings_for
from cleanup_pipeline.cli.run import PassArgument, SettingsOption
from cleanup_pipeline.cli.sending import send_metrics_from_home
from cleanup_pipeline.cli.show import complain, console, show_done, show_forecast
from cleanup_pipeline.cli.workers import Done, run_windows
from cleanup_pipeline.engine.forecast import RUN_SECONDS, Forecast, forecast_of
from cleanup_pipeline.engine.scan import scan
from cleanup_pipeline.model.window import Window
from cleanup_pipeline.model.words import PassStatus, StopReason
from cleanup_pipeline.settings import Settings
from cleanup_pipeline.stores.base import StoreError
from cleanup_pipeline.stores.open import open_store

if TYPE_CHECKING:
    from cleanup_pipeline.dagster_defs.windows import Windows

FORECAST_SECONDS = 60
"""How long the forecast may count; windows that it has not come to are unknown."""
MOST_PARALLEL = 16
_NOT_DONE = {PassStatus.FAILED, PassStatus.PARTIAL, PassStatus.SKIPPED}


def backfill(
    pass_name: PassArgument,
    begin: Annotated[
        str, typer.Option("--from", metavar="TIME", help="The first window begins here, such as 2026-11-01.")
    ],
    end: Annotated[
        str | None,
        typer.Option("--to", metavar="TIME", help="The last window ends here, such as 2026-11-03T12:00. Default: now."),
    ] = None,
    parallel: Annotated[int, typer.Option(min=1, max=MOST_PARALLEL, help="Windows at a time.")] = 2,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only the forecast; delete nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    settings_file: SettingsOption = None,
) -> None:
    """Clean the windows of a pass between two times, each by itself.

    Shows first what is in each window and how long it may take, and asks, on a terminal. Every window is a run of its
    own, in the grid of partitions too. Times are by the clocks of the pass's time zone, or carry an offset.

    \b
    Examples:
      cleanup-pipeline backfill sessions --from 2026-11-01 --dry-run
      cleanup-pipeline backfill sessions --from 2026-11-01 \\
        --to 2026-11-03 --parallel 4
    """
    settings = settings_for(settings_file)
    name = known_pass(settings, pass_name)
    of_pass = settings.passes[name]
    zone = ZoneInfo(of_pass.timezone)
    first = _instant("--from", begin, zone)
    last = datetime.now(UTC) if end is None else _instant("--to", end, zone)
    if not settings.enabled or not of_pass.enabled:
        raise UsageError("cleanup is switched off (enabled: false); switch it on first")
    if not settings.targets_of(name):
        raise UsageError(f"pass {name} has no target; name one in cleanup.yaml")
    from cleanup_pipeline.dagster_defs.windows import window_of, windows_of

    windows = windows_of(of_pass)
    keys = _keys(name, windows, first, last)
    out = console()
    spans = {key: window_of(windows, key) for key in keys}
    began = spans[keys[0]].start.astimezone(zone)
    until = spans[keys[-1]].end.astimezone(zone)
    out.print(
        f"[bold]{name}[/bold]: {len(keys)} windows from {began:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M} {until:%Z}"
    )
    if spans[keys[0]].open_below:
        out.print("  the first window there is: it takes everything older, too")
    forecasts, without_windows = _forecast(settings, name, spans)
    show_forecast(out, forecasts, parallel)
    for target, why in without_windows.items():
        out.print(f"  {target}: {why}", markup=False)
    if dry_run:
        return
    if not yes and sys.stdin.isatty() and not typer.confirm(f"Run them, {min(parallel, len(keys))} at a time?"):
        raise typer.Exit(1)
    clean = _run(out, name, keys, parallel, without_windows)
    send_metrics_from_home(settings)
    if not clean:
        raise typer.Exit(1)


def _instant(option: str, text: str, zone: ZoneInfo) -> datetime:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{option}: found {text}, expected a time such as 2026-11-01 or 2026-11-01T06:00") from None
    return instant if instant.tzinfo else instant.replace(tzinfo=zone)


def _keys(name: str, windows: "Windows", first: datetime, last: datetime) -> list[str]:
    """The windows that are meant. Raises UsageError when there is none, or some have not ended or do not exist."""
    from cleanup_pipeline.dagster_defs.windows import keys_between

    if first >= last:
        raise UsageError(f"--to: found {last:%Y-%m-%d %H:%M}, expected a time after --from")
    if last > datetime.now(UTC):
        raise UsageError(f"--to: found {last:%Y-%m-%d %H:%M}, which is still to come; leave it out to go up to now")
    if first < windows.start:
        raise UsageError(
            f"--from: the windows of pass {name} begin at {windows.start:%Y-%m-%d %H:%M}, and the first takes"
            f" everything older along; begin there, or set passes.{name}.start to an earlier day"
        )
    keys = keys_between(windows, first, last)
    if not keys:
        raise UsageError("--from, --to: no whole window of this pass lies between them")
    return keys


def _forecast(settings: Settings, name: str, spans: dict[str, Window]) -> tuple[dict[str, Forecast], dict[str, str]]:
    """What is in each window, newest last, and why some targets have no part in them.

    Looks only, and gives up counting after a while.
    """
    targets = settings.targets_of(name)
    stores = {target.store: open_store(settings.stores[target.store]) for target in targets}
    ends = monotonic() + FORECAST_SECONDS
    forecasts: dict[str, Forecast] = {}
    faults: dict[str, str] = {}
    without_windows: dict[str, str] = {}
    try:
        for key, span in spans.items():
            total = Forecast(0, seconds=RUN_SECONDS)
            for target in targets:
                if target.name in faults or monotonic() > ends:
                    total += Forecast(None, fault=faults.get(target.name))
                    continue
                try:
                    plan = scan(stores[target.store], target, dry_run=True, window=span)
                    total += forecast_of(plan, target)
                    if plan.skipped:
                        without_windows[target.name] = plan.skipped
                except StoreError as fault:
                    faults[target.name] = str(fault)
                    total += Forecast(None, fault=str(fault))
            forecasts[key] = total
    finally:
        for store in stores.values():
            store.close()
    return forecasts, without_windows


def _left_alone(one: Done, without_windows: Collection[str]) -> Done:
    """A window is not clean where somebody else was at a target of it, or it was paused: then it is skipped."""
    report = one.report
    if report is None or report.status is not PassStatus.SUCCEEDED:
        return one
    skipped = [target.target for target in report.targets if target.stop_reason is StopReason.SKIPPED]
    if all(name in without_windows for name in skipped):
        return one
    return replace(one, report=replace(report, status=PassStatus.SKIPPED))


def _run(out: Console, name: str, keys: Sequence[str], parallel: int, without_windows: Collection[str]) -> bool:
    """Run the windows and say what became of each. Whether all of them are clean."""
    from cleanup_pipeline.dagster_defs.closing import fail_lost_runs
    from cleanup_pipeline.dagster_defs.launch import instance_at

    backfill_id = uuid4().hex[:8]
    home = dagster_home().resolve()
    with instance_at(home):
        # Makes Dagster's tables where there are none yet, which workers would all try at once.
        pass
    done: list[Done] = []
    ended = run_windows(name, keys, parallel, backfill_id, home)
    try:
        for one in ended:
            done.append(_left_alone(one, without_windows))
            show_done(out, one.key, done[-1].report, one.fault, without_windows)
    finally:
        # Stops the workers, too, when the program is being stopped.
        ended.close()
        if not all(one.report for one in done) or len(done) < len(keys):
            with instance_at(home) as instance:
                fail_lost_runs(instance)
        counts = {status: sum(1 for one in done if one.report and one.report.status is status) for status in PassStatus}
        lost = sum(1 for one in done if one.report is None)
        words = [f"{count} {status}" for status, count in counts.items() if count] + ([f"{lost} lost"] if lost else [])
        if len(done) < len(keys):
            words.append(f"{len(keys) - len(done)} not done")
        deleted = sum(target.deleted for one in done if one.report for target in one.report.targets)
        out.print(f"[bold]{name}[/bold]: {len(keys)} windows: {', '.join(words)}; {deleted:,} records deleted")
    bad = [one for one in done if one.report is None or one.report.status in _NOT_DONE]
    if bad:
        complain(
            "not all windows are clean: `cleanup-pipeline retry RUN` repeats one,"
            " the same backfill again does no harm to those that are"
        )
    return not bad
