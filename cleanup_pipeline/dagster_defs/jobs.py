"""One job a pass: a graph a target, named as the user named it, and `summarize` at the end.

Does not belong here: when a job starts (schedules.py), what a step does (ops.py).
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta

import dagster as dg

from cleanup_pipeline.dagster_defs import names
from cleanup_pipeline.dagster_defs.assets import source_words
from cleanup_pipeline.dagster_defs.braking import Braking
from cleanup_pipeline.dagster_defs.grouping import MOST_DELETE_STEPS, steps_a_target
from cleanup_pipeline.dagster_defs.ops import summarize_op, target_ops
from cleanup_pipeline.dagster_defs.windows import Windows
from cleanup_pipeline.model.durations import format_duration
from cleanup_pipeline.model.outcome import TargetReport
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.model.words import Mode
from cleanup_pipeline.settings.notifications import NotificationSettings
from cleanup_pipeline.settings.plans import PlanSettings

LOST_WORKER_RETRIES = 2
"""How often the daemon starts a run anew whose worker was killed or lost. A red step is no such thing."""
_AROUND, _LONGEST = timedelta(hours=2), timedelta(hours=24)
"""What a run may take beside deleting, and at most."""


def target_graph(
    target: Target,
    *,
    enabled: bool = True,
    windows: Windows | None = None,
    source: str | None = None,
    braking: Braking | None = None,
    plans: PlanSettings | None = None,
    steps: int = MOST_DELETE_STEPS,
) -> dg.GraphDefinition:
    """scan -> batch -> delete x shards -> report for one target."""
    ops = target_ops(target, enabled=enabled, windows=windows, source=source, braking=braking, plans=plans, steps=steps)
    # The steps of one layout take turns: what the first removes lets records of the next one die.
    turn = {"dagster/priority": str(-target.turn)} if target.turn else {}

    @dg.graph(
        # Steps are called by the target's own name; a definition of that name may be somebody else's op or asset.
        name=f"Target_{target.name}",
        description=_of_target(target),
    )
    def graph() -> TargetReport:
        plan = ops.scan.alias("scan").tag(turn)()
        shards = ops.batch.alias("batch").tag(turn)(plan)
        outcomes = shards.map(lambda group: ops.delete.alias("delete").tag(turn)(plan, group))
        reported: TargetReport = ops.report.alias("report").tag(turn)(plan, outcomes.collect())
        return reported

    return graph


def pass_job(
    pass_name: str,
    targets: Sequence[Target],
    resources: Mapping[str, dg.ResourceDefinition],
    executor: dg.ExecutorDefinition = dg.in_process_executor,
    *,
    enabled: bool = True,
    windows: Windows | None = None,
    source: str | None = None,
    notifications: NotificationSettings | None = None,
    plans: PlanSettings | None = None,
) -> dg.JobDefinition:
    """The job of a pass over its targets. By default steps run one after another in the run's own process.

    `windows` are its partitions. A run need not have one. `source` is the settings file, if there is one.

    A step of its own process costs about a second before it deletes anything, and a pass waits for its stores, not for
    the processor (docs/decisions/0002-dagster.md).
    """
    braking = Braking(sorted({target.store for target in targets}), notifications)
    steps = steps_a_target(len(targets))
    graphs = [
        target_graph(target, enabled=enabled, windows=windows, source=source, braking=braking, plans=plans, steps=steps)
        for target in targets
    ]
    summarize = summarize_op(pass_name).alias(names.SUMMARIZE)

    @dg.graph(name=f"Pass_{pass_name}")
    def composed():  # type: ignore[no-untyped-def]
        summarize([graph.alias(target.name)() for target, graph in zip(targets, graphs, strict=True)])

    own = {names.OPTIONS, names.LEDGER, names.KEEPING, names.IO_MANAGER}
    needed = {names.resource_key(target.store) for target in targets} | own
    return composed.to_job(
        name=names.job_name(pass_name),
        description=_describe(pass_name, targets),
        resource_defs={key: value for key, value in resources.items() if key in needed},
        executor_def=executor,
        partitions_def=windows,
        # A lost worker leaves shards that never started, which Dagster's other strategy would leave out.
        tags={
            names.PASS_TAG: pass_name,
            "dagster/retry_strategy": "ALL_STEPS",
            "dagster/max_retries": str(LOST_WORKER_RETRIES),
            # Dagster's own default is true, which a chart's or a host project's instance has.
            "dagster/retry_on_asset_or_op_failure": "false",
            "dagster/max_runtime": str(int(longest_run(targets).total_seconds())),
        },
    )


def longest_run(targets: Sequence[Target]) -> timedelta:
    """After which a run is taken for one of a host that crashed: all its shards one after another may take no longer.

    An instance's `max_runtime_seconds` ends a run of many targets, or with few workers, that is merely at it.
    """
    deleting = sum((target.max_shards * target.operation_timeout for target in targets), timedelta())
    return min(_AROUND + deleting, _LONGEST)


def _describe(pass_name: str, targets: Sequence[Target]) -> str:
    if not targets:
        return f"Pass `{pass_name}` has no target. Name one in cleanup.yaml, or set a store's URL."
    listed = "\n".join(
        f"- **{t.name}** {'is cleaned' if t.mode is Mode.DELETE else 'is only looked at, as it is not approved'}:"
        f" {t.kind} in {source_words(t)} of store `{t.store}`"
        for t in targets
    )
    return (
        "Deletes expired records, a little at a time, and reports what went and what is left. A box for each target:"
        f"\n\n{listed}\n\nIn a box, `scan` looks, `batch` divides the work, `delete` deletes, `report` counts what is"
        " left. `summarize` adds up all targets; its output is the report of the pass."
    )


def _of_target(target: Target) -> str:
    # The first words are all that the graph shows of it, and as they stand there.
    words = f"Expired {target.kind} records of {target.source_name} in store {target.store}."
    if target.grace:
        words += f" They are kept for {format_duration(target.grace)} after they died."
    if target.layout:
        words += f" Layout: {target.layout}."
    return words if target.mode is Mode.DELETE else f"{words} Only looked at: not approved (mode: dry_run)."
