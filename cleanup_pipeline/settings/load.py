"""cleanup.yaml and the environment -> Settings, or every fault in them at once."""

import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType

from cleanup_pipeline.model.durations import format_duration
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.words import StoreType
from cleanup_pipeline.settings import faults as f
from cleanup_pipeline.settings.alerts import read_alerts
from cleanup_pipeline.settings.brakes import read_brakes
from cleanup_pipeline.settings.document import MAX_BYTES, Document, Raw, read_document
from cleanup_pipeline.settings.environment import INTERVALS, SETTINGS_VARIABLE, add_stores, lay_over
from cleanup_pipeline.settings.execution import ExecutionSection, check_places
from cleanup_pipeline.settings.faults import Fault, SettingsError
from cleanup_pipeline.settings.given import SECTIONS, component_document
from cleanup_pipeline.settings.history import HistorySection
from cleanup_pipeline.settings.keeping_of import read_keeping
from cleanup_pipeline.settings.notifications import read_notifications
from cleanup_pipeline.settings.pace import read_pace
from cleanup_pipeline.settings.plans import PlansSection
from cleanup_pipeline.settings.schema import CleanupSection, PassSection
from cleanup_pipeline.settings.settings import PassSettings, Settings
from cleanup_pipeline.settings.stores import read_store
from cleanup_pipeline.settings.targets import Surroundings, check_name, preset_targets, read_target, same_names
from cleanup_pipeline.settings.translate import check_section, missing, named_by_variable, unknown_key

DEFAULT_FILE = Path("cleanup.yaml")
ENVIRONMENT = "environment"
DEFAULT_PASSES: Mapping[str, timedelta] = {"sessions": timedelta(hours=1), "verification_tokens": timedelta(minutes=30)}
_SECTIONS = tuple(name for name in SECTIONS if name != "app")


def load_settings(path: Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """The settings of a file and of the environment, which wins over the file.

    `path` None: $CLEANUP_SETTINGS, else ./cleanup.yaml if there is one, else the environment alone. Where no store and
    no target is written down, the stores are those of CLEANUP_POSTGRES_URL, CLEANUP_REDIS_URL and CLEANUP_MONGO_URL,
    and the targets whatever default layouts are found there. Raises SettingsError.
    """
    variables = os.environ if environ is None else environ
    file, source = _choose_file(path, variables)
    document = Document() if file is None else _read_file(file, source, variables)
    folder = Path() if file is None else file.parent
    document, named = component_document(document, folder)
    if named is not None:
        return load_settings(named, variables)
    return settings_of(document, folder, source, variables)


def settings_of(document: Document, folder: Path, source: str, variables: Mapping[str, str]) -> Settings:
    """The settings in a document, with the environment over it. `folder` is what names of files in it are relative to,
    `source` what the settings are called by. Raises SettingsError.
    """
    if document.faults and not document.content:
        raise SettingsError(source, document.faults)
    reader = _Reader(document, folder, source, variables)
    settings = reader.read()
    if settings is None:
        raise SettingsError(source, reader.faults)
    return settings


def _choose_file(path: Path | None, environ: Mapping[str, str]) -> tuple[Path | None, str]:
    named = environ.get(SETTINGS_VARIABLE, "")
    if path is None and named:
        path = Path(named)
    if path is None and not DEFAULT_FILE.exists():
        return None, ENVIRONMENT
    path = path or DEFAULT_FILE
    return path, str(path)


def _read_file(file: Path, source: str, environ: Mapping[str, str]) -> Document:
    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_BYTES + 1)
    except FileNotFoundError:
        found = "no such file"
    except (OSError, ValueError) as error:
        found = f"a file that cannot be read ({type(error).__name__})"
    else:
        return read_document(data, environ)
    remedy = f"name another one with {SETTINGS_VARIABLE} or on the command line"
    return Document(faults=[Fault("", found, f"a settings file at {source}", remedy=remedy)])


