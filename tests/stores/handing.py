"""A handover that keeps what it is told in memory, and hands it to a store again."""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from cleanup_pipeline.model.removed import Fate, Lot, Removed
from cleanup_pipeline.model.target import Target


@dataclass
class Memory:
    """`whole`: records are kept before they go. `meanwhile` is called between keeping and deleting."""

    whole: bool = True
    named: bool = True
    seconds: float = 0.0
    meanwhile: Callable[[Lot], None] | None = None
    held: list[Lot] = field(default_factory=list)
    went: list[tuple[Lot, list[int], list[int]]] = field(default_factory=list)

    def hold(self, lot: Lot) -> None:
        self.held.append(lot)
        if self.meanwhile is not None:
            self.meanwhile(lot)

    def gone(self, lot: Lot, which: Sequence[int] | None = None, *, perhaps: Sequence[int] = ()) -> None:
        self.went.append((lot, list(range(len(lot.records))) if which is None else list(which), list(perhaps)))

    def aside(self) -> AbstractContextManager[None]:
        return nullcontext()

    @property
    def records(self) -> list[Removed]:
        return [lot.records[n] for lot, which, _ in self.went for n in which]

    @property
    def names(self) -> list[str]:
        return sorted(record.identifier.decode() for record in self.records if record.form == 0)

    def back_to(self, store: Any, target: Target, *, dry_run: bool = False) -> Counter[Fate]:
        """Put everything that went back; how many of each fate."""
        fates: Counter[Fate] = Counter()
        for lot, which, _ in self.went:
            done = store.put_back(target, Lot([lot.records[n] for n in which], lot.forms), dry_run=dry_run)
            fates.update(done.fates)
        return fates
