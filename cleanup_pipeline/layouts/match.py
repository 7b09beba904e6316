"""What was recognised, and which of several candidates it is."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product

from cleanup_pipeline.layouts.layout import Preset
from cleanup_pipeline.model.location import Location
from cleanup_pipeline.model.survey import KeysSeen

MOST_COMBINATIONS = 200
_REFERENCE = re.compile(r"\$\{([a-z_]+)\}")

Claim = tuple[str, tuple[tuple[str, object], ...]]
"""What would be cleaned: two layouts of one table that go by different values of a column share it."""


@dataclass(frozen=True, slots=True)
class Hit:
    """Records that a step of a preset fits."""

    container: str | None
    name: str
    params: Mapping[str, str]
    """As the name says them, defaults among them."""
    columns: Mapping[str, str]
    renamed: bool
    weight: int
    """How much of it was asked for and found."""
    where: tuple[tuple[str, object], ...] = ()
    needs_zone: bool = False
    seen: str = ""
    doubt: str = ""


@dataclass(frozen=True, slots=True)
class Recognised:
    """A layout that was found in a store."""

    preset: Preset
    location: Location
    params: Mapping[str, str | bool] = field(default_factory=dict[str, str | bool])
    """Parameters that differ from their defaults, as what was seen tells."""
    columns: Mapping[str, str] = field(default_factory=dict[str, str])
    missing: tuple[str, ...] = ()
    """Parameters that only the application knows."""
    optional: tuple[str, ...] = ()
    """Parameters that only the application knows, and without which a part is left."""
    instead: tuple[str, ...] = ()
    """Layouts that the same records fit as well, and less closely."""
    seen: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    claims: frozenset[Claim] = frozenset()
    beginnings: tuple[str, ...] = ()
    """How Redis keys of it begin: what else begins so is kept beside its records, by the same application."""
    rank: tuple[int, ...] = ()
    suffix: str = ""
    """What tells its target from another one of the same layout."""

    @property
    def name(self) -> str:
        """For the target."""
        container = f"_{self.location.container}" if self.location.container else ""
        more = f"_{self.suffix}" if self.suffix else ""
        plain = re.sub(r"[^a-z0-9_]+", "_", f"{self.preset.name}{container}{more}".lower())
        return re.sub(r"_+", "_", plain).strip("_")


@dataclass(frozen=True, slots=True)
class Described:
    """Records that look like sessions or tokens, of no layout, and how a target of their own would describe them."""

    name: str
    source: Mapping[str, object]
    """Keys of a target."""
    seen: tuple[str, ...]
    doubts: tuple[str, ...]


def name_pattern(raw: str) -> re.Pattern[str]:
    """Names that a preset's own stands for: `${prefix}refreshtoken` is any that ends so."""
    parts, at = [], 0
    for match in _REFERENCE.finditer(raw):
        parts += [re.escape(raw[at : match.start()]), f"(?P<{match[1]}>.*)"]
        at = match.end()
    return re.compile("".join([*parts, re.escape(raw[at:])]))


def literal_part(raw: str) -> str:
    """What of such a name is always the same."""
    return _REFERENCE.sub("", raw)


def combined(
    preset: Preset, required: Sequence[Sequence[Hit]], optional: Sequence[tuple[str, Sequence[Hit]]]
) -> list[Recognised]:
    """One for each set of records, one of each step, that go together; those under their own names first."""
    if not required or not all(required):
        return []
    several = []
    for number, hits in enumerate(product(*required)):
        if number >= MOST_COMBINATIONS:
            break
        if agreed(hits) is not None:
            several.append(hits)
    several.sort(key=lambda hits: (sum(hit.renamed for hit in hits), [hit.name for hit in hits]))
    taken: set[tuple[str | None, str]] = set()
    found: list[Recognised] = []
    for hits in several:
        names = {(hit.container, hit.name) for hit in hits}
        if not names & taken:
            taken |= names
            found.append(_recognised(preset, hits, optional))
    return found


