"""What the rest of the product sees of cleanup.yaml: plain frozen data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta

from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.settings.alerts import AlertSettings
from cleanup_pipeline.settings.execution import Execution
from cleanup_pipeline.settings.history import History
from cleanup_pipeline.settings.keeping import QuarantineSettings, RemovalSettings
from cleanup_pipeline.settings.notifications import NotificationSettings
from cleanup_pipeline.settings.plans import PlanSettings


@dataclass(frozen=True, slots=True)
class PassSettings:
    """When a pass runs."""

    name: str
    every: timedelta
    """Whole minutes."""
    enabled: bool = True
    start: date | None = None
    """The day at whose beginning, by the clocks of `timezone`, the first window begins. None: some while ago."""
    retries: int = 2
    """How often a scheduled run that failed is started again."""
    retry_after: timedelta = timedelta(minutes=1)
    """The delay before the first time; it grows by four each time."""
    timezone: str = "UTC"
    """IANA name of the zone in which the pass starts and its windows begin."""


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings, valid as a whole."""

    enabled: bool
    """False: nothing is deleted, whoever starts a pass; it ends as skipped."""
    stores: Mapping[str, StoreConfig]
    passes: Mapping[str, PassSettings]
    targets: tuple[Target, ...]
    """Without those that are switched off."""
    parallel: int
    """Steps that run at once, each in a process of its own and on its own connections; 1: one after another, in the
    process of the run."""
    source: str
    """The file as it was named, or "environment"."""
    alerts: AlertSettings = field(default_factory=AlertSettings)
    notifications: NotificationSettings = field(default_factory=NotificationSettings)
    history: History = field(default_factory=History)
    plans: PlanSettings = field(default_factory=PlanSettings)
    removals: RemovalSettings = field(default_factory=RemovalSettings)
    quarantine: QuarantineSettings = field(default_factory=QuarantineSettings)
    execution: Execution = field(default_factory=Execution)

    def targets_of(self, pass_name: str) -> tuple[Target, ...]:
        """The targets that a pass cleans, in the order of the file."""
        return tuple(target for target in self.targets if target.pass_name == pass_name)
