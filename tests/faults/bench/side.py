"""A store as its application sees it, by connections of the bench's own: no proxy, no code of the product.

Each `Side` can create, change and delete one record and say whether that was done, list all, and look for what a pass
left behind. Whoever gets an answer knows; `UnknownError` is raised where it was lost.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Protocol

NAME = "cleanup-pipeline"
"""What the cleaner calls itself to a server."""


class UnknownError(Exception):
    """The store did not say whether it was done."""


class RefusedError(Exception):
    """The store said that it was not done."""


class Side(Protocol):
    """One store as its application sees it. Expiries are epoch seconds, whole milliseconds; None never dies."""

    def create(self, name: str, expiry: float | None) -> bool: ...
    def change(self, name: str, expiry: float | None) -> bool: ...
    def delete(self, name: str) -> bool: ...
    def read(self, name: str) -> tuple[bool, float | None]: ...
    def fill(self, records: Mapping[str, float | None]) -> None: ...
    def all(self) -> dict[str, float | None]: ...
    def leases(self) -> int: ...
    def connections(self) -> int: ...
    def another(self) -> "Side": ...
    def close(self) -> None: ...


def instant(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(round(seconds * 1000) / 1000, UTC)


def seconds(moment: datetime | None) -> float | None:
    return None if moment is None else round(moment.timestamp(), 3)
