"""A target that stands for many: which schemas, databases or servers it means, and what came of each."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

MOST_MEMBERS = 10_000
"""Of one target. Each is named in the plan of a pass, which is kept."""
MOST_NAMED = 10
"""Members that a report names: those of which most was removed."""


@dataclass(frozen=True, slots=True)
class Members:
    """By what members are found. Patterns are names in which `*`, `?` and `[...]` stand for others, as in a shell."""

    schemas: tuple[str, ...] = ()
    """PostgreSQL."""
    databases: tuple[str, ...] = ()
    """PostgreSQL and MongoDB: of the server that the store's URL names."""
    exclude: tuple[str, ...] = ()
    """Schemas and databases that are none, whatever the others say."""

    def schema_named(self, name: str) -> bool:
        """Whether a schema of this name is meant."""
        return _any(self.schemas, name) and not _any(self.exclude, name)

    def database_named(self, name: str) -> bool:
        """Whether a database of this name is meant."""
        return _any(self.databases, name) and not _any(self.exclude, name)


@dataclass(frozen=True, slots=True)
class MemberTotals:
    """What deleting came to, member by member. Sizes in records."""

    found: int
    """Members that were to be cleaned."""
    finished: int
    """Those of them that have nothing more."""
    unreached: int = 0
    """Those that no batch came to before the end."""
    failed: tuple[str, ...] = ()
    """Names of those that could not be cleaned to their end, at most MOST_NAMED."""
    failures: int = 0
    """How many these are in all."""
    top: Mapping[str, int] = field(default_factory=dict[str, int])
    """Records removed, by member: the largest."""
    others: int = 0
    """Records removed of all other members together."""
    fault: str | None = None
    """Why members failed, on one line; None: none did."""

    def __str__(self) -> str:
        parts = [f"{name} {count:,}" for name, count in self.top.items()]
        if self.others:
            parts.append(f"others {self.others:,}")
        said = f"{self.finished:,} of {self.found:,} members finished"
        if self.unreached:
            said += f", {self.unreached:,} not reached"
        return f"{said}; deleted: {', '.join(parts)}" if parts else said


def add_up(several: Iterable[MemberTotals]) -> MemberTotals | None:
    """Shards of one target, which have no member in common; None where there are none.

    What is not among the largest of its own shard counts as `others`, wherever it would stand among all.
    """
    parts = list(several)
    if not parts:
        return None
    counted = {name: count for part in parts for name, count in part.top.items()}
    faults = [part.fault for part in parts if part.fault]
    return MemberTotals(
        found=sum(part.found for part in parts),
        finished=sum(part.finished for part in parts),
        unreached=sum(part.unreached for part in parts),
        failed=tuple(name for part in parts for name in part.failed)[:MOST_NAMED],
        failures=sum(part.failures for part in parts),
        top=largest(counted),
        others=sum(part.others for part in parts) + sum(counted.values()) - sum(largest(counted).values()),
        fault=faults[0] if faults else None,
    )


def largest(counted: Mapping[str, int]) -> dict[str, int]:
    """The MOST_NAMED with most records, in order; none without any."""
    ranked = sorted((item for item in counted.items() if item[1]), key=lambda item: (-item[1], item[0]))
    return dict(ranked[:MOST_NAMED])


def _any(patterns: Iterable[str], name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
