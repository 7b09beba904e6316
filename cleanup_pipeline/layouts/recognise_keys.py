"""Which layouts Redis keys are of: by their names, by the shape of their values, and by what their members name."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from cleanup_pipeline.layouts.guess_keys import begins_as, guesses
from cleanup_pipeline.layouts.layout import Layout, Preset
from cleanup_pipeline.layouts.match import Claim, Recognised, describe, ranked
from cleanup_pipeline.layouts.params import filled_in, values_of
from cleanup_pipeline.layouts.source_spec import literal_prefix
from cleanup_pipeline.model.location import Location
from cleanup_pipeline.model.survey import KeysSeen, Survey
from cleanup_pipeline.model.target import KeySource

_REFERENCE = re.compile(r"\$\{([a-z_]+)\}")


def recognise_keys(presets: Sequence[Preset], survey: Survey) -> list[Recognised]:
    """The layouts of keys, by name. What several would clean goes to the one that fits most closely."""
    groups = [seen for seen in survey.keys if seen.pattern is None]
    named = [each for preset in presets for each in _under_own_name(preset, survey.keys)]
    elsewhere = [each for preset in presets for each in _elsewhere(preset, groups)]
    known = ranked([*named, *elsewhere])
    taken = {name for each in known for name, _ in each.claims}
    free = [seen for seen in groups if not _key(seen) & taken and not begins_as(seen, known)]
    return sorted([*known, *guesses(presets, free)], key=lambda each: each.name)


def _key(seen: KeysSeen) -> set[str]:
    return {f"{seen.key_type} {name}" for name in seen.names}


def _under_own_name(preset: Preset, keys: Sequence[KeysSeen]) -> list[Recognised]:
    steps = list(zip(preset.every_layout(), preset.raw_steps, strict=True))
    if any(spec.required and spec.type == "key_prefix" for spec in preset.params.values()):
        # It has no name of its own.
        return []
    hits = {}
    for number, (layout, raw) in enumerate(steps):
        seen = _named(layout, keys)
        if seen is not None and _has(layout, raw, seen, anywhere=False):
            hits[number] = seen
    telling = [number for number, (_, raw) in enumerate(steps) if raw.get("known_by") or raw.get("when") is None]
    known = [number for number in hits if number in telling and _tells(steps[number][1], steps)]
    if not known:
        return []
    return [_recognised(preset, {}, [steps[n][0] for n in hits], list(hits.values()), renamed=False, keys=keys)]


def _tells(raw: Mapping[str, object], steps: Sequence[tuple[Layout, Mapping[str, object]]]) -> bool:
    """Where a step says by what it is known, one that says nothing does not tell."""
    return bool(raw.get("known_by")) or not any(other.get("known_by") for _, other in steps)


def _named(layout: Layout, keys: Sequence[KeysSeen]) -> KeysSeen | None:
    source = layout.source
    assert isinstance(source, KeySource)  # noqa: S101 - of a preset of Redis
    for seen in keys:
        if seen.pattern == source.pattern and seen.key_type == source.key_type:
            kept = [n for n, name in enumerate(seen.names) if not _excluded(source, name)]
            if kept:
                values = tuple(seen.values[n] for n in kept) if len(seen.values) == len(seen.names) else seen.values
                return replace(seen, names=tuple(seen.names[n] for n in kept), values=values)
    return None


def _excluded(source: KeySource, name: str) -> bool:
    from cleanup_pipeline.stores.redis.glob import matches

    return any(matches(pattern.encode(), name.encode()) for pattern in source.exclude)


def _has(layout: Layout, raw: Mapping[str, object], seen: KeysSeen, *, anywhere: bool) -> bool:
    """Whether some value of the sample has what the step wants to see."""
    source = layout.source
    assert isinstance(source, KeySource)  # noqa: S101 - of a preset of Redis
    wanted = set(source.required_fields)
    for key in ("known_by", "known_anywhere_by") if anywhere else ("known_by",):
        more = raw.get(key) or ()
        assert isinstance(more, Sequence)  # noqa: S101 - the preset was read with it
        wanted |= set(more)
    return not wanted or any(wanted <= set(value) for value in seen.values)


def _elsewhere(preset: Preset, groups: Sequence[KeysSeen]) -> list[Recognised]:
    """Under another prefix: one for each that a step which may be called anything is found under."""
    steps = list(zip(preset.every_layout(), preset.raw_steps, strict=True))
    found: dict[tuple[tuple[str, str], ...], list[KeysSeen]] = {}
    for layout, raw in steps:
        if raw.get("known_anywhere_by") is None:
            continue
        for seen in groups:
            params = _params(raw, layout, seen)
            if params is not None and _has(layout, raw, seen, anywhere=True):
                found.setdefault(tuple(sorted(params.items())), []).append(seen)
    return [
        _recognised(preset, dict(params), [layout for layout, _ in steps], seen, renamed=True, keys=groups)
        for params, seen in found.items()
        if any(preset.params[name].default != value for name, value in params)
    ]


def _params(raw: Mapping[str, object], layout: Layout, seen: KeysSeen) -> dict[str, str] | None:
    """What the names of the keys say of the parameters in the step's pattern; None where they do not match it."""
    source = raw["source"]
    assert isinstance(source, Mapping) and isinstance(layout.source, KeySource)  # noqa: S101 - of a preset of Redis
    if layout.source.key_type != seen.key_type or not seen.names:
        return None
    pattern = str(source["keys"])
    references = _REFERENCE.findall(pattern)
    if len(references) != 1 or not pattern.startswith(f"${{{references[0]}}}"):
        return None
    rest = pattern.removeprefix(f"${{{references[0]}}}")
    if rest == "*":
        return {references[0]: seen.prefix} if seen.prefix else None
    regex = re.compile("(.*?)" + ".*".join(re.escape(part) for part in rest.split("*")), re.DOTALL)
    matched = [regex.fullmatch(name) for name in seen.names]
    values = {match[1] for match in matched if match}
    return {references[0]: values.pop()} if len(values) == 1 and all(matched) else None


