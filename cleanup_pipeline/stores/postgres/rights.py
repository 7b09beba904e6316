"""Which columns of which tables a target reads and writes, by its rule alone: what its login needs, and no more."""

from dataclasses import dataclass, field

from cleanup_pipeline.model.rules import ColumnGuard, JsonEntriesExpiry, LifetimeColumn, Related, RowGuard
from cleanup_pipeline.model.target import TableSource, Target
from cleanup_pipeline.stores.postgres.predicate import columns_in, lifetimes_in, related_in

Table = tuple[str, str]
"""Schema (empty: found by the search path) and name."""


@dataclass(slots=True)
class Rights:
    """What is done to one table. A running sum over targets."""

    reads: set[str] = field(default_factory=set[str])
    updates: set[str] = field(default_factory=set[str])
    deletes: bool = False
    whole: bool = False
    """Every column is read: rows are told of, or kept as they are."""
    inserts: bool = False
    """Rows that were kept are put back, or canaries planted."""


def own_columns(target: Target) -> set[str]:
    """The columns of the target's own table that are read."""
    source = target.source
    assert isinstance(source, TableSource)  # noqa: S101 - of this store's targets
    return rights_of(target)[source.schema or "", source.table].reads


def read_from(target: Target, table: Table, own_schema: str) -> set[str]:
    """The columns that are read of another table, where `own_schema` is what the target's own table is in."""
    return set().union(
        *(each.reads for key, each in rights_of(target).items() if (key[0] or own_schema, key[1]) == table)
    )


def rights_of(target: Target) -> dict[Table, Rights]:
    """By table, the target's own first. What hangs on it by a foreign key only the database knows."""
    source, rule = target.source, target.expiry
    assert isinstance(source, TableSource)  # noqa: S101 - of this store's targets
    own_key: Table = (source.schema or "", source.table)
    tables: dict[Table, Rights] = {own_key: Rights()}
    own = tables[own_key]

    def of(related: Related | None) -> Rights:
        if related is None:
            return own
        own.reads.add(related.by)
        other = tables.setdefault((related.schema or source.schema or "", related.table), Rights())
        other.reads.add(related.key)
        return other

    for related in related_in(rule, target.guards):  # type: ignore[arg-type]
        of(related)
    for column in columns_in(rule, target.guards):  # type: ignore[arg-type]
        of(column.of).reads.add(column.column)
    for lifetime in lifetimes_in(rule):  # type: ignore[arg-type]
        of(lifetime.of if isinstance(lifetime, LifetimeColumn) else None).reads.add(lifetime.column)
    for guard in target.guards:
        if isinstance(guard, ColumnGuard):
            own.reads.add(guard.column)
        elif isinstance(guard, RowGuard):
            of(guard.of).reads.update(name for name, _ in guard.where)
    own.reads.update(target.where, target.set_null)
    own.updates.update(target.set_null)
    if isinstance(rule, JsonEntriesExpiry):
        own.reads.add(rule.column)
        own.updates.add(rule.column)
    own.deletes = not (target.set_null or isinstance(rule, JsonEntriesExpiry))
    # Rows that only lose columns, or let go, are still there when they are put back.
    own.inserts = own.deletes and (target.canaries is not None or target.quarantine)
    for related in target.detach:
        of(related).updates.add(related.key)
    for rights in (own, *(of(related) for related in target.detach)):
        rights.whole = target.removals or target.quarantine
    return tables
