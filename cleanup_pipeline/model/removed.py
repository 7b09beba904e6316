"""What a batch hands over of the records that it removes, and what becomes of one that is put back.

The identifier, owner and body of a record are secrets: they go to whoever keeps them, hashed or encrypted, and nowhere
else.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple, Protocol


class Removed(NamedTuple):
    """One record, or one change, of a batch. A tuple: there are a million of them in a pass."""

    identifier: bytes = b""
    """What the record is asked for by. Empty where nobody asked for it."""
    owner: bytes = b""
    """Whose it is, as the store has it. Empty: nobody's, or nobody asked for it."""
    died: int | None = None
    """The expiry in epoch milliseconds; None: it has no instant of its own, or nobody asked for it."""
    body: bytes = b""
    """All that is needed to put it back, in the store's own writing. Empty where nobody asked for it."""
    form: int = 0
    """Which of the lot's forms the body has."""
    planted: bool = False
    """Whether it is a canary: the pipeline's own, which goes like any other and is kept nowhere."""

    def __repr__(self) -> str:
        return f"Removed(form={self.form}, {len(self.body)} bytes)"


Form = Mapping[str, Any]
"""How bodies are to be read: names of tables and columns, and what was done. JSON-like, with nothing of a record."""


@dataclass(frozen=True, slots=True)
class Lot:
    """The records of one batch. Those of form 0 are the target's own; others are what went or changed with them."""

    records: Sequence[Removed] = field(repr=False)
    forms: Sequence[Form] = ({},)


class Handover(Protocol):
    """Who is told of what batches remove. Not for several threads at once."""

    @property
    def whole(self) -> bool:
        """Whether records are kept before they go: a batch reads them, calls `hold`, and removes exactly those."""
        ...

    @property
    def named(self) -> bool:
        """Whether identifier, owner and expiry are wanted."""
        ...

    @property
    def seconds(self) -> float:
        """Spent in `hold`, `gone` and `aside` so far. The store was left alone meanwhile, as it is in a pause."""
        ...

    def aside(self) -> AbstractContextManager[None]:
        """Around what a store does for the sake of keeping while it asks nothing of its server."""
        ...

    def hold(self, lot: Lot) -> None:
        """Keep the records of a batch that is about to go. Once it returns, they outlive a crash.

        Raises StoreError where that is not possible: then the batch may not go.
        """
        ...

    def gone(self, lot: Lot, which: Sequence[int] | None = None, *, perhaps: Sequence[int] = ()) -> None:
        """These records went, by their places in the lot (None: all). Does not raise: what went, went.

        After `hold`, those that are not named stayed. `perhaps` went, too: the answer was lost, or somebody else may
        have removed them at the same moment.
        """
        ...


class Fate(StrEnum):
    """What became of a record that was to be put back."""

    RESTORED = "restored"
    EXISTS = "exists"
    """There is one again, or still."""
    OVER = "over"
    """Its own TTL has run out meanwhile: the store itself would have removed it."""
    REFUSED = "refused"
    """The store does not take it, for instance as the user that it refers to is gone."""
    LEFT = "left"
    """What it went with was not put back, and so neither was it."""


@dataclass(frozen=True, slots=True)
class PutBack:
    """What came of one lot: the fate of each record, in its order, and why some were refused (no more than a few)."""

    fates: tuple[Fate, ...]
    reasons: tuple[str, ...] = ()
