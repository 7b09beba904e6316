"""A MongoDB store on a fresh database of a wire-protocol server (SecantusDB), and a plain client beside it."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pymongo
import pytest
from pymongo.database import Database

from cleanup_pipeline.embedded.servers import Server
from cleanup_pipeline.engine.limits import Limits
from cleanup_pipeline.engine.loop import Watch, clean_shard
from cleanup_pipeline.engine.scan import scan
from cleanup_pipeline.model.outcome import ShardOutcome, TargetReport
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.target import CollectionSource, FieldExpiry, Target
from cleanup_pipeline.model.words import Mode, StoreType
from cleanup_pipeline.reporting.fold import fold_target
from cleanup_pipeline.stores.base import Store
from cleanup_pipeline.stores.mongo import MongoStore, open_mongo

Db = Database[dict[str, Any]]


@pytest.fixture
def db(mongo_url: str) -> Iterator[Db]:
    with pymongo.MongoClient(mongo_url, tz_aware=True) as client:
        yield client.get_default_database()


@pytest.fixture
def store(mongo_url: str) -> Iterator[MongoStore]:
    # SecantusDB answers a streaming monitor only every 10 s, also when it has something new to say; mongod at once.
    opened = open_mongo(StoreConfig("docs", StoreType.MONGO, f"{mongo_url}&serverMonitoringMode=poll"))
    yield opened
    opened.close()


def make_target(field: str = "e", collection: str = "c", **changes: Any) -> Target:
    of_rule = {key: changes.pop(key) for key in ("unit", "pull", "lifetime", "or_unit", "ttl_index") if key in changes}
    expiry = FieldExpiry(field, **of_rule)
    types = changes.pop("types", ())
    source = CollectionSource(collection, changes.pop("database", None), changes.pop("required", ()), types)
    defaults: dict[str, Any] = {"mode": Mode.DELETE, "pause": timedelta(0), "kind": "session", "pass_name": "sessions"}
    return Target("t", "docs", StoreType.MONGO, source=source, expiry=expiry, **(defaults | changes))


Clean = Callable[..., TargetReport]


@pytest.fixture
def clean() -> Clean:
    """A whole pass over one target without Dagster: scan, every shard, recount."""

    def _clean(store: Store, target: Target, size: int = 1000) -> TargetReport:
        plan = scan(store, target, dry_run=False)
        outcomes: list[ShardOutcome] = []
        limits = Limits(batch_size=size, pause=timedelta(0), first_backoff=timedelta(milliseconds=1))
        for shard in plan.work.shards:
            clean_shard(store, target, plan.work, shard, plan.cutoff, limits, Watch(outcomes.append))
        return fold_target(plan, outcomes, store.survivors(target, plan.cutoff, timedelta(seconds=10)))

    return _clean


@pytest.fixture
def fail(mongo_server: Server) -> Iterator[Callable[..., None]]:
    """Arm mongod's failCommand for some commands; off again afterwards."""
    with pymongo.MongoClient(mongo_server.url) as client:

        def arm(commands: list[str], times: int = 1, **data: Any) -> None:
            point = {"configureFailPoint": "failCommand", "mode": {"times": times}}
            client.admin.command({**point, "data": {"failCommands": commands, **data}})

        yield arm
        client.admin.command({"configureFailPoint": "failCommand", "mode": "off"})
