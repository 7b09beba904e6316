"""What a person should know of a server and a table before anything is deleted there. Reads catalogs and statistics.

Does not belong here: what forbids to delete (relation.py), which every pass looks at.
"""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from cleanup_pipeline.model.durations import format_duration
from cleanup_pipeline.model.plan import Finding
from cleanup_pipeline.model.target import TableSource, Target
from cleanup_pipeline.model.words import Severity
from cleanup_pipeline.stores.postgres.bloat import bloat
from cleanup_pipeline.stores.postgres.connect import Connection
from cleanup_pipeline.stores.postgres.expiry_index import expiry_index
from cleanup_pipeline.stores.postgres.predicate import Predicate
from cleanup_pipeline.stores.postgres.relation import Relation
from cleanup_pipeline.stores.postgres.statements import statement

LONG_TRANSACTION = timedelta(minutes=5)
MUCH_WAL = 2**30
DEAD_SHARE = 0.2
MANY_DEAD = 10_000
OLD_XID = 1_500_000_000
"""Of about 2,100 million, at which the server stops to write."""


def server(connection: Connection) -> Iterator[Finding]:
    """Findings about the server."""
    version, autovacuum, user, replicas, lag = _one(connection, "checkup_server")
    yield Finding(Severity.INFO, f"PostgreSQL {version}, as {user}", code="pg.version")
    if not autovacuum:
        what = "autovacuum is off: what is deleted takes up space for ever"
        yield Finding(
            Severity.WARNING,
            what,
            "ALTER SYSTEM SET autovacuum = on; SELECT pg_reload_conf()",
            code="pg.autovacuum-off",
        )
    if replicas:
        behind = "caught up, or its lag does not show to this login" if lag is None else f"{lag:.1f} s behind at most"
        severity = Severity.WARNING if lag is not None and lag > 10 else Severity.INFO
        remedy = "deleting waits while a replica is further behind than max_replica_lag"
        yield Finding(severity, f"{replicas} replica(s), {behind}", remedy, code="pg.replicas")
    yield from _slots(connection)
    yield from _transactions(connection)


def _slots(connection: Connection) -> Iterator[Finding]:
    for name, active, kept in connection.execute(statement("checkup_slots")).fetchall():
        if active and kept < MUCH_WAL:
            continue
        state = "is behind" if active else "has no reader"
        what = f"replication slot {name} {state} and keeps {kept / 2**20:,.0f} MiB of WAL; deleting adds to it"
        remedy = f"see to its reader, or if it has none any more: SELECT pg_drop_replication_slot('{name}')"
        yield Finding(Severity.WARNING, what, remedy, code="pg.slot")


def _transactions(connection: Connection) -> Iterator[Finding]:
    given = {"patience": LONG_TRANSACTION}
    age, count, idle = _one(connection, "checkup_transactions", given)
    if count:
        what = f"{count} transaction(s) open for up to {_span(age)}: what is deleted meanwhile stays on disk"
        remedy = "end them" + ("; set idle_in_transaction_session_timeout" if idle else "")
        yield Finding(Severity.WARNING, what, remedy, "pg_stat_activity", code="pg.transaction")
    count, age = _one(connection, "checkup_prepared", given)
    if count:
        what = f"{count} prepared transaction(s), up to {_span(age)} old: what is deleted meanwhile stays on disk"
        yield Finding(
            Severity.WARNING, what, "COMMIT PREPARED or ROLLBACK PREPARED them", "pg_prepared_xacts", code="pg.prepared"
        )


