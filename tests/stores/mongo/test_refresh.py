"""A writer that refreshes sessions while they are being swept never loses one: 10,000 tries, half of them each way."""

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pymongo
import pytest

from cleanup_pipeline.stores.mongo import MongoStore
from tests.stores.mongo.conftest import Clean, Db, make_target

TRIES = 5_000
AT_ONCE = 100
PARTS = 4
DAY = timedelta(days=1)


class Writer(threading.Thread):
    """Lets sessions die, refreshes them at once, and looks whether what it refreshed is still there."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.url = url
        self.stop = threading.Event()
        self.tries = self.logins = self.lost = 0

    def run(self) -> None:
        with pymongo.MongoClient[dict[str, Any]](self.url) as client:
            sessions = client.get_default_database().c
            try:
                while self.tries < TRIES and not self.stop.is_set():
                    self._round(sessions)
            finally:
                self.stop.set()

    def _round(self, sessions: Any) -> None:
        now = datetime.now(UTC)
        there = {d["_id"] for d in sessions.find({}, {"_id": 1})}
        gone = [{"_id": n, "e": now - DAY} for n in range(AT_ONCE) if n not in there]
        if gone:
            sessions.insert_many(gone)
        sessions.update_many({}, {"$set": {"e": now - DAY}})
        # In parts, so that some are dead for a while; what was renewed bears the number of its login.
        for part in range(PARTS):
            self.logins += 1
            mine = {"_id": {"$gte": part * AT_ONCE // PARTS, "$lt": (part + 1) * AT_ONCE // PARTS}}
            change = {"$set": {"e": now + DAY, "login": self.logins}}
            renewed = sessions.update_many(mine, change).modified_count
            found = sessions.count_documents({"login": self.logins})
            self.lost += renewed - found
            self.tries += renewed


@pytest.mark.parametrize("index", [True, False], ids=["index walk", "id sweep"])
def test_no_session_that_was_refreshed_is_lost(
    db: Db, store: MongoStore, clean: Clean, mongo_url: str, index: bool
) -> None:
    db.c.insert_many([{"_id": n, "e": datetime.now(UTC) - DAY} for n in range(AT_ONCE)])
    if index:
        db.c.create_index("e")
    writer = Writer(mongo_url)
    deleted = 0
    writer.start()
    while writer.is_alive():
        deleted += clean(store, make_target(batch_size=20), size=20).deleted
    writer.join()
    assert writer.tries >= TRIES
    assert writer.lost == 0
    assert deleted > 0
