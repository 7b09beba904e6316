"""What the sample data is, record by record, and what a pass has to do to each."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from enum import StrEnum

LOST_TTL = "lost_ttl_repaired"
"""The reason of a live Redis record that was written without TTL and has to have one after a pass."""


class Fate(StrEnum):
    """What has become of a record when every pass has run."""

    GONE = "gone"
    STAY = "stay"


@dataclass(frozen=True, slots=True)
class Record:
    """One record of one target of demo.yaml."""

    target: str
    key: str
    """The Redis key, the PostgreSQL primary key, or the MongoDB _id as text."""
    fate: Fate
    reason: str
    """A word such as expired, live, inside_grace, unparsable, superseded_pointer."""
    redis_expiry: int | None = None
    """When Redis itself is to remove the key after a pass, as EXPIRETIME answers: epoch seconds, or -1 for never.

    None for what is not a key of Redis, and for what has to be gone.
    """


@dataclass(frozen=True, slots=True)
class Manifest:
    """Every record that was written."""

    records: tuple[Record, ...]

    def count(self, fate: str) -> int:
        """How many records have this fate, `gone` or `stay`."""
        return sum(record.fate == fate for record in self.records)

    def to_json(self) -> str:
        """A JSON list of objects, read back by `from_json`."""
        return json.dumps([asdict(record) for record in self.records])

    @staticmethod
    def from_json(text: str) -> "Manifest":
        """Raises ValueError, KeyError or TypeError for what `to_json` did not write."""
        return Manifest(tuple(Record(**{**item, "fate": Fate(item["fate"])}) for item in json.loads(text)))


def repaired(target: str, keys: Iterable[object], dies: datetime) -> list[Record]:
    """Live keys of Redis without TTL, which a pass has to give the one that ends at `dies`."""
    return [replace(record, redis_expiry=int(dies.timestamp())) for record in stay(target, keys, LOST_TTL)]


def gone(target: str, keys: Iterable[object], reason: str) -> list[Record]:
    """Records that a pass has to remove."""
    return [Record(target, str(key), Fate.GONE, reason) for key in keys]


def stay(target: str, keys: Iterable[object], reason: str) -> list[Record]:
    """Records that no pass may remove."""
    return [Record(target, str(key), Fate.STAY, reason) for key in keys]
