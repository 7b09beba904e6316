"""A pass that is killed with its canaries in the stores: the next one takes them away, and counts none of them."""

from pathlib import Path
from time import monotonic, sleep

import psycopg
import pymongo
import redis

from cleanup_pipeline.ledger import open_ledger
from cleanup_pipeline.model.canary import CANARY_PREFIX
from tests.faults.cleaner import Stores, clean, ledger_url, start

SETTINGS = """
cleanup: {{batch_size: 1, pause: {pause}}}
stores:
  main: {{type: postgres, url: "${{CLEANUP_POSTGRES_URL}}", lease: 1s}}
  cache: {{type: redis, url: "${{CLEANUP_REDIS_URL}}", lease: 1s}}
  docs: {{type: mongo, url: "${{CLEANUP_MONGO_URL}}", lease: 1s}}
targets:
  web: {{store: main, table: web, expires: {{column: e}}, mode: delete, canaries: true}}
  keys: {{store: cache, keys: 's:*', expires: {{value: s}}, mode: delete, canaries: true}}
  docs: {{store: docs, collection: docs, expires: {{field: e}}, mode: delete, canaries: true}}
"""


def marks(stores: Stores) -> dict[str, int]:
    begin = f"{CANARY_PREFIX}%"
    with psycopg.connect(stores.postgres) as db:
        row = db.execute("SELECT count(*) FROM web WHERE id LIKE %s", (begin,)).fetchone()
    with redis.Redis.from_url(stores.redis) as client:
        keys = sum(1 for _ in client.scan_iter(f"s:{CANARY_PREFIX}*"))
    with pymongo.MongoClient(stores.mongo) as mongo:
        docs = mongo.get_default_database()["docs"].count_documents({"_id": {"$regex": f"^{CANARY_PREFIX}"}})
    return {"web": row[0] if row else 0, "keys": keys, "docs": docs}


def test_killed_between_planting_and_taking_away(
    tmp_path: Path, postgres_url: str, redis_url: str, mongo_url: str
) -> None:
    stores = Stores(postgres_url, redis_url, mongo_url)
    stores.create()
    stores.fill("dead", {"web": 3, "keys": 3, "docs": 3})
    (tmp_path / "cleanup.yaml").write_text(SETTINGS.format(pause="5m"))
    killed = start(tmp_path, stores)
    ends = monotonic() + 90
    # Whichever shard is first deletes one record and then rests for longer than the test.
    while not all(count >= 3 for count in marks(stores).values()):
        assert monotonic() < ends and killed.process.is_alive(), marks(stores)
        sleep(0.05)
    killed.kill()
    planted = marks(stores)
    kept = open_ledger(ledger_url(tmp_path))
    assert all(len(kept.canaries.of_runs(name)) == 4 >= count for name, count in planted.items())

    (tmp_path / "cleanup.yaml").write_text(SETTINGS.format(pause="0s"))
    report = clean(tmp_path, stores)
    assert report["status"] == "succeeded", report
    assert marks(stores) == {"web": 0, "keys": 0, "docs": 0}
    assert stores.left() == stores.only_live
    assert [kept.canaries.of_runs(name) for name in ("web", "keys", "docs")] == [[], [], []]
    kept.close()
    deleted = sum(each["deleted"] for each in report["targets"])
    found = {each["target"]: (each["expired_found"], each["kept_live"]) for each in report["targets"]}
    assert deleted in {8, 9}, "one or none was removed by the killed pass"
    assert all(live == 3 for _, live in found.values()), found
