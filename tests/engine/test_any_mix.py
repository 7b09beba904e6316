"""Whatever a table holds and whatever happens to it meanwhile: no live record goes, no expired one stays."""

from dataclasses import replace
from datetime import timedelta
from enum import StrEnum

import psycopg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cleanup_pipeline.engine.limits import Limits
from cleanup_pipeline.model.outcome import Tally
from cleanup_pipeline.model.words import StopReason
from cleanup_pipeline.stores.postgres import PostgresStore
from tests.engine.conftest import FREE, Db, ids, run


class Fate(StrEnum):
    """What a record is when the pass begins, or what becomes of it after the first batch."""

    LIVE = "1 day"
    EXPIRED = "-1 day"
    LONG_EXPIRED = "-400 days"
    NEVER = "NULL"
    INFINITE = "infinity"
    REFRESHED = "-1 hour"
    """Expired at first; a login renews it while the sweep is under way."""
    LOCKED = "-2 days"
    """A login holds its row from before the pass until after it."""
    REFERRED = "-3 days"
    """Another table's row refers to it."""


STAYS = {Fate.LIVE, Fate.NEVER, Fate.INFINITE, Fate.LOCKED, Fate.REFERRED}


@given(
    fates=st.lists(st.sampled_from(list(Fate)), max_size=40),
    size=st.integers(1, 12),
    index=st.booleans(),
    refresh_after=st.integers(0, 3),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_live_record_goes_and_no_expired_one_stays(
    db: Db, postgres_url: str, store: PostgresStore, fates: list[Fate], size: int, index: bool, refresh_after: int
) -> None:
    db.execute("DROP TABLE IF EXISTS child")
    db.execute("DROP TABLE s")
    db.execute("CREATE TABLE s (id int PRIMARY KEY, expires_at timestamptz)")
    db.execute("CREATE TABLE child (parent int REFERENCES s)")
    if index:
        db.execute("CREATE INDEX ON s (expires_at)")
    for number, fate in enumerate(fates):
        expiry = {Fate.NEVER: "NULL", Fate.INFINITE: "'infinity'"}.get(fate, f"now() + interval '{fate}'")
        db.execute(f"INSERT INTO s VALUES ({number}, {expiry})")
    by_fate = {fate: [n for n, each in enumerate(fates) if each is fate] for fate in Fate}
    db.execute("INSERT INTO child SELECT unnest(%s::int[])", (by_fate[Fate.REFERRED],))
    refreshed: set[int] = set()

    def refresh(tally: Tally) -> None:
        """As a login does: renew what is still there; what is gone has to log in again."""
        if tally.batches >= refresh_after and not refreshed:
            renewed = db.execute(
                "UPDATE s SET expires_at = now() + interval '1 day' WHERE id = ANY (%s::int[]) RETURNING id",
                (by_fate[Fate.REFRESHED],),
            )
            refreshed.update({row[0] for row in renewed} | {-1})

    if refresh_after == 0:
        refresh(Tally())
    limits = Limits(batch_size=size, pause=timedelta(0), first_backoff=timedelta(milliseconds=1), pace=replace(FREE))
    with psycopg.connect(postgres_url) as login:
        login.execute("SELECT FROM s WHERE id = ANY (%s::int[]) FOR UPDATE", (by_fate[Fate.LOCKED],))
        outcomes = run(store, limits, progress=refresh)
        login.rollback()
    assert {outcome.stop_reason for outcome in outcomes} == {StopReason.EXHAUSTED}
    stays = {n for n, fate in enumerate(fates) if fate in STAYS} | (refreshed - {-1})
    assert ids(db) == stays
    tally = sum((outcome.tally for outcome in outcomes), Tally())
    assert tally.deleted == len(fates) - len(stays)
    assert tally.largest_batch <= size
    assert tally.parked == len(by_fate[Fate.REFERRED])
