"""What the flags of `layouts new` said, and what a store showed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cleanup_pipeline.model.plan import Finding
from cleanup_pipeline.model.seen import Seen
from cleanup_pipeline.model.survey import Asked, Survey
from cleanup_pipeline.model.target import Source, Target
from cleanup_pipeline.model.words import EpochUnit, StoreType


@dataclass(frozen=True, slots=True)
class Given:
    """Each flag; None or empty where it was not given."""

    store_type: str | None
    store: str | None
    url_variable: str | None
    look: bool
    table: str | None
    schema: str | None
    collection: str | None
    database: str | None
    keys: str | None
    key_type: str | None
    exclude: Sequence[str]
    expires: str | None
    unit: str | None
    zone: str | None
    lifetime: str | None
    null_means: str | None
    never_value: Sequence[str]
    where: Sequence[str]
    guard: Sequence[str]
    set_null: Sequence[str]
    unset: Sequence[str]
    children: str | None
    detach: Sequence[str]
    grace: str | None
    kind: str | None
    pass_name: str | None
    name: str | None
    settings: Path | None
    output: Path | None


@dataclass(frozen=True, slots=True)
class Place:
    """A store, and what it showed."""

    name: str
    type: StoreType
    written: dict[str, object]
    """As the file has it: never with a URL, but with the variable that holds it."""
    variable: str | None
    """None: the store is one of an existing file."""
    seen: Sequence[Seen] | None
    """None: nobody looked."""
    passes: Mapping[str, object] = field(default_factory=dict[str, object])
    """Those of an existing file, as they are written there."""
    magnitude: Callable[[Source, str], EpochUnit | None] = lambda *_: None
    survey: Callable[[Asked], Survey] | None = None
    check: Callable[[Target], Sequence[Finding]] = lambda _: ()
    """What stands in the way of a target, or is worth knowing of it; nothing where nobody looks."""
