"""What a table takes up, and making room in it after a pass."""

from datetime import timedelta

from cleanup_pipeline.model.plan import Finding, Storage
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.model.words import Severity
from cleanup_pipeline.stores.base import StoreError
from cleanup_pipeline.stores.postgres.connect import Connection, Connections
from cleanup_pipeline.stores.postgres.relation import Relation
from cleanup_pipeline.stores.postgres.statements import NONE, statement

COST_DELAY = "2ms"
"""What autovacuum rests by default; a VACUUM by hand would not rest at all."""


def storage(connection: Connection, relation: Relation) -> Storage:
    """From the catalog and the statistics alone."""
    row = connection.execute(statement("storage"), {"oid": relation.oid}).fetchone()
    assert row is not None  # noqa: S101 - an aggregate without GROUP BY has one row
    return Storage(*row)


def rights(connection: Connection, relation: Relation, target: Target) -> list[Finding]:
    """What the target asks for and only the owner of the table may do."""
    asked = [name for name in ("vacuum", "drop_partitions") if getattr(target, name)]
    if not asked:
        return []
    owned = connection.execute(statement("owned"), {"oid": relation.oid}).fetchone()
    if owned and owned[0]:
        return []
    severity = Severity.ERROR if target.drop_partitions else Severity.WARNING
    what = f"{' and '.join(asked)} take the owner of {target.source_name}, and this login is not"
    return [Finding(severity, what, f"log in as its owner, or set {' and '.join(asked)} to false", code="pg.not-owner")]


def vacuum(connections: Connections, relation: Relation, target: Target, at_most: timedelta) -> None:
    """VACUUM (ANALYZE) on a connection of its own, whose limits are not those of batches.

    Raises BatchTimeoutError after `at_most`, StoreError when the role may not.
    """
    with connections.use(target) as connection:
        # The server only warns, and reports a VACUUM that was none.
        for finding in rights(connection, relation, target):
            raise StoreError(finding.what, setting=f"targets.{target.name}.vacuum", remedy=finding.remedy)
    with connections.own(target, at_most, {"vacuum_cost_delay": COST_DELAY}) as connection:
        connection.execute(statement("vacuum", table=relation.identifier), NONE)
