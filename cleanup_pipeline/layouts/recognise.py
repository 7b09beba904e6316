"""Which layouts a store holds, as far as names, types and shapes tell: under their own names, and under others.

Under another name a layout is known by what `known_anywhere_by` of its preset asks for; columns in another spelling
(`userId`, `user_id`) are the same ones. Keys of Redis are in recognise_keys.py.
"""

from collections.abc import Mapping, Sequence

from cleanup_pipeline.layouts.layout import Layout, Preset
from cleanup_pipeline.layouts.match import Hit, Recognised, combined, literal_part, name_pattern, ranked
from cleanup_pipeline.layouts.params import columns_in
from cleanup_pipeline.layouts.recognise_keys import recognise_keys
from cleanup_pipeline.model.rules import ColumnExpiry
from cleanup_pipeline.model.survey import Asked, CollectionSeen, Survey, TableSeen
from cleanup_pipeline.model.target import CollectionSource, KeySource, TableSource
from cleanup_pipeline.model.words import StoreType

TELLING = 8
"""Letters of a table's name that no parameter stands for, from which on they tell whose it is."""
NAIVE = "timestamp without time zone"


def asked_for(presets: Sequence[Preset], store_type: StoreType) -> Asked:
    """What a survey has to look for in particular, so that these presets are recognised."""
    mine = [preset for preset in presets if preset.store_type is store_type]
    layouts = [layout for preset in mine for layout in preset.every_layout()]
    paths = {path for preset in mine for raw in preset.raw_steps for path in _wanted(raw) if "." in path}
    keys = {(each.source.pattern, each.source.key_type) for each in layouts if isinstance(each.source, KeySource)}
    databases = {each.source.database for each in layouts if isinstance(each.source, CollectionSource)} - {None}
    return Asked(
        patterns=tuple(sorted(each for each in keys if not each[0].startswith("yours:"))),
        paths=tuple(sorted(paths)),
        databases=tuple(sorted(str(name) for name in databases)),
    )


def recognise(presets: Sequence[Preset], store_type: StoreType, survey: Survey) -> list[Recognised]:
    """The layouts of a store, by name. Of several that fit the same records, the one that fits most closely."""
    mine = [preset for preset in presets if preset.store_type is store_type]
    if store_type is StoreType.REDIS:
        return recognise_keys(mine, survey)
    seen: Sequence[TableSeen | CollectionSeen] = survey.tables or survey.collections
    return ranked([each for preset in mine for each in _found(preset, seen)])


def _found(preset: Preset, seen: Sequence[TableSeen | CollectionSeen]) -> list[Recognised]:
    steps = list(zip(preset.every_layout(), preset.raw_steps, strict=True))
    required = [_hits(preset, layout, raw, seen) for layout, raw in steps if raw.get("when") is None]
    optional = [
        (str(raw["when"]), _hits(preset, layout, raw, seen)) for layout, raw in steps if raw.get("when") is not None
    ]
    return combined(preset, required, optional)


def _hits(
    preset: Preset, layout: Layout, raw: Mapping[str, object], seen: Sequence[TableSeen | CollectionSeen]
) -> list[Hit]:
    source = raw["source"]
    assert isinstance(source, Mapping)  # noqa: S101 - the preset was read with it
    pattern = name_pattern(str(source.get("table") or source.get("collection")))
    found = []
    for each in seen:
        match = pattern.fullmatch(each.name)
        if match is None:
            continue
        params = match.groupdict()
        renamed = any(value != preset.params[name].default for name, value in params.items())
        hit = _fits(layout, raw, each, params, renamed=renamed)
        if hit is not None:
            found.append(hit)
    return found


def _wanted(raw: Mapping[str, object]) -> tuple[str, ...]:
    anywhere = raw.get("known_anywhere_by") or ()
    known = raw.get("known_by") or ()
    assert isinstance(anywhere, Sequence) and isinstance(known, Sequence)  # noqa: S101 - the preset was read with it
    return (*known, *anywhere)


def _fits(
    layout: Layout,
    raw: Mapping[str, object],
    seen: TableSeen | CollectionSeen,
    params: Mapping[str, str],
    *,
    renamed: bool,
) -> Hit | None:
    source = raw["source"]
    assert isinstance(source, Mapping)  # noqa: S101 - the preset was read with it
    # A prefix of one's own leaves the rest of the name.
    tells = len(literal_part(str(source.get("table", "")))) >= TELLING
    if renamed and raw.get("known_anywhere_by") is None and not tells:
        return None
    known = raw.get("known_by") or ()
    assert isinstance(known, Sequence)  # noqa: S101 - the preset was read with it
    wanted = _wanted(raw) if renamed else tuple(known)
    if isinstance(seen, CollectionSeen):
        return _collection(layout, seen, params, wanted, renamed=renamed)
    return _table(layout, raw, seen, params, wanted, renamed=renamed)


