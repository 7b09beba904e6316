"""`targets:` -> Target."""

import keyword
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cleanup_pipeline.layouts import Layout, Preset, layouts
from cleanup_pipeline.layouts.field_types import NAME, NAME_WANTED
from cleanup_pipeline.model.pace import Pace
from cleanup_pipeline.model.target import Expiry, Scalar, Source, Target
from cleanup_pipeline.model.words import Mode, StoreType
from cleanup_pipeline.settings.brakes import brakes_of, read_brakes
from cleanup_pipeline.settings.canaries import read_canaries
from cleanup_pipeline.settings.chunks import read_chunks, refuse_chunks
from cleanup_pipeline.settings.documents import check_field_rules, check_unset
from cleanup_pipeline.settings.faults import Fault, Path, dotted, show
from cleanup_pipeline.settings.layouts import read_layout
from cleanup_pipeline.settings.members import read_members, refuse_rules_across
from cleanup_pipeline.settings.pace import pace_of, read_pace
from cleanup_pipeline.settings.records import SOURCE_KEYS, read_expiry, read_source
from cleanup_pipeline.settings.schema import TargetSection
from cleanup_pipeline.settings.translate import check_section, missing, unknown_name

_USUAL_SCHEDULE = "sessions"
_USUAL_KIND = "session"
_TARGET = "a mapping with store and either layout, or expires and table, collection or keys"

