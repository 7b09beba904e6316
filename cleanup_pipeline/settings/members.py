"""`schemas`, `databases` and `exclude_members` of a target -> Members, and what does not go with them."""

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import BeforeValidator

from cleanup_pipeline.layouts.field_types import refuse, text
from cleanup_pipeline.model.members import Members
from cleanup_pipeline.model.target import (
    ElementsExpiry,
    MembersExpiry,
    PointerExpiry,
    ScoreExpiry,
    Target,
)
from cleanup_pipeline.model.words import StoreType
from cleanup_pipeline.settings.faults import Fault, Path, dotted

_SCHEMA = {"type": "string", "minLength": 1, "maxLength": 63}


def _list(value: Any) -> Any:
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list) or not value:
        raise refuse("a name or pattern such as tenant_*, or a list of them")
    return value


Patterns = Annotated[
    tuple[Annotated[str, text("a name or pattern such as tenant_*, at most 63 bytes", longest=63)], ...],
    BeforeValidator(_list, json_schema_input_type=str | list[str]),
]


def read_members(
    section: Any, store_type: StoreType, *, several: bool, path: Path, faults: list[Fault]
) -> Members | None:
    """Whom the target stands for; None: for itself. `several`: its store is a list of URLs."""
    before = len(faults)
    for key, wanted in (("schemas", StoreType.POSTGRES), ("databases", None)):
        wrong = store_type is not StoreType.POSTGRES if wanted else store_type is StoreType.REDIS
        if getattr(section, key) and wrong:
            faults.append(Fault(dotted((*path, key)), f"{key} on a {store_type} store", f"no {key}, which it has not"))
    one = {"schemas": "schema_name", "databases": "database"}
    for key, name in one.items():
        if getattr(section, key) and getattr(section, name):
            faults.append(Fault(dotted((*path, key)), f"{key} and {key[:-1]}", "one of the two"))
    if section.schemas and isinstance(section.table, str) and "." in section.table:
        faults.append(Fault(dotted((*path, "table")), "a table with its schema", "the table alone beside `schemas`"))
    if section.exclude_members and not (section.schemas or section.databases):
        found = "exclude_members without schemas or databases"
        faults.append(Fault(dotted((*path, "exclude_members")), found, "what it leaves out of"))
    if len(faults) > before or not (several or section.schemas or section.databases):
        return None
    for option in ("canaries", "vacuum", "drop_partitions", "removal_ledger", "quarantine"):
        if getattr(section, option):
            found = f"{option} on a target that stands for many"
            remedy = "write a target of its own for each that needs it"
            faults.append(Fault(dotted((*path, option)), found, f"no {option}", remedy=remedy))
    return Members(section.schemas or (), section.databases or (), section.exclude_members or ())


def refuse_rules_across(target: Target, path: Path) -> Iterator[Fault]:
    """A rule that asks for other records is wrong where these may be on another server of the store."""
    looks_elsewhere = isinstance(target.expiry, MembersExpiry | PointerExpiry) or (
        isinstance(target.expiry, ScoreExpiry | ElementsExpiry) and target.expiry.members is not None
    )
    if target.judged_by_others or looks_elsewhere:
        yield Fault(
            dotted(path),
            "a rule by which other records decide, on a store with several `urls`",
            "a rule that needs no record but its own",
            remedy="the other record may be on another server; write a store and a target for each URL",
        )