def agreed(hits: Sequence[Hit]) -> dict[str, str] | None:
    """The parameters of all of them; None where they contradict each other."""
    params: dict[str, str] = {}
    columns: dict[str, str] = {}
    for hit in hits:
        if hit.container != hits[0].container:
            return None
        for known, more in ((params, hit.params), (columns, hit.columns)):
            if any(known.get(name, value) != value for name, value in more.items()):
                return None
            known.update(more)
    return params


def _recognised(preset: Preset, hits: Sequence[Hit], optional: Sequence[tuple[str, Sequence[Hit]]]) -> Recognised:
    params = agreed(hits) or {}
    told: dict[str, str | bool] = {
        name: value for name, value in params.items() if value != preset.params[name].default
    }
    more: dict[str, list[Hit]] = {}
    for name, candidates in optional:
        known = more.setdefault(name, [])
        known += [hit for hit in candidates if agreed([*hits, hit]) == {**params, **hit.params}][:1]
    for name, there in more.items():
        spec = preset.params[name]
        if spec.type == "flag" and bool(there) != bool(spec.default):
            told[name] = bool(there)
    besides = [hit for there in more.values() for hit in there]
    for hit in besides:
        told |= {name: value for name, value in hit.params.items() if value != preset.params[name].default}
    every = [*hits, *besides]
    container = hits[0].container
    if container and "schema" in preset.params:
        told["schema"] = container
    needs = ["zone"] if any(hit.needs_zone for hit in every) and "zone" in preset.params else []
    zone = [name for name in needs if preset.params[name].default is None]
    missing = [name for name in (*preset.missing(None), *zone) if name not in told]
    return Recognised(
        preset=preset,
        location=Location(container),
        params=told,
        columns={old: new for hit in every for old, new in hit.columns.items()},
        missing=tuple(dict.fromkeys(missing)),
        optional=tuple(name for name, there in more.items() if there and preset.params[name].type != "flag"),
        seen=tuple(dict.fromkeys(hit.seen for hit in every if hit.seen)),
        doubts=tuple(dict.fromkeys(hit.doubt for hit in every if hit.doubt)),
        claims=frozenset((hit.name, hit.where) for hit in every),
        rank=(
            -sum(hit.renamed for hit in hits),
            sum(hit.weight for hit in every),
            -sum(len(hit.columns) for hit in every),
        ),
        suffix=hits[0].name.rpartition(".")[2] if any(hit.renamed for hit in hits) else "",
    )


def ranked(found: Sequence[Recognised]) -> list[Recognised]:
    """Of those that share records, the closest; it names the others."""
    kept = [each for each in found if not any(_closer(other, each) for other in found)]
    return [_beside(each, found) for each in sorted(kept, key=lambda each: each.name)]


def _closer(other: Recognised, one: Recognised) -> bool:
    if other is one or not _same(one, other):
        return False
    # Of two that fit as well the first by name, so that there is one.
    return (other.rank, one.preset.name) > (one.rank, other.preset.name)


def _beside(one: Recognised, found: Sequence[Recognised]) -> Recognised:
    others = [each for each in found if each is not one and each.preset.name != one.preset.name and _same(one, each)]
    equal = sorted({each.preset.name for each in others if each.rank == one.rank})
    doubts = (*one.doubts, f"they fit {', '.join(equal)} just as well") if equal else one.doubts
    return replace(one, instead=tuple(sorted({each.preset.name for each in others})), doubts=doubts)


def _same(one: Recognised, other: Recognised) -> bool:
    return one.location == other.location and bool(one.claims & other.claims)


def describe(seen: KeysSeen) -> str:
    """What was seen of these keys, for a comment."""
    name = seen.pattern or f"{seen.prefix}*"
    ttl = "all of them with a TTL" if not seen.without_ttl else f"{seen.without_ttl} of them without TTL"
    return f"{seen.key_type} keys {name}: {seen.looked} looked at, {ttl}"
