"""Keys that are planted: what each rule takes them for, that no count has them, and where none can be planted."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis import Redis
from redis_support import census, drain, in_two_steps, target

from cleanup_pipeline.engine.canaries import verdict, wanted
from cleanup_pipeline.model.canary import CANARY_PREFIX, Canary, CanarySettings
from cleanup_pipeline.model.target import (
    HashFieldExpiry,
    JsonExpiry,
    JwtKeyExpiry,
    MembersExpiry,
    NativeTtl,
    Target,
    ValueExpiry,
)
from cleanup_pipeline.model.words import EpochUnit
from cleanup_pipeline.stores.redis import RedisStore

HOUR = timedelta(hours=1)
RULES = {
    "hash": target("s:*:[ab]", "hash", HashFieldExpiry("e", EpochUnit.MILLISECONDS, repair_ttl=True)),
    "string": target("s:*", "string", ValueExpiry()),
    "iso": target("s:*", "string", JsonExpiry(("a", "b"))),
    "json": target("s:*", "string", JsonExpiry(("a",), EpochUnit.SECONDS, ttl_wins=True)),
    "jwt": target("revoked:*", "string", JwtKeyExpiry("revoked:")),
}


def plant(store: RedisStore, of: Target) -> tuple[list[Canary], datetime]:
    cutoff = store.clock() - of.grace
    here = store.canaries(of)
    assert here.refusals() == []
    several = list(here.make(wanted(CanarySettings(), cutoff, None, of.grace, datetime.now(UTC))))
    here.plant(several, cutoff)
    return several, cutoff


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("excluding", [False, True])
def test_only_the_expired_one_goes_and_none_is_counted(
    store: RedisStore, client: "Redis[Any]", name: str, excluding: bool
) -> None:
    of = replace(RULES[name], canaries=CanarySettings(), grace=HOUR)
    of = in_two_steps(of) if excluding else of
    several, cutoff = plant(store, of)
    assert len(several) == 5 and all(CANARY_PREFIX.encode() in key for key in client.scan_iter())
    seen = census(store, of, cutoff)
    assert (seen.live, seen.expired, seen.without_expiry, seen.unparsable, dict(seen.details)) == (0, 0, 0, 0, {})
    # Without the mark they are counted like any other key.
    seen = census(store, replace(of, canaries=None), cutoff)
    assert (seen.live, seen.expired, seen.without_expiry, seen.unparsable) == (2, 1, 1, 1)

    outcomes = drain(store, of, cutoff)
    assert sum(each.deleted + each.scanned + each.live + each.repaired for each in outcomes) == 0
    there = store.canaries(of).present(several)
    assert (verdict(several, there).alarm, verdict(several, there).left, len(there)) == (None, False, 4)
    store.canaries(of).remove(several)
    assert client.keys() == []


def test_rules_that_read_something_else_and_servers_that_evict(store: RedisStore, client: "Redis[Any]") -> None:
    for expiry in (NativeTtl(), MembersExpiry(("s:{member}",))):
        [finding] = store.canaries(target("s:*", "set", expiry, canaries=CanarySettings())).refusals()
        assert "this rule reads something else" in finding.what
    of = target("s:*", "string", ValueExpiry(), canaries=CanarySettings(), exclude=("*canary*",))
    assert "no key that the target's patterns take" in store.canaries(of).refusals()[0].what

    of = target("s:*", "string", ValueExpiry(), canaries=CanarySettings())
    client.config_set("maxmemory-policy", "allkeys-lru")
    client.config_set("maxmemory", "1gb")
    try:
        [finding] = store.canaries(of).refusals()
        assert "the server evicts keys" in finding.what
    finally:
        client.config_set("maxmemory", "0")
        client.config_set("maxmemory-policy", "noeviction")
    assert store.canaries(of).refusals() == []
