"""Plans and reports as Markdown tables, for Dagster's pages. A dash means unknown, never zero."""

from collections.abc import Iterable, Sequence

from cleanup_pipeline.model.brake import Brake
from cleanup_pipeline.model.outcome import PassReport, TargetReport
from cleanup_pipeline.model.plan import Finding, Plan
from cleanup_pipeline.reporting.words import age, number, outcome_words, seconds, storage

Row = tuple[str, ...]


def table(head: Row, rows: Iterable[Row]) -> str:
    """A Markdown table; a bar in a cell is escaped."""
    lines = [_line(head), _line(tuple("---" for _ in head))]
    lines += [_line(row) for row in rows]
    return "\n".join(lines)


def plan_table(plan: Plan) -> str:
    """What a pass is going to do to one target."""
    census = plan.census
    if plan.skipped:
        return f"Skipped: {plan.skipped}"
    rows: list[Row] = [
        ("what happens", _what_happens(plan)),
        ("cutoff", f"{plan.cutoff:%Y-%m-%d %H:%M:%S} UTC"),
        ("expired", number(census.expired)),
        ("oldest expired", age(census.oldest_expired, plan.cutoff)),
        ("live", number(census.live)),
        ("without expiry (left)", number(census.without_expiry)),
        ("unparsable (left)", number(census.unparsable)),
        *((name.replace("_", " "), number(count)) for name, count in census.details.items()),
        ("strategy", f"{plan.work.strategy}: {plan.work.why}"),
        ("shards", number(len(plan.work.shards))),
    ]
    return table(("", ""), rows)


def _what_happens(plan: Plan) -> str:
    if plan.dry_run:
        return "nothing, this is a dry run"
    return "nothing, it is braked" if plan.braked else "expired records are deleted"


def brakes_table(brakes: Sequence[Brake]) -> str:
    """What holds a target back."""
    return table(("brake", "what it saw", "what to look at"), [(str(b.name), b.what, b.remedy) for b in brakes])


def findings_table(findings: Sequence[Finding]) -> str:
    """What preflight saw."""
    return table(("severity", "finding", "what to do"), [(str(f.severity), f.what, f.remedy) for f in findings])


def checkup_table(findings: Sequence[Finding]) -> str:
    """What `check` says, with what it was seen by."""
    head = ("severity", "finding", "seen by", "what to do")
    return table(head, [(str(f.severity), f.what, f.evidence, f.remedy) for f in findings])


def target_table(report: TargetReport) -> str:
    """What a pass did to one target."""
    rows: list[Row] = [
        ("outcome", outcome_words(report)),
        ("expired found", number(report.expired_found)),
        ("deleted", number(report.deleted)),
        ("survivors", number(report.survivors)),
        ("kept live", number(report.kept_live)),
        ("without expiry (left)", number(report.without_expiry)),
        ("unparsable (left)", number(report.unparsable)),
        ("repaired", number(report.repaired)),
        ("batches", f"{number(report.batches)}, largest {number(report.largest_batch)}"),
        ("strategy", report.strategy or "-"),
        ("time", seconds(report.seconds)),
        ("of that", f"{seconds(report.paused_seconds)} pauses, {seconds(report.waited_seconds)} held back"),
        ("slowed by", ", ".join(f"{reason} {count:,} x" for reason, count in report.slowed.items()) or "nothing"),
        ("retries", number(report.retries)),
    ]
    if report.members is not None:
        rows.append(("members", str(report.members)))
    if report.children:
        rows.append(("rows that referred to them", f"{number(report.children)} deleted"))
    if report.parked:
        rows.append(("could not be removed", number(report.parked)))
    if report.cpu_seconds is not None and report.peak_rss is not None:
        rows.append(("cleaner itself", f"{report.cpu_seconds:.2f} s CPU, {report.peak_rss / 2**20:,.0f} MiB at most"))
    if report.storage_before is not None:
        rows.append(("table before", storage(report.storage_before)))
    if report.storage_after is not None:
        rows.append(("table after", storage(report.storage_after)))
    if report.vacuum_seconds is not None:
        rows.append(("vacuumed in", seconds(report.vacuum_seconds)))
    return table(("", ""), rows)


def pass_table(report: PassReport) -> str:
    """What a pass did, a line a target."""
    head = ("target", "store", "kind", "expired", "deleted", "survivors", "live", "no expiry", "unparsable", "outcome")
    rows = [
        (
            t.target,
            f"{t.store} ({t.store_type})",
            t.kind,
            number(t.expired_found),
            number(t.deleted),
            number(t.survivors),
            number(t.kept_live),
            number(t.without_expiry),
            number(t.unparsable),
            outcome_words(t),
        )
        for t in report.targets
    ]
    return f"**{report.pass_name}: {report.status}** in {seconds(report.seconds)}\n\n{table(head, rows)}"


def _line(cells: Row) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
