"""Where a target's records are and when they die: raw keys, store type and layout -> Source and Expiry."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from cleanup_pipeline.layouts import Layout
from cleanup_pipeline.layouts.expiry_spec import (
    EXPIRY_SPECS,
    EXPIRY_WANTED,
    choose_spec,
    key_type_of,
    spec_keys,
)
from cleanup_pipeline.layouts.source_spec import CollectionSpec, KeysSpec, TableSpec, literal_prefix
from cleanup_pipeline.model.target import (
    CollectionSource,
    ColumnExpiry,
    Expiry,
    FieldExpiry,
    JwtKeyExpiry,
    KeySource,
    PointerExpiry,
    Source,
    TableSource,
)
from cleanup_pipeline.model.words import StoreType
from cleanup_pipeline.settings.faults import Fault, Path, dotted, nearest
from cleanup_pipeline.settings.translate import check_section

SOURCE_KEYS: Mapping[StoreType, tuple[str, ...]] = {
    StoreType.POSTGRES: ("table", "schema"),
    StoreType.MONGO: ("collection", "database", "types"),
    StoreType.REDIS: ("keys", "key_type", "exclude"),
}
_WANTED_SOURCE = {
    StoreType.POSTGRES: "table",
    StoreType.MONGO: "collection",
    StoreType.REDIS: "keys, a key pattern",
}


def read_expiry(
    raw: Any, store: str, store_type: StoreType, layout: Layout | None, path: Path, faults: list[Fault]
) -> Expiry | None:
    """The expiry rule of a target: its own, or else that of its layout."""
    if raw is None:
        if layout is None:
            wanted = f"{EXPIRY_WANTED[store_type]}, because store {store} is {store_type}"
            faults.append(Fault(dotted((*path, "expires")), "nothing", wanted, remedy="or name a layout"))
        return layout.expiry if layout else None
    if not isinstance(raw, dict):
        return None  # has its fault already
    path = (*path, "expires")
    spec = choose_spec(store_type, raw)
    if spec is None:
        # A misspelt key says what was meant, as long as it is not the key of another type of store.
        known = tuple(key for model in EXPIRY_SPECS[store_type] for key in spec_keys(model))
        foreign = {key for specs in EXPIRY_SPECS.values() for model in specs for key in spec_keys(model)}
        meant = [close for key in raw if key not in foreign and (close := nearest(key, known))]
        spec = choose_spec(store_type, meant)
        if spec is None:
            found = f"{{{', '.join(dotted((key,)) for key in list(raw)[:4])}}}"
            wanted = f"{EXPIRY_WANTED[store_type]}, because store {store} is {store_type}"
            faults.append(Fault(dotted(path), found, wanted))
            return None
    rule, wrong = check_section(spec, raw, path, faults)
    return rule.build() if rule and not wrong else None


def read_source(
    raw: Mapping[str, Any],
    store: str,
    store_type: StoreType,
    layout: Layout | None,
    expiry: Expiry | None,
    path: Path,
    faults: list[Fault],
) -> Source | None:
    """The source of a target: its own keys over those of its layout. `expiry` decides the type of Redis keys."""
    own = SOURCE_KEYS[store_type]
    for other, keys in SOURCE_KEYS.items():
        for key in keys:
            if other is not store_type and raw.get(key) is not None:
                wanted = f"{_WANTED_SOURCE[store_type]}, because store {store} is {store_type}"
                faults.append(Fault(dotted((*path, key)), f"{key}, which only a {other} store has", wanted))
    given = {key: raw[key] for key in own if raw.get(key) is not None}
    base = _written(layout.source) if layout else {}
    if "table" in given:
        base.pop("schema", None)
    merged = {**base, **given}
    if own[0] not in merged:
        if not any(raw.get(keys[0]) is not None for keys in SOURCE_KEYS.values()):
            wanted = f"{_WANTED_SOURCE[store_type]}, because store {store} is {store_type}"
            faults.append(Fault(dotted(path), "no source of records", wanted, remedy="or name a layout"))
        return None
    if store_type is StoreType.POSTGRES:
        table, wrong = check_section(TableSpec, merged, path, faults)
        return _without(layout, expiry, table.build()) if table and not wrong else None
    if store_type is StoreType.MONGO:
        collection, wrong = check_section(CollectionSpec, merged, path, faults)
        return _without(layout, expiry, collection.build()) if collection and not wrong else None
    keys_spec, wrong = check_section(KeysSpec, merged, path, faults)
    if keys_spec is None or wrong or expiry is None:
        return None
    return _checked_keys(keys_spec, expiry, path, faults)


def _checked_keys(spec: KeysSpec, expiry: Expiry, path: Path, faults: list[Fault]) -> KeySource | None:
    types = key_type_of(expiry) or ()
    if spec.key_type is not None and spec.key_type not in types:
        wanted = f"{' or '.join(types)}, the type of key that this expiry rule is read from"
        faults.append(Fault(dotted((*path, "key_type")), repr(spec.key_type), wanted))
        return None
    prefix = expiry.prefix if isinstance(expiry, PointerExpiry | JwtKeyExpiry) else ""
    if not literal_prefix(spec.keys).startswith(prefix) and not spec.keys.startswith(prefix):
        wanted = f"keys that begin with {prefix!r}, as the expiry rule says"
        faults.append(Fault(dotted((*path, "keys")), repr(spec.keys), wanted, remedy="make both say the same"))
        return None
    if prefix and not literal_prefix(spec.keys).startswith(prefix):
        faults.append(Fault(dotted((*path, "keys")), repr(spec.keys), f"a pattern beginning with {prefix!r}"))
        return None
    return spec.build(types[0])


def _written(source: Source) -> dict[str, Any]:
    """A layout's source as its keys are written."""
    match source:
        case TableSource():
            written: dict[str, Any] = {"table": source.table, "required": source.required_columns}
            return written | ({"schema": source.schema} if source.schema else {})
        case CollectionSource():
            written = {"collection": source.collection, "required": source.required_fields}
            written["types"] = dict(source.field_types)
            return written | ({"database": source.database} if source.database else {})
        case KeySource():
            written = {"keys": source.pattern, "key_type": source.key_type, "exclude": source.exclude}
            return written | {"required": source.required_fields}


def _without(layout: Layout | None, expiry: Expiry | None, source: Source) -> Source:
    """The source, less the layout's column of expiry where the target says that another one holds it."""
    if layout is None or expiry is None or expiry == layout.expiry:
        return source
    match source, layout.expiry:
        case TableSource(), ColumnExpiry(column=column):
            return replace(source, required_columns=tuple(c for c in source.required_columns if c != column))
        case CollectionSource(), FieldExpiry(field=field):
            return replace(
                source,
                required_fields=tuple(f for f in source.required_fields if f != field),
                field_types=tuple(pair for pair in source.field_types if pair[0] != field),
            )
        case _:
            return source
