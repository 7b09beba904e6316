"""Which settings: the longest pause and the fewest workers with which cleaning keeps up."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from cleanup_pipeline.simulation.costs import STEPS
from cleanup_pipeline.simulation.outcome import Outcome, Verdict
from cleanup_pipeline.simulation.scenario import Executor, Kind, Scenario
from cleanup_pipeline.simulation.simulate import simulate

PAUSES = (0.5, 0.2, 0.1, 0.05, 0.03, 0.02, 0.01, 0.005, 0.0)
"""Seconds, the gentlest first."""
SIZES = (1000, 500, 250)
INTERVALS = 2
"""A record may stay for so many intervals of its pass, as is the default objective of a target."""
MANY = 100
"""Targets from which only the scenario's own batch size is tried."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What was tried with one number of workers and one batch size."""

    workers: int
    batch_size: int | None
    """None: as the scenario has it, each target its own."""
    pause: float | None
    """The longest with which it keeps up; None: there is none."""
    outcome: Outcome
    """With that pause, or without any."""


def with_settings(scenario: Scenario, *, workers: int | None, batch_size: int | None, pause: float | None) -> Scenario:
    """The scenario with other settings for all targets. None leaves a setting as it is."""

    changed: dict[str, float] = {}
    if pause is not None:
        changed["pause"] = pause
    if batch_size is not None:
        changed["batch_size"] = batch_size
    targets = [replace(each, batching=replace(each.batching, **changed)) for each in scenario.targets]  # type: ignore[arg-type]
    executor = scenario.executor if workers is None else with_workers(scenario.executor, workers)
    return replace(scenario, targets=targets if changed else scenario.targets, executor=executor)


def with_workers(executor: Executor, workers: int) -> Executor:
    """So many steps at once: where they go on in the process of the run, each gets a process of its own."""
    if executor.kind is Kind.IN_PROCESS and workers > 1:
        return replace(executor, kind=Kind.MULTIPROCESS, workers=workers, step_seconds=STEPS[Kind.MULTIPROCESS][0])
    return replace(executor, workers=workers)


def good(scenario: Scenario, outcome: Outcome) -> bool:
    """Whether it keeps up, no run had to wait for the one before, and nothing stays for over two intervals."""
    longest = max(each.every for each in scenario.passes)
    return outcome.verdict is Verdict.KEEPS_UP and not outcome.skipped and outcome.oldest <= INTERVALS * longest


def choices(scenario: Scenario, told: Callable[[str], None] = lambda _: None) -> Iterator[Choice]:
    """For each number of workers, and each batch size, the longest good pause. `told` hears what is being tried."""
    sizes: Sequence[int | None] = SIZES if len(scenario.targets) < MANY else (None,)
    for workers in worker_counts(scenario.executor):
        for size in sizes:
            told(f"workers: {workers}" + (f", batch_size: {size}" if size else ""))
            yield _longest_pause(scenario, workers, size)


def worker_counts(executor: Executor) -> list[int]:
    """From few to many."""
    if executor.kind is Kind.IN_PROCESS:
        return [1, 2, 4]
    return sorted(
        {max(1, executor.workers // 4), max(1, executor.workers // 2), executor.workers, executor.workers * 2}
    )


def best(found: Sequence[Choice]) -> Choice | None:
    """The fewest workers, and among them the longest pause; None: nothing keeps up."""
    usable = [each for each in found if each.pause is not None]
    return min(usable, key=lambda each: (each.workers, -(each.pause or 0.0), -(each.batch_size or 0)), default=None)


def _longest_pause(scenario: Scenario, workers: int, size: int | None) -> Choice:
    """By halves: with less of a pause it keeps up all the more."""
    tried: dict[int, Outcome] = {}

    def keeps_up(place: int) -> bool:
        changed = with_settings(scenario, workers=workers, batch_size=size, pause=PAUSES[place])
        tried[place] = simulate(changed)
        return good(changed, tried[place])

    low, high = 0, len(PAUSES) - 1
    if not keeps_up(high):
        return Choice(workers, size, None, tried[high])
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if keeps_up(middle) else (middle + 1, high)
    return Choice(workers, size, PAUSES[high], tried[high])
