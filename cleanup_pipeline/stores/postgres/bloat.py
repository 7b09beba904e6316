"""How much of a table is room that nobody uses: by pgstattuple where that may be asked, else by statistics."""

from collections.abc import Iterator
from typing import Any

from psycopg import Error, sql

from cleanup_pipeline.model.plan import Finding
from cleanup_pipeline.model.words import Severity
from cleanup_pipeline.stores.postgres.connect import Connection
from cleanup_pipeline.stores.postgres.extensions import function_of
from cleanup_pipeline.stores.postgres.statements import statement

PATIENCE = "3s"
MEASURED = 256 * 2**20
"""Bytes of a table up to which it is measured: that reads it, and passes look, too."""
MUCH = 0.3
"""Share of a table."""
BIG = 64 * 2**20
"""Bytes that are free; less is not worth a word of warning."""


def bloat(connection: Connection, shown: str, of: dict[str, Any]) -> Iterator[Finding]:
    """A finding where the free share is known. `of` names the table's oid."""
    free, size, how = _measured(connection, of) or _estimated(connection, of) or (None, 0, "")
    if free is None:
        return
    share = free / size if size else 0.0
    what = f"about {share:.0%} of {shown} is free or dead room ({free / 2**20:,.1f} of {size / 2**20:,.1f} MiB)"
    if share >= MUCH and free >= BIG:
        remedy = (
            f"new records use it again; to give it back to the disk: pg_repack, or VACUUM (FULL) {shown}, which locks"
        )
        yield Finding(Severity.WARNING, what, remedy, how, code="pg.bloat")
    else:
        yield Finding(Severity.INFO, what, "", how, code="pg.bloat-little")


def _measured(connection: Connection, of: dict[str, Any]) -> tuple[int, int, str] | None:
    """By pgstattuple_approx, which reads the blocks that are not all visible; None where that is not to be had."""
    function = function_of(connection, "pgstattuple", "pgstattuple_approx")
    row = connection.execute("SELECT pg_relation_size(%(oid)s::oid)", of).fetchone()
    if function is None or row is None or row[0] > MEASURED:
        return None
    query = sql.SQL("SELECT approx_free_space + dead_tuple_len, table_len FROM {function}(%(oid)s::oid::regclass)")
    try:
        with connection.transaction(force_rollback=True):
            connection.execute("SELECT set_config('statement_timeout', %s, true)", (PATIENCE,))
            row = connection.execute(query.format(function=function), of).fetchone()
    except Error:
        # Too large for that, or of a kind that it does not take, as a partitioned table.
        return None
    return None if row is None or row[0] is None else (int(row[0]), int(row[1]), "measured by pgstattuple_approx")


def _estimated(connection: Connection, of: dict[str, Any]) -> tuple[int, int, str] | None:
    row = connection.execute(statement("bloat_estimate"), of).fetchone()
    if row is None or None in row:
        return None
    size, needed = row
    how = "estimated from pg_stats, as pgstattuple is not installed, not allowed, or the table too large"
    return max(0, int(size) - int(needed)), int(size), how
