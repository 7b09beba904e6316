"""`init` finds every layout in the records that its framework writes, told apart from all others, and nothing else."""

from datetime import UTC, datetime
from typing import Any

import pymongo
import pytest
import redis

from cleanup_pipeline.layouts import layouts
from cleanup_pipeline.model.words import StoreType
from tests.layouts.case import targets_for
from tests.layouts.init_places import look
from tests.layouts.key_places import RedisPlace
from tests.layouts.keys_case import before, case_names, read_key_case

NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.mark.parametrize("name", case_names(StoreType.MONGO))
def test_each_collection_is_its_own(name: str, mongo_url: str) -> None:
    case = read_key_case(StoreType.MONGO, name, NOW)
    own = [record for record in case.records if not record.why.startswith("one of ")]
    params = {key: value for key, value in case.params.items() if key != "database"}
    with pymongo.MongoClient[Any](mongo_url) as client:
        for record in own:
            client.get_default_database()[record.place].insert_one(before(record.written))
    seen = look(StoreType.MONGO, mongo_url)
    assert seen.names == {name}
    one = seen.one(name)
    known = {key: value for key, value in params.items() if layouts()[name].params[key].type in {"flag", "collection"}}
    assert {key: value for key, value in one.params.items() if layouts()[name].params[key].type != "database"} == known
    assert set(one.missing) == {k for k in params if layouts()[name].params[k].required} - set(one.params)


@pytest.mark.parametrize("name", case_names(StoreType.REDIS))
def test_keys_of_each_kind_are_their_own(name: str, redis_url: str) -> None:
    case = read_key_case(StoreType.REDIS, name, NOW)
    RedisPlace(redis_url).write(case, targets_for(layouts()[name], case.params, case.columns))
    seen = look(StoreType.REDIS, redis_url)
    assert seen.names == {name}
    told = [{**{k: s.default for k, s in one.preset.params.items()}, **one.params} for one in seen.found]
    assert {**{k: s.default for k, s in layouts()[name].params.items()}, **_without(case.params, "unused")} in told


def _without(params: Any, name: str) -> dict[str, Any]:
    return {key: value for key, value in params.items() if key != name}


def test_all_keys_together(redis_url: str) -> None:
    """But those that say of the same keys that they are of two frameworks."""
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
        for name in case_names(StoreType.REDIS):
            for record in read_key_case(StoreType.REDIS, name, NOW).records:
                RedisPlace._set(client, record)
    assert look(StoreType.REDIS, redis_url).names == set(case_names(StoreType.REDIS))
