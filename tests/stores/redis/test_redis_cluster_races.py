# ruff: noqa: F401, F811
"""Ways in which deletion could go wrong, each on a real server."""

from datetime import timedelta

import msgspec
from redis_support import POINTERS, target
from test_redis_cluster import clean, cluster, keys, nodes, now, store

from cleanup_pipeline.model.target import JsonExpiry, MembersExpiry
from cleanup_pipeline.model.words import EpochUnit
from cleanup_pipeline.stores.redis import pointers, references


def test_keys_of_one_slot_that_take_long_to_read_all_go(store, cluster, now):
    """A script that meets its time leaves keys behind: whoever sent it has to ask how many it got through."""
    second = int(now.timestamp())
    value = msgspec.json.encode({"exp": second - 100, "data": [list(range(2000))] * 20})
    for n in range(120):
        cluster.set(f"j:{{app}}:{n}", value)
    cleaned = target("j:*", "string", JsonExpiry(("exp",), EpochUnit.SECONDS))
    assert store.survivors(cleaned, now, timedelta(seconds=30)) == 120
    removed = clean(store, cleaned, now)
    left = len(keys(cluster))
    assert (store.survivors(cleaned, now, timedelta(seconds=30)), removed) == (left, 120)
    assert left == 0


def test_a_pointer_in_the_slot_of_its_record_is_judged_by_the_script_that_removes_it(
    store,
    cluster,
    now,
    monkeypatch,
):
    second = int(now.timestamp())
    cluster.hset("session:{u}:d", mapping={"refresh_token": "{u}t", "expires_at": second - 100})
    cluster.set("refresh_index:{u}t", "session:{u}:d")
    send = pointers.run_scripts

    def after_a_refresh(*args, **kwargs):
        cluster.hset("session:{u}:d", "expires_at", second + 3600)
        return send(*args, **kwargs)

    monkeypatch.setattr(pointers, "run_scripts", after_a_refresh)
    clean(store, POINTERS, now)
    assert cluster.exists("refresh_index:{u}t") == 1


def test_a_login_while_other_containers_are_cleaned_keeps_its_member(store, cluster, now, monkeypatch):
    for user in range(40):
        cluster.sadd(f"user:{user}", "gone", f"of{user}")
    cluster.set("session:live", "x")
    send, first = references.run_scripts, []

    def then_log_in(client, script, calls, **kwargs):
        answer = send(client, script, calls, **kwargs)
        if not first:
            first.append(calls[0].keys[0])
            for user in range(40):
                cluster.set(f"session:of{user}", "x")
        return answer

    monkeypatch.setattr(references, "run_scripts", then_log_in)
    clean(store, target("user:*", "set", MembersExpiry(("session:{member}",))), now)
    lost = [n for n in range(40) if not cluster.sismember(f"user:{n}", f"of{n}") and f"user:{n}".encode() not in first]
    assert lost == []
