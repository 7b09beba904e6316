"""`targets:` -> Target."""

import keyword
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from cleanup_pipeline.layouts import Layout, layouts
from cleanup_pipeline.layouts.field_types import NAME, NAME_WANTED
from cleanup_pipeline.model.target import Scalar, Target
from cleanup_pipeline.model.words import Mode, StoreType
from cleanup_pipeline.settings.faults import Fault, Path, dotted, show
from cleanup_pipeline.settings.pace import pace_of, read_pace
from cleanup_pipeline.settings.records import read_expiry, read_source
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


def check_name(name: str, path: Path, faults: list[Fault]) -> None:
    """A store, pass or target has to have a name that can stand in a URL, a metric and a Dagster graph."""
    if not NAME.fullmatch(name):
        faults.append(Fault(dotted(path), f"the name {show(name)}", NAME_WANTED))
    elif name in _RESERVED:
        faults.append(
            Fault(dotted(path), f"the name {show(name)}", "a name that Dagster and the steps of a pass leave free")
        )


def read_target(name: str, raw: Any, path: Path, around: Surroundings, faults: list[Fault]) -> Target | None:
    """The target, or None when it is switched off or has faults, which are added to `faults`."""
    before = len(faults)
    check_name(name, path, faults)
    section, wrong = check_section(TargetSection, raw, path, faults, _TARGET)
    if section is None:
        return None
    store_type = _store_type(section, path, around, wrong, faults)
    layout = _layout(section, path, store_type, faults)
    pass_name = section.pass_name or (layout.pass_name if layout else _USUAL_SCHEDULE)
    if section.pass_name is not None and pass_name not in around.passes:
        faults.append(unknown_name((*path, "pass"), pass_name, "a pass", around.passes))
    if store_type is None or section.store is None:
        return None
    # With an unknown layout, what is missing here may well be in the one that was meant.
    whole = layout is not None or not (section.layout or "layout" in wrong)
    expiry, source = None, None
    if whole and "expires" not in wrong:
        expiry = read_expiry(section.expires, section.store, store_type, layout, path, faults)
    if whole:
        source = read_source(raw, section.store, store_type, layout, expiry, path, faults)
    if store_type is StoreType.REDIS and section.where:
        wanted = "no where on a redis store"
        faults.append(
            Fault(dotted((*path, "where")), "a guard", wanted, remedy="narrow keys, or list patterns in exclude")
        )
    for option in ("vacuum", "drop_partitions", "children"):
        if getattr(section, option) not in {False, "keep"} and store_type not in {StoreType.POSTGRES, None}:
            found = f"{option} on a {store_type} store"
            faults.append(Fault(dotted((*path, option)), found, f"no {option}, which is for PostgreSQL"))
    pace = read_pace(section.governor, section.run_window, section.veto_url, path, faults)
    if len(faults) > before or source is None or expiry is None or not section.enabled:
        return None
    guards: dict[str, Scalar] = {**(layout.where if layout else {}), **(section.where or {})}
    return Target(
        name=name,
        store=section.store,
        store_type=store_type,
        pass_name=pass_name,
        kind=section.kind or (layout.kind if layout else _USUAL_KIND),
        source=source,
        expiry=expiry,
        where=guards,
        grace=section.grace if section.grace is not None else layout.grace if layout else timedelta(0),
        mode=section.mode,
        layout=layout.name if layout else None,
        cascade=section.cascade == "allow",
        children_first=section.children == "delete_first",
        vacuum=section.vacuum,
        drop_partitions=section.drop_partitions,
        if_missing_skip=section.if_missing == "skip",
        objective=section.objective,
        pace=pace_of(dict(around.pace), pace),
        **{**around.limits, **section.given()},
    )


def preset_targets(stores: Mapping[str, StoreType], limits: Mapping[str, Any]) -> tuple[Target, ...]:
    """What is looked for on stores that came without a settings file: every default preset, skipped where absent."""
    return tuple(
        Target(
            name=layout.name.replace("-", "_"),
            store=store,
            store_type=store_type,
            pass_name=layout.pass_name,
            kind=layout.kind,
            source=layout.source,
            expiry=layout.expiry,
            where=dict(layout.where),
            grace=layout.grace,
            mode=Mode.DELETE,
            layout=layout.name,
            if_missing_skip=True,
            **limits,
        )
        for store, store_type in stores.items()
        for layout in layouts().values()
        if layout.default and layout.store_type is store_type
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


def _layout(section: TargetSection, path: Path, store_type: StoreType | None, faults: list[Fault]) -> Layout | None:
    if section.layout is None:
        return None
    layout = layouts().get(section.layout)
    if layout is None:
        faults.append(unknown_name((*path, "layout"), section.layout, "a layout", tuple(layouts())))
        return None
    if store_type is not None and layout.store_type is not store_type:
        fitting = ", ".join(found.name for found in layouts().values() if found.store_type is store_type)
        found = f"{layout.name}, which is for a {layout.store_type} store"
        wanted = f"a layout for {section.store}, which is {store_type}: {fitting}"
        faults.append(Fault(dotted((*path, "layout")), found, wanted))
        return None
    return layout
