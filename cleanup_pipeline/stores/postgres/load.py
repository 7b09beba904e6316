"""How busy a PostgreSQL server is: two short statements, no more costly than its number of sessions."""

from time import monotonic

from cleanup_pipeline.model.load import Load
from cleanup_pipeline.stores.postgres.connect import Connections
from cleanup_pipeline.stores.postgres.statements import statement

TIMEOUT = "1s"


def look(connections: Connections) -> Load:
    """The load of the server. `ping` is the time of a statement that reads nothing. Raises the protocol's faults."""
    with connections.use() as connection, connection.transaction():
        began = monotonic()
        connection.execute("SELECT set_config('statement_timeout', %s, true)", (TIMEOUT,))
        ping = monotonic() - began
        row = connection.execute(statement("load")).fetchone()
    assert row is not None  # noqa: S101 - aggregates without GROUP BY make one row
    lag, blocked, hidden, connections_share = row
    return Load(
        ping=ping,
        replica_lag=lag,
        # Hidden sessions may be blocked too: some that wait are a finding, none is not.
        blocked=blocked if blocked or not hidden else None,
        connections_share=connections_share,
    )
