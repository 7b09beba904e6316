"""`layouts show NAME --commands` for MongoDB and Redis: what is printed is what a pass sends."""

import json
from datetime import UTC, datetime

import pymongo
import pytest
from bson import json_util
from typer.testing import CliRunner

from cleanup_pipeline.cli.layouts import app
from cleanup_pipeline.layouts import layouts
from cleanup_pipeline.model.target import CollectionSource
from cleanup_pipeline.model.words import StoreType
from cleanup_pipeline.settings.targets import targets_of
from cleanup_pipeline.stores.mongo.showing import shown as shown_mongo
from cleanup_pipeline.stores.redis.showing import shown as shown_redis

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
OF = {kind: [p.name for p in layouts().values() if p.store_type is kind] for kind in StoreType}


@pytest.mark.parametrize("name", OF[StoreType.MONGO])
def test_every_command_of_mongodb_is_one_that_a_server_takes(name: str, mongo_url: str) -> None:
    client: pymongo.MongoClient[dict[str, object]]
    with pymongo.MongoClient(mongo_url) as client:
        for target in targets_of(layouts()[name], layouts()[name].every_layout(), "t", "main"):
            (_, found), (title, changed) = shown_mongo(target, NOW)
            assert changed.count('"$in": "<ids>"') == 1
            assert isinstance(target.source, CollectionSource)
            assert json.loads(found)["find"] == target.source.collection
            client.get_default_database().command(json_util.loads(found))
            answer = client.get_default_database().command(json_util.loads(changed.replace('"<ids>"', "[]")))
            assert answer["ok"] == 1 and "writeErrors" not in answer
            assert title.startswith("change" if target.unset or "$pull" in changed else "delete")


@pytest.mark.parametrize("name", OF[StoreType.REDIS])
def test_every_layout_of_redis_can_be_shown(name: str) -> None:
    for target in targets_of(layouts()[name], layouts()[name].every_layout(), "t", "main"):
        (title, scan), *others = shown_redis(target, NOW)
        assert target.source_name in scan and title.startswith("find keys")
        assert others


def test_it_is_printed() -> None:
    said = CliRunner().invoke(app, ["show", "connect-redis", "--commands", "--param", "unused=90d"])
    assert said.exit_code == 0, said.output
    assert "SCAN {cursor} MATCH sess:* TYPE string" in said.output
    said = CliRunner().invoke(app, ["show", "parse-sessions", "--sql"])
    assert '"_session_token"' in said.output and "_perishable_token" in said.output
