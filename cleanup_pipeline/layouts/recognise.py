"""Which layouts a store holds: those all of whose tables, collections or keys are there, with what they require."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from cleanup_pipeline.layouts.layout import Layout, Preset
from cleanup_pipeline.model.location import Location
from cleanup_pipeline.model.target import CollectionSource, KeySource, Source, TableSource
from cleanup_pipeline.model.words import StoreType

Locate = Callable[[Source], Sequence[Location]]
"""Where such a source is. Raises StoreError."""


@dataclass(frozen=True, slots=True)
class Recognised:
    """A layout that was found in a store."""

    preset: Preset
    location: Location
    flags: tuple[str, ...] = ()
    """Parameters that switch on steps whose tables are there, too."""
    missing: tuple[str, ...] = ()
    """Parameters that only the application knows."""
    instead: tuple[str, ...] = ()
    """Layouts that the same tables fit as well, and less closely."""

    @property
    def name(self) -> str:
        """For the target."""
        container = f"_{self.location.container}" if self.location.container else ""
        return f"{self.preset.name}{container}".replace("-", "_").lower()


def recognise(presets: Sequence[Preset], store_type: StoreType, locations: Locate) -> list[Recognised]:
    """The layouts of a store, by name. Of several that fit the same table, the one that requires most of it."""
    found = [each for preset in presets if preset.store_type is store_type for each in _found(preset, locations)]
    return [_beside(each, found) for each in found if not _closer(each, found)]


def _found(preset: Preset, locations: Locate) -> list[Recognised]:
    if not all(_tells(layout.source) for layout in preset.every_layout()):
        return []
    steps = list(zip(preset.every_layout(), preset.raw_steps, strict=True))
    here: set[Location] | None = None
    for layout, raw in steps:
        if raw.get("when") is None:
            seen = set(locations(layout.source))
            here = seen if here is None else here & seen
    optional = [(str(raw["when"]), layout) for layout, raw in steps if _switched_off(preset, raw.get("when"))]
    results = []
    for location in sorted(here or (), key=lambda each: each.container or ""):
        flags = {flag for flag, layout in optional if location in locations(layout.source)}
        results.append(Recognised(preset, location, tuple(sorted(flags)), tuple(preset.missing(None))))
    return results


def _switched_off(preset: Preset, flag: object) -> bool:
    return flag is not None and preset.params[str(flag)].default in {None, False}


def _tells(source: Source) -> bool:
    """Whether a name alone would do: any table may be called `tokens`, and keys say their own prefix."""
    match source:
        case TableSource(required_columns=required):
            return bool(required)
        case CollectionSource(required_fields=required, field_types=types):
            return bool(required or types)
        case KeySource():
            return True


def _closer(one: Recognised, found: Sequence[Recognised]) -> bool:
    return any(other is not one and _same(one, other) and _weight(other) > _weight(one) for other in found)


def _beside(one: Recognised, found: Sequence[Recognised]) -> Recognised:
    others = [each.preset.name for each in found if each is not one and _same(one, each)]
    return replace(one, instead=tuple(sorted(set(others))))


def _same(one: Recognised, other: Recognised) -> bool:
    return one.location == other.location and bool(_claims(one) & _claims(other))


def _claims(one: Recognised) -> set[tuple[str, tuple[tuple[str, object], ...]]]:
    """What it would clean: two layouts of one table that go by different values of a column share it."""
    return {(_name(layout.source), tuple(sorted(layout.where.items()))) for layout in one.preset.every_layout()}


def _weight(one: Recognised) -> int:
    return sum(len(_required(layout)) for layout in one.preset.every_layout())


def _required(layout: Layout) -> tuple[str, ...]:
    match layout.source:
        case TableSource(required_columns=required):
            return required
        case CollectionSource(required_fields=required, field_types=types):
            return (*required, *(name for name, _ in types))
        case KeySource(required_fields=required):
            return required


def _name(source: Source) -> str:
    match source:
        case TableSource(table=name) | CollectionSource(collection=name) | KeySource(pattern=name):
            return name