def table(
    connection: Connection, target: Target, relation: Relation | None, predicate: Predicate | None
) -> Iterator[Finding]:
    """Findings about a table. Without `relation` and `predicate`, which take rights, those that the catalog tells."""
    source = target.source
    assert isinstance(source, TableSource)  # noqa: S101 - of this store's targets
    parts = [part for part in (source.schema, *source.table.split(".")) if part]
    name = ".".join('"' + part.replace('"', '""') + '"' for part in parts)
    oid, shown = _one(connection, "checkup_table", {"name": name})
    if oid is None:
        return
    of = {"oid": oid}
    if relation is not None and predicate is not None:
        yield from expiry_index(connection, relation, predicate, shown)
    for (index,) in connection.execute(statement("checkup_indexes"), of).fetchall():
        remedy = f"DROP INDEX CONCURRENTLY {index}, or REINDEX INDEX CONCURRENTLY {index}"
        yield Finding(
            Severity.WARNING, f"index {index} is invalid: it costs and serves nobody", remedy, code="pg.invalid-index"
        )
    for other, key, columns, size in connection.execute(statement("checkup_references"), of).fetchall():
        what = f"no index serves foreign key {key} of {other}: each record that goes reads all of {other}"
        remedy = f"CREATE INDEX CONCURRENTLY ON {other} ({', '.join(columns)})"
        yield Finding(Severity.WARNING, what, remedy, f"{other} has {size / 2**20:,.1f} MiB", code="pg.foreign-key")
    for trigger, function, each_row in connection.execute(statement("checkup_triggers"), of).fetchall():
        what = f"trigger {trigger} runs {function}() for each {'record' if each_row else 'batch'} that goes"
        yield Finding(Severity.WARNING, what, "see that this is meant, and what it costs", code="pg.trigger")
    for (rule,) in connection.execute(statement("checkup_rules"), of).fetchall():
        what = f"rule {rule} rewrites DELETE on {shown}: what goes, and how many, is not what a pass counts"
        yield Finding(Severity.WARNING, what, f"DROP RULE {rule} ON {shown}, if nothing needs it", code="pg.rule")
    for (publication,) in connection.execute(statement("checkup_publications"), of).fetchall():
        what = (
            f"publication {publication} publishes deletes of {shown}, which has no replica identity: they are refused"
        )
        yield Finding(
            Severity.ERROR,
            what,
            f"add a primary key, or ALTER TABLE {shown} REPLICA IDENTITY FULL",
            code="pg.publication",
        )
    yield from _partitions(connection, target, of)
    yield from _upkeep(connection, shown, of)
    yield from bloat(connection, shown, of)


def _partitions(connection: Connection, target: Target, of: dict[str, Any]) -> Iterator[Finding]:
    count, key = _one(connection, "checkup_partitions", of)
    if not count:
        return
    remedy = "" if target.drop_partitions else "where that is the expiry, drop_partitions: true drops whole ones"
    yield Finding(Severity.INFO, f"{count} partitions by {key}", remedy, code="pg.partitions")


def _upkeep(connection: Connection, shown: str, of: dict[str, Any]) -> Iterator[Finding]:
    size, counted, live, dead, vacuumed, age, options = _one(connection, "checkup_upkeep", of)
    last = f"last vacuumed {vacuumed:%Y-%m-%d %H:%M} UTC" if vacuumed else "never vacuumed"
    if dead and dead > MANY_DEAD and dead > DEAD_SHARE * max(live, 1):
        what = f"{dead:,} dead rows beside {live:,} live ones wait for VACUUM"
        yield Finding(
            Severity.WARNING, what, f"VACUUM (ANALYZE) {shown}", f"{size / 2**20:,.1f} MiB, {last}", code="pg.dead-rows"
        )
    if counted < 0:
        yield Finding(
            Severity.INFO, f"{shown} was never analyzed, so plans are guesses", f"ANALYZE {shown}", code="pg.unanalyzed"
        )
    if age > OLD_XID:
        what = f"{shown} has row versions that are {age:,} transactions old"
        yield Finding(
            Severity.WARNING, what, f"VACUUM (FREEZE) {shown} before they wrap around", last, code="pg.wraparound"
        )
    if any(option in {"autovacuum_enabled=false", "autovacuum_enabled=off"} for option in options or ()):
        what = f"autovacuum is off for {shown}: what is deleted takes up space for ever"
        yield Finding(
            Severity.WARNING, what, f"ALTER TABLE {shown} RESET (autovacuum_enabled)", code="pg.table-autovacuum-off"
        )


def _one(connection: Connection, name: str, given: dict[str, Any] | None = None) -> tuple[Any, ...]:
    row = connection.execute(statement(name), given or {}).fetchone()
    assert row is not None  # noqa: S101 - each of them is an aggregate, or about a table that is there
    return row


def _span(seconds: float) -> str:
    return format_duration(timedelta(minutes=int(seconds // 60)))
