"""What the expiries of a collection are like, at a glance: the newest ones by index, their type by a sample."""

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from pymongo.collection import Collection

from cleanup_pipeline.model.words import FIRST_PLAUSIBLE_SECONDS, LAST_PLAUSIBLE_SECONDS, EpochUnit
from cleanup_pipeline.stores.mongo.batches import value_at
from cleanup_pipeline.stores.mongo.collection import Document
from cleanup_pipeline.stores.mongo.predicate import ABSENT, EPOCH, NUMBERS, Predicate, Query, both

MOSTLY = 0.8
"""Share of a sample from which on its type is that of the field; numbers are one type."""


def plausible(unit: EpochUnit | None) -> Query:
    """Expiries that can be right, expired or not."""
    first, last = FIRST_PLAUSIBLE_SECONDS, LAST_PLAUSIBLE_SECONDS
    if unit is None:
        return {"$gte": EPOCH + timedelta(seconds=first), "$lt": EPOCH + timedelta(seconds=last)}
    return {"$gte": first * unit.per_second, "$lt": last * unit.per_second}


def newest(
    collection: Collection[Document], predicate: Predicate, unit: EpochUnit | None, index: str, rank: int, patience: int
) -> Any:
    """The expiry that comes `rank`th from the newest as it is stored, None where there is none; `patience` in ms."""
    query = both({predicate.field: plausible(unit)}, predicate.guards)
    found = collection.find(query, {"_id": 0, predicate.field: 1}).sort(predicate.field, -1).skip(rank - 1).limit(1)
    return next((value_at(row, predicate.field) for row in found.hint(index).max_time_ms(patience)), None)


def shape(types: Sequence[str]) -> str | None:
    """The one type that the expiries of a sample have, as BSON names it; None where they have several."""
    counted = Counter("number" if kind in NUMBERS else kind for kind in types if kind not in ABSENT)
    if not counted:
        return None
    kind, count = counted.most_common(1)[0]
    return kind if count >= MOSTLY * counted.total() else None
