"""A writer that refreshes sessions while they are being swept never loses one."""

import threading
from typing import Any

import psycopg
import pytest

from cleanup_pipeline.stores.postgres import PostgresStore

from .conftest import Clean, make_target

TRIES = 10_000
AT_ONCE = 50
RENEW = """
INSERT INTO s SELECT n, now() - interval '1 minute' FROM unnest(%s::int[]) n
ON CONFLICT (id) DO UPDATE SET expires_at = now() - interval '1 minute'
"""
REFRESH = "UPDATE s SET expires_at = now() + interval '1 hour' WHERE id = %s"


class Writer(threading.Thread):
    """Lets sessions die, refreshes them at once, and looks whether what it refreshed is still there."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.url = url
        self.stop = threading.Event()
        self.tries = self.too_late = 0
        self.lost: list[int] = []

    def run(self) -> None:
        names = list(range(AT_ONCE))
        with psycopg.connect(self.url, autocommit=True) as login:
            while self.tries < TRIES and not self.stop.is_set():
                login.execute(RENEW, (names,))
                # One transaction for each login, as a login would.
                refreshed = []
                with login.pipeline() as pipeline:
                    for n in names:
                        refreshed.append(login.execute(REFRESH, (n,)))
                        pipeline.sync()
                there = {row[0] for row in login.execute("SELECT id FROM s")}
                kept = [n for n, update in zip(names, refreshed, strict=True) if update.rowcount]
                self.lost += [n for n in kept if n not in there]
                self.tries += len(kept)
                self.too_late += AT_ONCE - len(kept)


@pytest.mark.parametrize("index", [True, False], ids=["index walk", "block sweep"])
def test_no_session_that_was_refreshed_is_lost(
    db: Any, store: PostgresStore, clean: Clean, postgres_url: str, index: bool
) -> None:
    db.execute("CREATE TABLE s (id int PRIMARY KEY, expires_at timestamptz)")
    if index:
        db.execute("CREATE INDEX ON s (expires_at)")
    writer = Writer(postgres_url)
    deleted = 0
    writer.start()
    try:
        while writer.is_alive():
            deleted += clean(store, make_target(batch_size=7)).deleted
    finally:
        writer.stop.set()
        writer.join()
    assert writer.tries >= TRIES
    assert writer.lost == []
    # The two did get into each other's way, and each deletion is one that the writer came too late for.
    assert deleted > 0
    assert deleted >= writer.too_late
