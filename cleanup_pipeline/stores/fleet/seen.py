"""What one look found of the members of a target, in order of whose turn it is, and in words.

Does not belong here: looking, and cleaning.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from random import Random

from cleanup_pipeline.model.members import largest
from cleanup_pipeline.model.plan import Census, Finding
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.model.words import Severity
from cleanup_pipeline.stores.base import SourceMissingError, StoreError
from cleanup_pipeline.stores.fleet.places import Member, Places


@dataclass(slots=True)
class Seen:
    """What one look found of a target."""

    places: Places
    members: list[Member] = field(default_factory=list[Member])
    """To be cleaned, the healthy and the suspect ones."""
    troubled: dict[Member, StoreError] = field(default_factory=dict[Member, StoreError])
    missing: list[Member] = field(default_factory=list[Member])
    down: dict[int, StoreError] = field(default_factory=dict[int, StoreError])
    """Places of which not even the members are known."""
    counts: dict[Member, Census] = field(default_factory=dict[Member, Census])

    def nothing(self, target: Target) -> StoreError:
        """Why there is no member to be cleaned."""
        place = f"targets.{target.name}"
        if self.missing:
            return SourceMissingError(
                f"none of its {len(self.missing):,} members has {target.source_name}",
                setting=place,
                remedy="correct the name, or its patterns",
            )
        return SourceMissingError(
            "nothing is named as its patterns say", setting=place, remedy="correct them, or see what the login may list"
        )

    def of_members(self) -> Iterator[Finding]:
        """What is wrong with the members as such."""
        total = len(self.members) + len(self.missing)
        if self.missing:
            names = self.named(self.missing)
            what = f"{len(self.missing):,} of {total:,} members have no such table or collection: {names}"
            yield Finding(Severity.WARNING, what, "exclude them where that is as it should be", code="members.missing")
        if self.troubled:
            first = next(iter(self.troubled.values()))
            what = f"{len(self.troubled):,} of {total:,} members cannot be cleaned: {self.named(list(self.troubled))}"
            yield Finding(Severity.WARNING, f"{what}; {first.problem}", first.remedy, code="members.refused")
        for place, fault in self.down.items():
            what = f"{self.places.where(place)} is away, with its members: {fault.problem}"
            yield Finding(Severity.WARNING, what, fault.remedy, code="members.away")

    def shared(self, finding: Finding, of: Sequence[Member]) -> Finding:
        """What was found in some of the members, said once."""
        if len(self.members) == 1:
            return finding
        return replace(
            finding, what=f"in {len(of):,} of {len(self.members):,} members ({self.named(of)}): {finding.what}"
        )

    def named(self, several: Sequence[Member]) -> str:
        """The names of the first few."""
        shown = ", ".join(self.places.name(member) for member in several[:3])
        return f"{shown}, ..." if len(several) > 3 else shown

    def in_no_order(self, cutoff: datetime) -> list[Member]:
        """The healthy members, in an order that differs from pass to pass."""
        # Where the time does not do for all, others are counted in the next pass.
        healthy = [member for member in self.members if member not in self.troubled]
        Random(cutoff.timestamp()).shuffle(healthy)  # noqa: S311 - an order, no secret
        return healthy

    def rank(self, member: Member) -> tuple[int, float, Member]:
        """Who is served first: those whose oldest expired record is oldest, which earlier passes served least."""
        count = self.counts.get(member)
        if count is None or not count.exact:
            return 0, 0.0, member
        oldest = count.oldest_expired
        return (1, oldest.timestamp(), member) if oldest else (2, 0.0, member)

    def why(self) -> str:
        """The choice of strategy, in words."""
        said = f"{len(self.members):,} members, each by itself, in turns of a few batches"
        if self.counts:
            top = largest({self.places.name(member): count.expired or 0 for member, count in self.counts.items()})
            if top:
                said += "; most expired: " + ", ".join(f"{name} {count:,}" for name, count in list(top.items())[:3])
        if self.troubled:
            said += f"; cannot be cleaned as it is: {self.named(list(self.troubled))}"
        return said
