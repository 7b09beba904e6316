"""What a target may say of the fields of MongoDB documents: `guards` and `unset`."""

from collections.abc import Sequence

from cleanup_pipeline.layouts.table_spec import GuardSpec
from cleanup_pipeline.model.target import Expiry, FieldExpiry
from cleanup_pipeline.model.words import StoreType
from cleanup_pipeline.settings.faults import Fault, Path, dotted
from cleanup_pipeline.settings.schema import TargetSection

_WANTED = {
    StoreType.POSTGRES: "a guard on a column or on rows, because the store is postgres",
    StoreType.MONGO: "a guard on a field ({field, in}, {field, exists}, ...), because the store is mongo",
    StoreType.REDIS: "no guards on a redis store",
}


def check_field_rules(section: TargetSection, store_type: StoreType, path: Path, faults: list[Fault]) -> None:
    """Add a fault for each guard that is one of another store, and for `unset` outside MongoDB."""
    for number, guard in enumerate(section.guards):
        if _store_of(guard) is not store_type:
            found = "a guard on a field" if guard.field else "a guard on a column"
            remedy = "narrow keys, or list patterns in exclude" if store_type is StoreType.REDIS else ""
            faults.append(Fault(dotted((*path, "guards", str(number))), found, _WANTED[store_type], remedy=remedy))
    if section.unset and store_type is not StoreType.MONGO:
        faults.append(
            Fault(dotted((*path, "unset")), f"unset on a {store_type} store", "no unset, which is for MongoDB")
        )


def check_unset(unset: Sequence[str], expiry: Expiry, path: Path, faults: list[Fault]) -> None:
    """Add a fault where the expiry would stay behind: the document would be found again for ever."""
    if not unset or not isinstance(expiry, FieldExpiry):
        return
    if expiry.pull is not None:
        faults.append(Fault(dotted((*path, "unset")), "unset beside pull", "one of the two"))
    elif not any(f"{expiry.field}.".startswith(f"{name}.") for name in unset):
        found = f"fields without {expiry.field}"
        faults.append(Fault(dotted((*path, "unset")), found, f"{expiry.field}, or a field that it is in, among them"))


def _store_of(guard: GuardSpec) -> StoreType:
    return StoreType.POSTGRES if guard.field is None else StoreType.MONGO