# What Dagster refuses as the name of a graph, a job or a resource (dagster/_core/definitions/utils.py), Python's own
# keywords, and the steps of a pass.
_RESERVED = frozenset(
    {"context", "conf", "config", "meta", "arg_dict", "dict", "input_arg_dict", "output_arg_dict"}
    | {"int", "str", "float", "bool", "input", "output", "type"}
    | {"summarize", "scan", "batch", "delete", "report"}
    | set(keyword.kwlist)
)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a target may refer to, and the limits that it inherits."""

    stores: Mapping[str, StoreType | None]
    """None: the store is there, but what it is could not be read."""
    passes: Sequence[str]
    limits: Mapping[str, Any]
    pace: Mapping[str, Any]
    brakes: Mapping[str, Any]
    several: frozenset[str] = frozenset()
    """Stores that are a list of URLs."""
    budgets: Mapping[str, int | None] = field(default_factory=dict[str, int | None])
    """Records a second, by store."""


def check_name(name: str, path: Path, faults: list[Fault]) -> None:
    """A store, pass or target has to have a name that can stand in a URL, a metric and a Dagster graph."""
    if not NAME.fullmatch(name):
        faults.append(Fault(dotted(path), f"the name {show(name)}", NAME_WANTED))
    elif name in _RESERVED:
        faults.append(
            Fault(dotted(path), f"the name {show(name)}", "a name that Dagster and the steps of a pass leave free")
        )


def read_target(name: str, raw: Any, path: Path, around: Surroundings, faults: list[Fault]) -> tuple[Target, ...]:
    """The target, or one for each step of its layout; none when it is switched off or has faults, which are added to
    `faults`."""
    before = len(faults)
    check_name(name, path, faults)
    section, wrong = check_section(TargetSection, raw, path, faults, _TARGET)
    if section is None:
        return ()
    store_type = _store_type(section, path, around, wrong, faults)
    preset = _preset(section, path, store_type, faults)
    if section.pass_name is not None and section.pass_name not in around.passes:
        faults.append(unknown_name((*path, "pass"), section.pass_name, "a pass", around.passes))
    if store_type is None or section.store is None:
        return ()
    steps = read_layout(section, preset, path, faults)
    # With an unknown layout, what is missing here may well be in the one that was meant.
    whole = preset is not None or not (section.layout or "layout" in wrong)
    if whole and preset is not None and preset.several:
        _refuse_in_steps(section, preset, path, faults)
    _check_for_store(section, store_type, path, faults)
    of_store = {"store_budget": around.budgets.get(section.store)}
    own_pace = read_pace(section.governor, section.run_window, section.veto_url, path, faults)
    pace = pace_of(dict(around.pace), of_store, own_pace)
    brakes = brakes_of(dict(around.brakes), read_brakes(section.brakes, path, faults))
    canaries = read_canaries(section.canaries, path, faults)
    chunks = read_chunks(section.chunks, path, faults)
    several = section.store in around.several
    members = read_members(section, store_type, several=several, path=path, faults=faults)
    targets: list[Target] = []
    for layout in steps:
        expiry, source = None, None
        if whole and "expires" not in wrong:
            expiry = read_expiry(section.expires, section.store, store_type, layout, path, faults)
        if expiry is not None:
            check_unset(section.unset or (layout.unset if layout else ()), expiry, path, faults)
        if whole:
            own = raw if layout is None or not layout.step else _schema_alone(raw)
            source = read_source(own, section.store, store_type, layout, expiry, path, faults)
        if source is None or expiry is None:
            continue
        step = f"{name}_{layout.step}" if layout and layout.step else name
        if layout and layout.step:
            check_name(step, path, faults)
        found = _target(step, store_type, section, layout, source, expiry, around, pace)
        reason = preset.report_only if preset else None
        found = replace(found, brakes=brakes, canaries=canaries, report_only=reason, members=members, chunks=chunks)
        faults += refuse_chunks(found, path)
        faults += refuse_rules_across(found, path) if several else ()
        targets.append(replace(found, turn=len(targets)))
    if len(faults) > before or not section.enabled:
        return ()
    return tuple(targets)


def _target(
    name: str,
    store_type: StoreType,
    section: TargetSection,
    layout: Layout | None,
    source: Source,
    expiry: Expiry,
    around: Surroundings,
    pace: Pace,
) -> Target:
    inherited: dict[str, Any] = _of_layout(layout) if layout else {"pass_name": _USUAL_SCHEDULE, "kind": _USUAL_KIND}
    own: dict[str, Any] = {
        "pass_name": section.pass_name,
        "kind": section.kind,
        "grace": section.grace,
        "children_first": None if section.children is None else section.children == "delete_first",
        "set_null": section.set_null or None,
        "unset": section.unset or None,
        "detach": tuple(one.build() for one in section.detach) or None,
        "client": section.client,
        "owner": section.owner,
    }
    # What a layout guards stays guarded: a target can only add to it.
    guards = (*inherited.get("guards", ()), *(guard.build() for guard in section.guards))
    where: dict[str, Scalar] = {**inherited.get("where", {}), **(section.where or {})}
    inherited |= {key: value for key, value in own.items() if value is not None}
    return Target(
        name=name,
        store=section.store or "",
        store_type=store_type,
        source=source,
        expiry=expiry,
        mode=section.mode,
        cascade=section.cascade == "allow",
        vacuum=section.vacuum,
        drop_partitions=section.drop_partitions,
        if_missing_skip=section.if_missing == "skip",
        objective=section.objective,
        removals=section.removal_ledger,
        quarantine=section.quarantine,
        identifier=section.identifier,
        pace=pace,
        **{**inherited, "guards": guards, "where": where, **around.limits, **section.given()},
    )


def _of_layout(layout: Layout) -> dict[str, Any]:
    """What a target takes over from a layout, under the names that Target has for it."""
    return {
        "pass_name": layout.pass_name,
        "kind": layout.kind,
        "where": dict(layout.where),
        "guards": layout.guards,
        "set_null": layout.set_null,
        "unset": layout.unset,
        "detach": layout.detach,
        "children_first": layout.children_first,
        "grace": layout.grace,
        "owner": layout.owner,
        "layout": layout.name,
        "client": layout.client,
    }


def targets_of(preset: Preset, steps: Sequence[Layout], name: str, store: str, **more: Any) -> tuple[Target, ...]:
    """A target for each of a preset's steps, with nothing of its own but `more`."""
    return tuple(
        Target(
            name=f"{name}_{step.step}" if step.step else name,
            store=store,
            store_type=preset.store_type,
            source=step.source,
            expiry=step.expiry,
            turn=turn,
            report_only=preset.report_only,
            **{**_of_layout(step), **more},
        )
        for turn, step in enumerate(steps)
    )


