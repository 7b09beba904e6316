"""What the expiries of a table are like, at a glance: the newest ones by index, their types by catalog."""

from collections.abc import Sequence

from psycopg import sql

from cleanup_pipeline.model.target import Target
from cleanup_pipeline.stores.postgres.predicate import Predicate, columns_in
from cleanup_pipeline.stores.postgres.relation import Leaf, Relation, source_of
from cleanup_pipeline.stores.postgres.strategy import BLOCKS_PER_SHARD

_NEWEST = sql.SQL(
    # Without the first condition an index is read through its nulls, which come first from that end.
    "SELECT newest::text FROM (SELECT {expiry} AS newest FROM {table} AS record"
    " WHERE {expiry} IS NOT NULL AND {scope} AND ({live} OR {expired}) AND NOT {late}"
    " ORDER BY {expiry} DESC OFFSET {skipped} LIMIT 1) found"
)


def is_cheap(relation: Relation, pieces: Sequence[Leaf]) -> bool:
    """Whether the newest expiries can be had without reading a large table."""
    return relation.index is not None or sum(leaf.blocks for leaf in pieces) <= BLOCKS_PER_SHARD


def newest(relation: Relation, predicate: Predicate, rank: int) -> sql.Composed:
    """The query for the expiry that comes `rank`th from the newest, as text."""
    return _NEWEST.format(
        expiry=predicate.expiry,
        table=relation.identifier,
        scope=predicate.scope,
        live=predicate.live,
        expired=predicate.expired,
        late=predicate.late,
        skipped=sql.Literal(rank - 1),
    )


def shape(relation: Relation, target: Target) -> str:
    """The types of the columns that say when a record dies."""
    _, rule = source_of(target)
    types = [relation.shape.columns_of(column.of)[column.column] for column in columns_in(rule)]
    return ", ".join(types)