class _Reader:
    """One reading of one document: sections become settings, what is wrong becomes faults."""

    def __init__(self, document: Document, folder: Path, source: str, environ: Mapping[str, str]) -> None:
        self.content: Raw = document.content
        self.unset = document.unset
        self.folder = folder
        self.source = source
        self.environ = environ
        self.faults: list[Fault] = []
        self.first = document.faults
        self.prefix: f.Path = ()
        self.take_app_section()
        alone = not {"stores", "targets"} & set(self.content)
        self.found = add_stores(self.content, environ) if alone else {}
        self.origins = lay_over(self.content, environ)

    def read(self) -> Settings | None:
        """The settings; None when there are faults, all of them in `faults`."""
        for key in self.content:
            if key not in _SECTIONS:
                self.faults.append(unknown_key((key,), _SECTIONS))
        cleanup, wrong = check_section(
            CleanupSection, self.content.get("cleanup") or {}, self.cleanup_path, self.faults
        )
        cleanup = cleanup or CleanupSection()
        stores = self.stores()
        passes = self.passes(cleanup, wrong)
        history, _ = check_section(HistorySection, self.content.get("history") or {}, ("history",), self.faults)
        plans, _ = check_section(PlansSection, self.content.get("plans") or {}, ("plans",), self.faults)
        execution, _ = check_section(ExecutionSection, self.content.get("execution") or {}, ("execution",), self.faults)
        executed = (execution or ExecutionSection()).execution(cleanup.parallel, self.environ, self.faults)
        limits = cleanup.given()
        pace = read_pace(cleanup.governor, cleanup.run_window, cleanup.veto_url, self.cleanup_path, self.faults)
        pace |= {"networks": cleanup.allow_networks, "budget": cleanup.budget}
        brakes = read_brakes(cleanup.brakes, self.cleanup_path, self.faults)
        around = Surroundings(
            {name: store.type if isinstance(store, StoreConfig) else store for name, store in stores.items()},
            tuple(passes),
            limits,
            pace,
            brakes,
            frozenset(name for name, store in stores.items() if isinstance(store, StoreConfig) and store.urls),
            {name: store.budget for name, store in stores.items() if isinstance(store, StoreConfig)},
        )
        targets = [
            target
            for name, raw in self.mapping("targets").items()
            for target in read_target(name, raw, ("targets", name), around, self.faults)
        ]
        alerts = read_alerts(self.content.get("alerts"), self.faults)
        notifications = read_notifications(
            self.content.get("notifications"), self.folder, self.environ, self.faults, cleanup.allow_networks
        )
        self.faults += same_names(targets)
        removals, quarantine = read_keeping(self.content, targets, self.folder, self.environ, self.faults)
        needed = {"removals": removals.place} if any(target.removals for target in targets) else {}
        needed |= {"quarantine": quarantine.place} if any(target.quarantine for target in targets) else {}
        check_places(executed, needed, self.faults)
        self.settle()
        if self.faults:
            return None
        whole = {name: store for name, store in stores.items() if isinstance(store, StoreConfig)}
        return Settings(
            enabled=cleanup.enabled,
            stores=MappingProxyType(whole),
            passes=MappingProxyType(passes),
            targets=(*targets, *preset_targets(self.found, around)) if self.found else tuple(targets),
            parallel=cleanup.parallel,
            source=self.source,
            alerts=alerts,
            notifications=notifications,
            history=(history or HistorySection()).history(),
            plans=(plans or PlansSection()).plans(),
            removals=removals,
            quarantine=quarantine,
            execution=executed,
        )

    @property
    def cleanup_path(self) -> f.Path:
        return (*self.prefix, "cleanup")

    def take_app_section(self) -> None:
        """`app: {cleanup: ...}` is `cleanup: ...`, as in the brief's config.yaml."""
        if "app" not in self.content:
            return
        app = self.content.pop("app")
        if not isinstance(app, dict):
            self.faults.append(Fault("app", f.show(app), "a mapping with cleanup"))
            return
        self.faults += [unknown_key(("app", key), ("cleanup",)) for key in app if key != "cleanup"]
        if "cleanup" in app and "cleanup" in self.content:
            self.faults.append(Fault("app.cleanup", "cleanup and app.cleanup", "one of the two"))
        elif "cleanup" in app:
            self.prefix = ("app",)
            self.content["cleanup"] = app["cleanup"]

    def mapping(self, section: str) -> Raw:
        """A section of names; an empty one is none."""
        raw = self.content.get(section)
        if raw is None or isinstance(raw, dict):
            return raw or {}
        self.faults.append(Fault(section, f.show(raw), f"a mapping of names to {section}"))
        return {}

    def stores(self) -> dict[str, StoreConfig | StoreType | None]:
        stores: dict[str, StoreConfig | StoreType | None] = {}
        for name, raw in self.mapping("stores").items():
            check_name(name, ("stores", name), self.faults)
            stores[name] = read_store(name, raw, ("stores", name), self.folder, self.faults)
        return stores

    def passes(self, cleanup: CleanupSection, wrong: set[str]) -> dict[str, PassSettings]:
        intervals = self.intervals(cleanup)
        written = self.mapping("passes")
        passes: dict[str, PassSettings] = {}
        for name in [*DEFAULT_PASSES, *(name for name in written if name not in DEFAULT_PASSES)]:
            check_name(name, ("passes", name), self.faults)
            raw = written.get(name)
            section, bad = check_section(PassSection, {} if raw is None else raw, ("passes", name), self.faults)
            section = section or PassSection()
            every = section.every or intervals.get(name) or DEFAULT_PASSES.get(name)
            if section.every and intervals.get(name, section.every) != section.every:
                spelling = next(key for key, (pass_name, _) in INTERVALS.items() if pass_name == name)
                self.conflict(("passes", name, "every"), section.every, (*self.cleanup_path, spelling), intervals[name])
            if every is None and isinstance(raw, dict | None):
                missing(("passes", name, "every"), bad, "a duration such as 1h", self.faults)
            passes[name] = PassSettings(
                name,
                every or timedelta(hours=1),
                section.enabled,
                section.start,
                retries=section.retries,
                retry_after=section.retry_after,
                timezone=section.timezone,
            )
        return passes

    def intervals(self, cleanup: CleanupSection) -> dict[str, timedelta]:
        """The brief's two intervals by pass; two spellings of one have to agree."""
        intervals: dict[str, timedelta] = {}
        for pass_name, spellings in INTERVALS.values():
            first, second = (getattr(cleanup, spelling) for spelling in spellings)
            if first and second and first != second:
                self.conflict((*self.cleanup_path, spellings[0]), first, (*self.cleanup_path, spellings[1]), second)
            if first or second:
                intervals[pass_name] = first or second
        return intervals

    def conflict(self, one: f.Path, value: timedelta, other: f.Path, second: timedelta) -> None:
        found = f"{format_duration(value)}, but {f.dotted(other)} is {format_duration(second)}"
        self.faults.append(Fault(f.dotted(one), found, "the same in both", remedy="leave one of them out"))

    def settle(self) -> None:
        """All faults in order, less what only follows from a variable that is not set."""
        unset = [f.dotted(path) for path in self.unset]
        origins = self.origin_names()
        follows = [
            named_by_variable(fault, origins)
            for fault in self.faults
            if not any(fault.path == path or fault.path.startswith(f"{path}.") for path in unset)
        ]
        self.faults = list(dict.fromkeys([*self.first, *follows]))

    def origin_names(self) -> dict[f.Path, str]:
        named: dict[f.Path, str] = {}
        for path, variable in self.origins.items():
            named[(*self.prefix, *path) if path[0] == "cleanup" else path] = variable
        return named


__all__ = ["DEFAULT_PASSES", "ENVIRONMENT", "load_settings", "settings_of"]
