"""Each MongoDB and Redis preset over records as its framework writes them, part by part."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import redis

from cleanup_pipeline.engine.limits import limits_of
from cleanup_pipeline.engine.loop import Watch, clean_shard
from cleanup_pipeline.engine.scan import scan
from cleanup_pipeline.layouts import layouts
from cleanup_pipeline.model.outcome import ShardOutcome
from cleanup_pipeline.model.words import StoreType
from cleanup_pipeline.reporting.fold import fold_target
from cleanup_pipeline.stores.base import StoreError
from cleanup_pipeline.stores.redis import references, sweep
from tests.layouts.case import targets_for
from tests.layouts.key_places import MongoPlace, Place, RedisPlace, clean
from tests.layouts.keys_case import KeyCase, case_names, encoder, fates, read_key_case

ALL = [(kind, name) for kind in (StoreType.MONGO, StoreType.REDIS) for name in case_names(kind)]


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody signs in meanwhile."""
    monkeypatch.setattr(references, "SETTLE_SECONDS", 0)
    monkeypatch.setattr(sweep, "SETTLE_SECONDS", 0)


@pytest.fixture(params=ALL, ids=[name for _, name in ALL])
def case(request: pytest.FixtureRequest) -> KeyCase:
    return read_key_case(*request.param, datetime.now(UTC).replace(microsecond=0))


@pytest.fixture
def place(case: KeyCase, request: pytest.FixtureRequest) -> Iterator[Place]:
    mongo = case.store_type is StoreType.MONGO
    url = request.getfixturevalue("mongo_url" if mongo else "redis_url")
    yield MongoPlace(url) if mongo else RedisPlace(url)


def test_what_has_to_go_goes_and_nothing_else(case: KeyCase, place: Place) -> None:
    targets = targets_for(layouts()[case.name], case.params, case.columns)
    written = place.write(case, targets)
    reports = clean(place, targets)
    assert fates(case, written, place.read(case, targets)) == (set(), set())
    assert all(not report.survivors and report.deleted == report.expired_found for report in reports.values())
    for what, wanted in case.counts.items():
        assert sum(getattr(report, what) or 0 for report in reports.values()) == wanted, what
    again = clean(place, targets)
    assert not any(report.deleted for report in again.values())


def test_the_naive_command_does_what_the_case_says(case: KeyCase, place: Place) -> None:
    targets = targets_for(layouts()[case.name], case.params, case.columns)
    for naive in case.naive:
        written = {key: record for key, record in place.write(case, targets).items() if record in case.records}
        place.do(naive.command, targets)
        killed, missed = fates(case, written, place.read(case, targets))
        assert killed == set(naive.kills), naive.command
        assert set(naive.misses) <= missed, naive.command


def _principals(client: "redis.Redis", codec: str, members: int) -> str:
    key = (
        "spring:session:index:org.springframework.session.FindByIndexNameSessionRepository.PRINCIPAL_NAME_INDEX_NAME:a"
    )
    for number in range(members):
        client.sadd(key, encoder(codec)(f"s{number}"))
        client.hset(f"spring:session:sessions:s{number}", "maxInactiveInterval", "x")
    return key


@pytest.mark.parametrize(("written", "said"), [("jdk", "raw"), ("jdk", "json"), ("json", "jdk"), ("json", "raw")])
def test_members_that_are_written_otherwise_end_the_pass(redis_url: str, written: str, said: str) -> None:
    """Read wrongly, a member names no key, and every one of them looks dangling."""
    targets = targets_for(layouts()["spring-session-redis"], {"codec": said}, {})
    with redis.Redis.from_url(redis_url) as client:
        key = _principals(client, written, 30)
        with pytest.raises(StoreError, match="30 of 30 members"):
            clean(RedisPlace(redis_url), targets)
        client.flushall()
        # From a few nothing is concluded, and nothing is removed.
        _principals(client, written, 5)
        (report,) = clean(RedisPlace(redis_url), targets).values()
        assert (report.deleted, report.unparsable, client.scard(key)) == (0, 5, 5)


def test_an_index_of_which_no_session_is_there_is_refused(redis_url: str) -> None:
    """A wrong namespace, or a set that is itself what makes tokens valid."""
    params = {"index": "refresh:", "tokens": "token:"}
    with redis.Redis.from_url(redis_url) as client:
        client.sadd("refresh:7", "a", "b")
        with pytest.raises(StoreError, match=r"no key matches token:\*, so every member would be removed"):
            clean(RedisPlace(redis_url), targets_for(layouts()["redis-refresh-set"], params, {}))
        assert client.scard("refresh:7") == 2


def test_pointers_that_dangle_since_the_pass_began_do_not_make_it_red(redis_url: str) -> None:
    """The sessions of the same layout may go while their pointers are looked at: those are the next pass's."""
    with redis.Redis.from_url(redis_url) as client:
        client.mset({f"user:session:{n}": "{}" for n in range(3)})
        client.mset({f"user:session:by-user-id:{n}": f"user:session:{n}" for n in range(4)})
        target = targets_for(layouts()["authjs-upstash"], {}, {})[1]
        store = RedisPlace(redis_url).open()
        plan = scan(store, target, dry_run=False)
        outcomes: list[ShardOutcome] = []
        clean_shard(
            store, target, plan.work, plan.work.shards[0], plan.cutoff, limits_of(target), Watch(outcomes.append)
        )
        client.delete("user:session:0", "user:session:1")
        left = store.survivors(target, plan.cutoff, timedelta(seconds=9))
        report = fold_target(plan, outcomes, left)
        assert (left, report.survivors, report.deleted, report.error) == (2, 0, 1, None)
        # What was found and not removed is left all the same.
        assert fold_target(plan, [], left).survivors == 1
        store.close()