def _table(
    layout: Layout,
    raw: Mapping[str, object],
    seen: TableSeen,
    params: Mapping[str, str],
    wanted: Sequence[str],
    *,
    renamed: bool,
) -> Hit | None:
    source = layout.source
    if not isinstance(source, TableSource) or not source.required_columns:
        # Any table may be called `tokens`.
        return None
    if source.schema and source.schema != "yours" and source.schema != seen.schema:
        return None
    spelt = _spelling(seen.columns)
    own = {*source.required_columns, *wanted}
    if any(column not in spelt for column in map(_plain, own)):
        return None
    columns = {
        name: spelt[_plain(name)]
        for name in {*source.required_columns, *columns_in([dict(raw)])}
        if name not in seen.columns and _plain(name) in spelt
    }
    needs = _zones(layout, seen, columns)
    if needs is None:
        return None
    rows = "never analyzed" if seen.rows is None else f"about {seen.rows:,} rows"
    return Hit(
        container=None if seen.visible else seen.schema,
        name=seen.name,
        params=params,
        columns=columns,
        renamed=renamed,
        weight=len(own),
        where=tuple(sorted(layout.where.items())),
        needs_zone=needs,
        doubt="known by its columns, not by its name" if renamed else "",
        seen=f"table {seen.schema}.{seen.name}, {rows}",
    )


def _zones(layout: Layout, seen: TableSeen, columns: Mapping[str, str]) -> bool | None:
    """Whether the record's own expiry has no time zone; None where it is of no type that the rule can read."""
    # Where rules are read is a store's business, and takes its driver.
    from cleanup_pipeline.stores.postgres.predicate import columns_in as columns_of
    from cleanup_pipeline.stores.postgres.shape import NUMBERS, TEXTS

    naive = False
    own: list[ColumnExpiry] = [each for each in columns_of(layout.expiry) if each.of is None]  # type: ignore[arg-type]
    for each in own:
        kind = seen.columns.get(columns.get(each.column, each.column))
        if kind is None:
            return None
        if each.unit is not None and kind not in NUMBERS | TEXTS:
            return None
        if each.unit is None and not kind.startswith("timestamp"):
            return None
        naive = naive or kind == NAIVE
    return naive


def _collection(
    layout: Layout, seen: CollectionSeen, params: Mapping[str, str], wanted: Sequence[str], *, renamed: bool
) -> Hit | None:
    source = layout.source
    if not isinstance(source, CollectionSource) or not (source.required_fields or source.field_types or wanted):
        return None
    if not seen.own and source.database != seen.database:
        return None
    flat = [name for name in (*source.required_fields, *wanted) if "." not in name]
    nested = {name for name in (*source.required_fields, *wanted) if "." in name}
    fits = sum(
        all(name in each for name in flat) and all(_of_types(each, name, types) for name, types in source.field_types)
        for each in seen.documents
    )
    if not fits or not nested <= seen.nested:
        return None
    # A preset that has a database of its own says where it is, when it is elsewhere.
    container = seen.database if source.database and source.database != seen.database else None
    return Hit(
        container=container,
        name=f"{seen.database}.{seen.name}",
        params=params,
        columns={},
        renamed=renamed,
        weight=len({*flat, *nested, *(name for name, _ in source.field_types)}),
        where=tuple(sorted(layout.where.items())),
        doubt="known by its fields, not by its name" if renamed else "",
        seen=f"collection {seen.name}, {fits} of {len(seen.documents)} documents looked at",
    )


def _of_types(document: Mapping[str, str], name: str, types: Sequence[str]) -> bool:
    # A dotted one is asked for by `known_by`; its first part has to be there.
    kind = document.get(name.split(".")[0])
    return kind is not None if "." in name else kind in types


def _plain(name: str) -> str:
    return name.replace("_", "").lower()


def _spelling(columns: Mapping[str, str]) -> dict[str, str]:
    """By spelling without case and underscores; one that two columns have is nobody's."""
    found: dict[str, str] = {}
    twice = set()
    for name in columns:
        if _plain(name) in found:
            twice.add(_plain(name))
        found[_plain(name)] = name
    return {plain: name for plain, name in found.items() if plain not in twice}
