"""`chunks:` of a target -> Chunks."""

from itertools import pairwise
from typing import Annotated, Any

from cleanup_pipeline.layouts.field_types import FieldPath, Section, reads, refuse
from cleanup_pipeline.model.target import Chunks, FieldExpiry, Target
from cleanup_pipeline.model.words import StoreType
from cleanup_pipeline.settings.faults import Fault, Path, dotted
from cleanup_pipeline.settings.translate import check_section

_WANTED = "a mapping with key, and at where the cluster's own chunks are not to be used"
_EDGES = {"type": "array", "items": {"type": ["integer", "string"]}}


def _edges(value: Any) -> tuple[int | str, ...]:
    expected = "a list of text or of whole numbers, ascending"
    if not isinstance(value, list) or not value:
        raise refuse(expected)
    if all(isinstance(each, str) for each in value):
        edges: tuple[int | str, ...] = tuple(str(each) for each in value)
        ascending = all(str(a).encode() < str(b).encode() for a, b in pairwise(edges))
    elif all(isinstance(each, int) and not isinstance(each, bool) for each in value):
        edges, ascending = tuple(value), all(a < b for a, b in pairwise(value))
    else:
        raise refuse(expected)
    if not ascending:
        raise refuse(expected)
    return edges


class ChunksSection(Section):
    """`chunks: {...}`."""

    key: FieldPath
    at: Annotated[tuple[int | str, ...], reads(_edges, _EDGES)] = ()


def read_chunks(raw: Any, path: Path, faults: list[Fault]) -> Chunks | None:
    """The ranges that are asked for. `path` is that of the section around it."""
    if raw is None:
        return None
    section, wrong = check_section(ChunksSection, raw, (*path, "chunks"), faults, _WANTED)
    return Chunks(section.key, section.at) if section and not wrong else None


def refuse_chunks(target: Target, path: Path) -> list[Fault]:
    """What `chunks` does not go with."""
    if target.chunks is None:
        return []
    place = dotted((*path, "chunks"))
    if target.store_type is not StoreType.MONGO:
        return [Fault(place, f"chunks on a {target.store_type} store", "no chunks, which are for MongoDB")]
    if isinstance(target.expiry, FieldExpiry) and target.expiry.pull is not None:
        return [Fault(place, "chunks where elements of an array expire", "no chunks")]
    if target.row_limit is not None:
        return [Fault(place, "chunks and row_limit", "one of the two: a limit is about the oldest of the whole")]
    return []