def same_names(targets: Sequence[Target]) -> list[Fault]:
    """A fault for each name that a step of a layout shares with another target."""
    counted = Counter(target.name for target in targets)
    wanted = "another name for one of the two"
    return [
        Fault(dotted(("targets", name)), "a target named as a step of another one's layout is", wanted)
        for name, count in counted.items()
        if count > 1
    ]


def _schema_alone(raw: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in raw.items() if key in {"schema", "database"}}


def _refuse_in_steps(section: TargetSection, preset: Preset, path: Path, faults: list[Fault]) -> None:
    """What is about one table cannot be said of several."""
    single = {StoreType.POSTGRES: "table", StoreType.MONGO: "collection", StoreType.REDIS: "pattern of keys"}
    one = f"one {single[preset.store_type]}"
    of_source = [key for key in SOURCE_KEYS[preset.store_type] if key not in {"schema", "database"}]
    about_one = ("expires", "where", "guards", "set_null", "unset", "detach", "kind", "children", "identifier", "owner")
    for key in (*of_source, *about_one):
        if getattr(section, key):
            found = f"{key}, which is about {one}"
            wanted = f"none with {preset.name}, which cleans several"
            known = ", ".join(preset.params) or "none"
            faults.append(Fault(dotted((*path, key)), found, wanted, remedy=f"its parameters (params) are {known}"))


def _check_for_store(section: TargetSection, store_type: StoreType, path: Path, faults: list[Fault]) -> None:
    if store_type is StoreType.REDIS and section.where:
        wanted = "no where on a redis store"
        faults.append(
            Fault(dotted((*path, "where")), "a guard", wanted, remedy="narrow keys, or list patterns in exclude")
        )
    if store_type is StoreType.REDIS and section.client:
        faults.append(
            Fault(dotted((*path, "client")), "a field", "no client on a redis store, whose keys are not read for it")
        )
    check_field_rules(section, store_type, path, faults)
    for option in ("vacuum", "drop_partitions", "children", "set_null", "detach"):
        given = getattr(section, option)
        if given and given != "keep" and store_type is not StoreType.POSTGRES:
            found = f"{option} on a {store_type} store"
            faults.append(Fault(dotted((*path, option)), found, f"no {option}, which is for PostgreSQL"))


def preset_targets(stores: Mapping[str, StoreType], around: Surroundings) -> tuple[Target, ...]:
    """What is looked for on stores that came without a settings file: every default preset, skipped where absent."""
    return tuple(
        target
        for store, store_type in stores.items()
        for preset in layouts().values()
        if preset.default and preset.store_type is store_type
        for target in targets_of(
            preset,
            preset.resolve(),
            preset.name.replace("-", "_"),
            store,
            mode=Mode.DELETE,
            if_missing_skip=True,
            pace=pace_of(dict(around.pace), {"store_budget": around.budgets.get(store)}),
            brakes=brakes_of(dict(around.brakes)),
            **around.limits,
        )
    )


def _store_type(
    section: TargetSection, path: Path, around: Surroundings, wrong: set[str], faults: list[Fault]
) -> StoreType | None:
    if section.store is None:
        missing((*path, "store"), wrong, "the name of a store", faults)
        return None
    if section.store not in around.stores:
        faults.append(unknown_name((*path, "store"), section.store, "a store", tuple(around.stores)))
        return None
    return around.stores[section.store]


def _preset(section: TargetSection, path: Path, store_type: StoreType | None, faults: list[Fault]) -> Preset | None:
    if section.layout is None:
        return None
    preset = layouts().get(section.layout)
    if preset is None:
        faults.append(unknown_name((*path, "layout"), section.layout, "a layout", tuple(layouts())))
        return None
    if store_type is not None and preset.store_type is not store_type:
        fitting = ", ".join(found.name for found in layouts().values() if found.store_type is store_type)
        found = f"{preset.name}, which is for a {preset.store_type} store"
        wanted = f"a layout for {section.store}, which is {store_type}: {fitting}"
        faults.append(Fault(dotted((*path, "layout")), found, wanted))
        return None
    return preset
