"""The time zone of an application's sessions, for naive times that were written in it.

The cleaner's own connections are pinned to UTC. What an application's sessions get is found by a connection without
that: the setting of the server, the database or the login. An application that logs in as somebody else, with a zone
of its own, would make that wrong; where any login has one, the zone has to be written down.
"""

from dataclasses import dataclass

from cleanup_pipeline.model.target import Target
from cleanup_pipeline.stores.base import StoreError
from cleanup_pipeline.stores.postgres.connect import Connections
from cleanup_pipeline.stores.postgres.statements import statement


@dataclass(frozen=True, slots=True)
class SessionZone:
    """What SESSION_ZONE stands for in a database, and where that is said."""

    name: str
    source: str


def session_zone(connections: Connections, target: Target) -> SessionZone:
    """The zone of sessions that ask for none. Raises StoreError where it is not the same for everybody."""
    with connections.unpinned(target, "TimeZone") as connection:
        row = connection.execute(statement("session_zone")).fetchone()
        others = [found[0] for found in connection.execute(statement("zones_of_roles"))]
    assert row is not None  # noqa: S101 - every server has the setting
    name, source = row
    if source == "client":
        problem = "the zone of this machine (PGTZ, or TimeZone in the URL) hides that of the database"
        raise StoreError(problem, setting=f"stores.{target.store}", remedy="unset it, or write the zone in `zone`")
    differing = sorted({other for other in others if other.lower() != name.lower()})
    if differing:
        raise StoreError(
            f"the database's sessions use {name}, those of some logins {', '.join(differing)}",
            setting=f"targets.{target.name}.expires",
            remedy="write the zone that the application's login has in `zone` in place of `session`",
        )
    return SessionZone(name, source)
