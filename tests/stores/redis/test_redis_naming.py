"""Keys named one by one, on every server: what the script of a pass says of them, and nothing else."""

from collections import Counter
from datetime import timedelta

import pytest
from redis_support import SESSIONS, census

from cleanup_pipeline.model.outline import State
from cleanup_pipeline.stores.base import BatchTimeoutError

SOON = timedelta(seconds=9)


def test_named_as_they_are_counted(store, client, now):
    second = int(now.timestamp())
    for n, expires in enumerate([second - 9, second - 99, second + 99, 0, "odd", None]):
        client.hset(f"session:u:{n}", mapping={"user": n, **({} if expires is None else {"expires_at": expires})})
    client.set("session:u:text", "another type")
    before = {key: client.dump(key) for key in client.scan_iter()}
    named = list(store.sightings(SESSIONS, now, SOON))
    counted = census(store, SESSIONS, now)
    found = Counter(each.state for each in named)
    assert found == {State.EXPIRED: 2, State.LIVE: 1, State.WITHOUT_EXPIRY: 2, State.UNPARSABLE: 1}
    assert tuple(found[state] for state in State) == (
        counted.expired,
        counted.live,
        counted.without_expiry,
        counted.unparsable,
    )
    dies = {each.id: int(each.dies.timestamp()) for each in named if each.dies is not None}
    assert dies == {"session:u:0": second - 9, "session:u:1": second - 99, "session:u:2": second + 99}
    assert {key: client.dump(key) for key in client.scan_iter()} == before, "nothing is changed, no TTL given back"


def test_it_ends_in_time(store, client, now):
    for n in range(500):
        client.hset(f"session:u:{n}", "expires_at", 1)
    with pytest.raises(BatchTimeoutError, match="could not be read in the time that there is"):
        list(store.sightings(SESSIONS, now, timedelta(0)))
