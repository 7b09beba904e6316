"""What a shard's batches hand over, as one: to the removal ledger, to the quarantine, or to both."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from time import monotonic

from cleanup_pipeline.keeping.places import PlaceError
from cleanup_pipeline.keeping.quarantine import QuarantineWriter
from cleanup_pipeline.keeping.removals import RemovalWriter
from cleanup_pipeline.model.removed import Lot
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.stores.base import StoreError


@dataclass(slots=True)
class Keeping:
    """`model.removed.Handover` of one shard."""

    target: Target
    removals: RemovalWriter | None
    quarantine: QuarantineWriter | None
    seconds: float = 0.0
    """`Handover.seconds`."""

    @property
    def whole(self) -> bool:
        """`Handover.whole`."""
        return self.quarantine is not None

    @property
    def named(self) -> bool:
        """`Handover.named`. The quarantine needs to know whose a record is, to be able to forget it."""
        return self.removals is not None or self.target.owner is not None

    def begin(self, expected: int | None = None) -> None:
        """Before the first batch; `expected` bytes will be kept, None: nobody knows. Raises StoreError."""
        try:
            # The one that refuses most often comes first: neither leaves a marker of a shard that never began.
            if self.quarantine is not None:
                self.quarantine.begin(expected)
            if self.removals is not None:
                self.removals.begin()
        except PlaceError as fault:
            if self.quarantine is not None:
                with suppress(PlaceError):
                    self.quarantine.close()
            raise self._red(str(fault)) from None

    def ready(self) -> None:
        """Before each batch: whether what went before it was written. Raises StoreError."""
        if self.removals is not None and self.removals.fault is not None:
            raise self._red(self.removals.fault)

    def hold(self, lot: Lot) -> None:
        """`Handover.hold`."""
        lot = self._real(lot)[0]
        if self.quarantine is None or not lot.records:
            return
        with self.aside():
            try:
                self.quarantine.hold(lot)
            except PlaceError as fault:
                raise self._red(str(fault)) from None

    def gone(self, lot: Lot, which: Sequence[int] | None = None, *, perhaps: Sequence[int] = ()) -> None:
        """`Handover.gone`."""
        lot, places = self._real(lot)
        if not lot.records:
            return
        if places is not None:
            which = None if which is None else [places[n] for n in which if n in places]
            perhaps = [places[n] for n in perhaps if n in places]
        if which is not None and len(which) == len(lot.records):
            which = None
        with self.aside():
            if self.quarantine is not None:
                self.quarantine.settle(which, perhaps, len(lot.records))
            if self.removals is not None:
                self.removals.add(lot, which, perhaps)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """`Handover.aside`."""
        began = monotonic()
        try:
            yield
        finally:
            self.seconds += monotonic() - began

    def _real(self, lot: Lot) -> tuple[Lot, Mapping[int, int] | None]:
        """The lot without canaries; and where each record of it is by now, None: where it was."""
        if self.target.canaries is None or not any(record.planted for record in lot.records):
            return lot, None
        real = [n for n, record in enumerate(lot.records) if not record.planted]
        return Lot([lot.records[n] for n in real], lot.forms), {was: now for now, was in enumerate(real)}

    def close(self, uncertain: int = 0) -> str | None:
        """At the end, however it came; the fault, where something could not be written.

        `uncertain` records may have gone besides by batches whose answer was lost.
        """
        faults: list[str] = []
        if self.quarantine is not None:
            try:
                self.quarantine.close()
            except PlaceError as fault:
                faults.append(str(fault))
        if self.removals is not None:
            self.removals.close(uncertain)
            if self.removals.fault is not None:
                what = f"; {self.removals.lost:,} removed records are not in it" if self.removals.lost else ""
                faults.append(f"{self.removals.fault}{what}")
        return str(self._red("; ".join(faults))) if faults else None

    def _red(self, what: str) -> StoreError:
        return StoreError(
            what,
            setting=f"targets.{self.target.name}",
            remedy="nothing is deleted that cannot be kept: make room, or raise `at_most`, and run the pass again",
        )
