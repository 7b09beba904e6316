"""Which way a table is cleaned, and how it is cut: index walk or block sweep.

An index walk goes oldest first, but reads a random block per row when the table is not stored in the order of expiry.
A block sweep reads every block once, in order, and needs no index. Measured in docs/benchmarks.md.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise

from cleanup_pipeline.model.plan import Bound, Census, Shard
from cleanup_pipeline.stores.postgres.relation import Leaf, Relation

INDEX_WALK = "index_walk"
DROP = "drop"
"""Bound of the shard that drops partitions."""
WITHOUT = "without"
"""Bound: oids of the leaves that another shard drops."""
BLOCK_SWEEP = "block_sweep"

BLOCKS_PER_SHARD = 8_192
"""A shard below this many blocks (64 MiB) is not worth a step of its own."""
SMALL_TABLE_BLOCKS = 1_000
FOLLOWS_EXPIRY = 0.9
"""Correlation, as pg_stats gives it, from which heap order counts as the order of expiry."""
FEW_PER_BLOCK = 0.1
"""Expired rows for each block of the table up to which a walk, which reads a block for each row, reads less than a
sweep, which reads every block once but in order."""


def choose(relation: Relation, pieces: tuple[Leaf, ...], correlation: float | None, census: Census) -> tuple[str, str]:
    """The strategy and the reason for it, in words for the plan."""
    if relation.index is None:
        return BLOCK_SWEEP, "no index leads with the expiry column, so the table is read once, block by block"
    blocks = sum(leaf.blocks for leaf in pieces)
    if blocks <= SMALL_TABLE_BLOCKS:
        return INDEX_WALK, f"index {relation.index}, oldest first; the table is small ({blocks} blocks)"
    if correlation is not None and abs(correlation) >= FOLLOWS_EXPIRY:
        return INDEX_WALK, f"index {relation.index}, oldest first; rows lie in the order of expiry ({correlation:.2f})"
    if census.expired is not None and census.exact and census.expired <= FEW_PER_BLOCK * blocks:
        few = f"{census.expired:,} expired rows in {blocks:,} blocks"
        return INDEX_WALK, f"index {relation.index}, oldest first; there are only {few}"
    share = expired_share(census, pieces)
    known = f"{share:.0%} of the rows" if share is not None else "an unknown share of the rows"
    return BLOCK_SWEEP, f"{known} are expired and lie scattered, so reading block by block beats index {relation.index}"


def with_drops(shards: tuple[Shard, ...], doomed: Iterable[int]) -> tuple[Shard, ...]:
    """The same shards without the leaves of these oids, and one more that drops them."""
    without = " ".join(str(oid) for oid in sorted(doomed))
    kept = [Shard(shard.index, {**shard.bounds, WITHOUT: without}) for shard in shards]
    return (*kept, Shard(len(kept), {DROP: 1}))


def shards_of(leaf: Leaf, share: float, max_shards: int) -> int:
    """How many shards the cleaning of `share` (0 to 1) of one table is worth."""
    return max(1, min(max_shards, int(leaf.blocks * share) // BLOCKS_PER_SHARD))


def cut(strategy: str, pieces: tuple[Leaf, ...], max_shards: int, edges: Sequence[str] = ()) -> tuple[Shard, ...]:
    """Disjoint shards that cover every leaf and, in the last one, every block that is added meanwhile.

    `edges` are instants, ascending, between which an index walk of one table is cut.
    """
    if len(pieces) == 1 and strategy == INDEX_WALK:
        oid, bounds = pieces[0].oid, [None, *dict.fromkeys(edges), None]
        return tuple(
            Shard(i, {"oid_from": oid, "oid_to": oid, "expiry_from": first, "expiry_to": end})
            for i, (first, end) in enumerate(pairwise(bounds))
        )
    if len(pieces) == 1:
        leaf = pieces[0]
        count = shards_of(leaf, 1.0, max_shards)
        blocks: list[Bound] = [*(leaf.blocks * i // count for i in range(count)), None]
        return tuple(
            Shard(i, {"oid_from": leaf.oid, "oid_to": leaf.oid, "block_from": first, "block_to": end})
            for i, (first, end) in enumerate(pairwise(blocks))
        )
    count = max(1, min(max_shards, len(pieces)))
    groups = [pieces[len(pieces) * i // count : len(pieces) * (i + 1) // count] for i in range(count)]
    return tuple(
        Shard(i, {"oid_from": group[0].oid, "oid_to": group[-1].oid, "block_from": 0, "block_to": None})
        for i, group in enumerate(groups)
        if group
    )


def blocks_per_batch(leaf: Leaf, share: float | None, size: int) -> int:
    """How many blocks to read for one batch: about `size` expired rows, and at most 16 MiB."""
    rows_per_block = leaf.rows / leaf.blocks if leaf.rows and leaf.blocks else 30.0
    expected = max(rows_per_block * (share or 0.05), 0.01)
    # A range that holds a little more than a batch costs nothing, as the batch ends at its limit; one that holds less
    # costs a batch more.
    return max(1, min(2048, int(1.3 * size / expected)))


def expired_share(census: Census, pieces: tuple[Leaf, ...]) -> float | None:
    """Share of the rows that have expired, 0 to 1; None when it is not known."""
    rows = sum(leaf.rows for leaf in pieces)
    if census.expired is None:
        return None
    if census.exact:
        rows = sum(n or 0 for n in (census.live, census.expired, census.without_expiry, census.unparsable))
    return census.expired / rows if rows else None