def _recognised(
    preset: Preset,
    params: Mapping[str, str],
    layouts: Sequence[Layout],
    seen: Sequence[KeysSeen],
    *,
    renamed: bool,
    keys: Sequence[KeysSeen],
) -> Recognised:
    told: dict[str, str | bool] = {n: v for n, v in params.items() if preset.params[n].default != v}
    codec = next((each.codec for each in seen if each.codec), None)
    if "codec" in preset.params and codec is not None and codec != preset.params["codec"].default:
        told["codec"] = codec
    told |= _flags(preset, params, keys)
    sources = _sources(preset, params)
    claims: set[Claim] = set()
    for each in keys:
        for source in sources:
            if each.key_type == source.key_type:
                claims |= {(f"{each.key_type} {n}", ()) for n in each.names if _within(source, n)}
    claims |= {(name, ()) for each in seen for name in _key(each)}
    return Recognised(
        preset=preset,
        location=Location(),
        params=told,
        missing=tuple(name for name in preset.missing(None) if name not in told),
        seen=tuple(dict.fromkeys(describe(each) for each in seen)),
        doubts=("known by the shape of its values, not by its name",) if renamed else (),
        claims=frozenset(claims),
        beginnings=tuple(start for each in sources if len(start := literal_prefix(each.pattern)) > 1),
        rank=(0 if not renamed else -1, sum(len(_wants(raw)) for raw in preset.raw_steps), 0),
        suffix=next(iter(params.values()), "") if renamed else "",
    )


def _wants(raw: Mapping[str, object]) -> list[object]:
    source, known = raw["source"], raw.get("known_by") or ()
    assert isinstance(source, Mapping) and isinstance(known, Sequence)  # noqa: S101 - the preset was read with it
    return [*source.get("required", ()), *known]


def _sources(preset: Preset, params: Mapping[str, str]) -> list[KeySource]:
    defaults = values_of(preset.params, None) | dict(params)
    found = []
    for layout, raw in zip(preset.every_layout(), preset.raw_steps, strict=True):
        source = filled_in(dict(raw), defaults)["source"]
        assert isinstance(layout.source, KeySource)  # noqa: S101 - of a preset of Redis
        found.append(KeySource(source["keys"], layout.source.key_type, tuple(source.get("exclude", ()))))
    return found


def _within(source: KeySource, name: str) -> bool:
    from cleanup_pipeline.stores.redis.glob import matches

    return matches(source.pattern.encode(), name.encode()) and not _excluded(source, name)


def _flags(preset: Preset, params: Mapping[str, str], keys: Sequence[KeysSeen]) -> dict[str, str | bool]:
    """Flags of steps whose keys are there."""
    found: dict[str, str | bool] = {}
    for raw, source in zip(preset.raw_steps, _sources(preset, params), strict=True):
        flag = raw.get("when")
        if flag is None or preset.params[str(flag)].type != "flag":
            continue
        there = any(
            seen.key_type == source.key_type and any(_within(source, name) for name in seen.names) for seen in keys
        )
        if there and not preset.params[str(flag)].default:
            found[str(flag)] = True
    return found
