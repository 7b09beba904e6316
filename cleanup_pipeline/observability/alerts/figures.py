"""What is judged, read from the ledger: of each pass that is on and has targets, and of each of its targets."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from cleanup_pipeline.ledger import Ledger
from cleanup_pipeline.ledger.operations import Operation, WitnessRow
from cleanup_pipeline.model.words import Mode
from cleanup_pipeline.settings.settings import PassSettings, Settings

DAY = timedelta(days=1)
LEAST_INTERVALS = 3
"""What a share of failures is taken of spans so many intervals where they are longer than a day."""
RECENT = 20
"""Operations of a target that are looked at."""


@dataclass(frozen=True, slots=True)
class PassFigures:
    """Of one pass."""

    name: str
    every: timedelta
    last_end: datetime | None
    """When the newest one ended, however it did; None: none is on record."""
    first: datetime | None
    """When the first one began; None: none is on record."""
    looked_since: datetime | None
    """Since when somebody has been watching it; None: nobody is."""
    operations: int
    """Of the last day, or of the last three intervals where they are longer."""
    failed: int


@dataclass(frozen=True, slots=True)
class TargetFigures:
    """Of one target."""

    name: str
    every: timedelta
    """The interval of its pass."""
    recent: tuple[Operation, ...]
    """The newest first."""
    witness: WitnessRow | None


@dataclass(frozen=True, slots=True)
class Figures:
    """All that is judged."""

    passes: tuple[PassFigures, ...]
    targets: tuple[TargetFigures, ...]


def watched_passes(settings: Settings) -> tuple[PassSettings, ...]:
    """The passes that are on and have targets."""
    return tuple(
        of_pass
        for name, of_pass in settings.passes.items()
        if settings.enabled and of_pass.enabled and settings.targets_of(name)
    )


def read_figures(
    ledger: Ledger, settings: Settings, now: datetime, looked_since: Mapping[str, datetime] | None = None
) -> Figures:
    """The figures of all that is watched. `looked_since` says, by pass, when it was first looked at.

    Raises LedgerError.
    """
    passes = watched_passes(settings)
    return Figures(
        passes=tuple(_of_pass(ledger, settings, each, now, (looked_since or {}).get(each.name)) for each in passes),
        targets=tuple(
            TargetFigures(
                target.name,
                each.every,
                tuple(ledger.operations.recent(target.name, RECENT)),
                ledger.operations.witness(target.name),
            )
            for each in passes
            for target in settings.targets_of(each.name)
        ),
    )


def _of_pass(
    ledger: Ledger, settings: Settings, of_pass: PassSettings, now: datetime, looked_since: datetime | None
) -> PassFigures:
    # Of a pass that only ever looks, a dry run is all that can be expected; elsewhere a person made one.
    dry = all(target.mode is Mode.DRY_RUN for target in settings.targets_of(of_pass.name))
    last_end, first = ledger.operations.last_end(of_pass.name, dry=dry)
    operations, failed = ledger.operations.failures(of_pass.name, now - max(DAY, LEAST_INTERVALS * of_pass.every))
    return PassFigures(of_pass.name, of_pass.every, last_end, first, looked_since, operations, failed)
