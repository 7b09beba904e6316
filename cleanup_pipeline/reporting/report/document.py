"""What is in a report. Counts are of records, times in seconds, days those of UTC; None is unknown, never zero."""

from dataclasses import dataclass
from datetime import date, datetime


@dataclass(frozen=True, slots=True)
class Line:
    """What a period and group came to."""

    period: date
    """Its first day."""
    group: str
    deleted: int
    """At least."""
    at_most: int | None
    """More than `deleted` by what killed processes may have removed; None: nobody knows."""
    children: int
    repaired: int
    bytes_freed: int | None
    seconds: float
    """Spent deleting, shards one after another."""
    per_second: float | None
    """Records a second of deleting."""
    operations: int
    """Cleanings of one target in one pass; dry runs and skipped ones are none."""
    failed: int
    failed_share: float | None
    p50_seconds: float | None
    """Of operations, at most a tenth too high."""
    p95_seconds: float | None


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a group still has to be cleaned of."""

    backlog: int | None
    """Expired records that were left, as last reported."""
    per_day: float | None
    """How many more a day, by a line through the period's days; None: too few of them."""
    gone_on: date | None
    """None: there is no backlog, it does not shrink, or nobody knows."""
    expired: int | None
    """Records that expired, counted where the backlog is known."""
    keep_up: float | None
    """Removed / expired: 1 keeps up, less falls behind."""
    counted_from: date | None
    """The day from which these two are counted."""


NOTHING = Outlook(None, None, None, None, None, None)


@dataclass(frozen=True, slots=True)
class Group:
    """One target, kind, store or pass over the whole period."""

    line: Line
    outlook: Outlook


@dataclass(frozen=True, slots=True)
class Left:
    """What was left at the end of a day."""

    day: date
    group: str
    backlog: int | None


@dataclass(frozen=True, slots=True)
class TargetState:
    """What is last known of a target."""

    target: str
    store: str
    kind: str
    pass_name: str
    state: str
    """`clean`, `failed`, `dry run`, `skipped`, or `unknown` when no report of the period is on record any more."""
    detail: str | None
    """One line: the error, or why it was skipped."""
    stop_reason: str | None
    reported_at: datetime | None
    last_success: datetime | None
    """Within the period."""
    survivors: int | None
    oldest_survivor_seconds: float | None
    """How long the oldest expired record had been due when it was last looked for (`checked_at`); 0: there was none."""
    checked_at: datetime | None


@dataclass(frozen=True, slots=True)
class PassState:
    """How the runs of a pass went."""

    pass_name: str
    passes: int
    failed: int
    p50_seconds: float | None
    p95_seconds: float | None
    last_success: datetime | None
    outcomes: dict[str, int]


@dataclass(frozen=True, slots=True)
class FailureLine:
    """A target that ended red."""

    at: datetime
    target: str
    pass_name: str
    run_id: str
    error: str


@dataclass(frozen=True, slots=True)
class Report:
    """All of it."""

    made_at: datetime
    version: str
    ledger: str
    """Its place, without user and password."""
    since: date
    until: date
    """The last day, included."""
    every: str
    by: str
    total: Group
    oldest_survivor_seconds: float | None
    """Of the targets where it is known; None: of none."""
    oldest_survivor_unknown: int
    """Targets where it is not."""
    groups: tuple[Group, ...]
    periods: tuple[Line, ...]
    backlog: tuple[Left, ...]
    """By day, all groups together under `all`."""
    targets: tuple[TargetState, ...]
    passes: tuple[PassState, ...]
    stop_reasons: dict[str, int]
    failures: tuple[FailureLine, ...]
    """The newest first; a bounded number."""

    @property
    def empty(self) -> bool:
        """Nothing happened in the period, as far as the ledger knows."""
        return not (self.groups or self.targets or self.passes)
