"""A plan and the brakes that it meets, by what the ledger knows. Changes nothing."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from cleanup_pipeline.engine.brakes import History, Look, covers, holding, judge_brakes, unjudged
from cleanup_pipeline.ledger.braking import Held
from cleanup_pipeline.ledger.ledger import Ledger
from cleanup_pipeline.model.brake import Brake, BrakeName, BrakeSettings
from cleanup_pipeline.model.plan import Finding, Plan
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.model.words import Severity

Ask = Callable[[Callable[[Ledger], tuple[History, tuple[Held, ...]]]], tuple[History, tuple[Held, ...]] | None]


@dataclass(frozen=True, slots=True)
class Judged:
    """What came of it."""

    plan: Plan
    """With the brakes that hold it back, and a finding for each that was let go or cannot be judged."""
    found: tuple[Brake, ...]
    """All that was found, let go or not."""
    unjudged: frozenset[BrakeName]
    known: bool
    """Whether the ledger answered."""


def judged(ask: Ask, target: Target, plan: Plan, look: Look, now: datetime) -> Judged:
    """`ask` is `Recorder.ask`, or the like; None from it: the ledger is away or there is none."""
    if plan.skipped is not None:
        return Judged(plan, (), frozenset(BrakeName), known=True)
    answer = ask(lambda ledger: (ledger.brakes.history(target.name, plan.rule), tuple(ledger.brakes.held(target.name))))
    history, held = answer or (None, ())
    found = judge_brakes(look, history, target.brakes)
    cannot_say = unjudged(look, history, target.brakes)
    names = {brake.name for brake in found}
    # What held it before and cannot be judged now still holds it: a window of a backfill is no way round.
    found += tuple(each.brake for each in held if each.brake.name in cannot_say and each.brake.name not in names)
    releases = [each.release for each in held if each.release is not None]
    left = holding(found, releases, now)
    findings = [_would(brake) for brake in left] if plan.dry_run else []
    findings += [_let_go(brake, held, now) for brake in found if brake not in left]
    if answer is None and _needs_history(target.brakes):
        what = "the ledger does not answer, so that nobody can say whether this is out of the ordinary"
        findings.append(
            Finding(Severity.WARNING, what, "see CLEANUP_LEDGER_URL; the other brakes work", code="brakes-unknown")
        )
    return Judged(
        replace(plan, brakes=left, findings=(*plan.findings, *findings)), found, cannot_say, known=answer is not None
    )


def _would(brake: Brake) -> Finding:
    return Finding(Severity.WARNING, f"would brake ({brake.name}): {brake.what}", brake.remedy, code="would-brake")


def _let_go(brake: Brake, held: tuple[Held, ...], now: datetime) -> Finding:
    release = next(each.release for each in held if each.release and covers(each.release, brake, now))
    once = "for one pass" if release.once else f"until {release.until:%Y-%m-%d %H:%M} UTC"
    what = f"brake {brake.name} was let go by {release.by} {once}: {brake.what}"
    return Finding(Severity.WARNING, what, code="brake-let-go")


def _needs_history(settings: BrakeSettings) -> bool:
    return settings.unusual_count is not None or settings.unusual_share is not None or settings.restored is not None
