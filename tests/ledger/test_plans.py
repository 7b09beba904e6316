"""Plans in a ledger, on SQLite and PostgreSQL."""

from datetime import UTC, datetime, timedelta
from threading import Barrier, Thread

import pytest

from cleanup_pipeline.engine.cover import Collector, Cover, Follower, hash_of
from cleanup_pipeline.ledger import Ledger, open_ledger
from cleanup_pipeline.ledger.plans import ToKeep, id_of_run, new_id
from cleanup_pipeline.model.outcome import ShardOutcome, Tally
from cleanup_pipeline.model.plan import Census, Plan, Shard, Work
from cleanup_pipeline.model.words import StopReason, StoreType

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def to_keep(target: str = "web", cover: Cover | None = None) -> ToKeep:
    census = Census(live=1, expired=2, without_expiry=0, unparsable=0, exact=True)
    work = Work("index_walk", "", (Shard(0),))
    plan = Plan(target, "main", StoreType.POSTGRES, "session", NOW, dry_run=False, census=census, work=work)
    return ToKeep(plan, "sessions", {"grace": "ab"}, {"target": target}, "k1", cover)


def cover_of(*names: str) -> Cover:
    collector = Collector()
    for name in names:
        collector.add(hash_of(b"key", name))
    return collector.cover()


def test_kept_found_and_read(ledger: Ledger) -> None:
    plans = ledger.plans
    plans.keep("abcd012345", [to_keep(cover=cover_of("a", "b")), to_keep("app")], now=NOW, made_by="ann@host")
    plans.keep("abff012345", [to_keep()], now=NOW + DAY)
    plans.keep(id_of_run("0123-4567-89ab"), [to_keep()], now=NOW, run_id="0123-4567-89ab")
    row = plans.find("abcd")
    assert row is not None and (row.id, row.made_by, row.expires_at) == ("abcd012345", "ann@host", NOW + DAY)
    assert [each.target for each in row.targets] == ["app", "web"] and row.state(NOW) == "open"
    assert row.state(NOW + DAY) == "void"
    assert plans.find("ab") is None and plans.find("zz") is None and plans.find("%") is None
    assert [each.id for each in plans.newest(9, by_hand=True)] == ["abff012345", "abcd012345"]
    assert len(plans.newest(9)) == 3
    assert plans.of_runs(["0123-4567-89ab", "other"]) == {"0123-4567-89ab": "0123456789"}
    planned = plans.planned("abcd012345", "web")
    assert planned is not None and planned.facets == {"grace": "ab"} and planned.until == NOW + DAY
    assert plans.planned("abcd012345", "none") is None


def test_used_once_by_whoever_comes_first(url: str) -> None:
    opened = open_ledger(url)
    opened.plans.keep("abcd012345", [to_keep()], now=NOW)
    barrier, said = Barrier(4), dict[str, str]()

    def claim(run_id: str) -> None:
        own = open_ledger(url)
        barrier.wait()
        said[run_id] = own.plans.claim("abcd012345", "web", run_id, {"planned": 2}, NOW)
        own.close()

    threads = [Thread(target=claim, args=(f"run{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [first] = set(said.values())
    assert first in said and opened.plans.applied_by("abcd012345", "web") == first
    # What was applied is not written over.
    opened.plans.keep("abcd012345", [to_keep()], now=NOW)
    row = opened.plans.find("abcd012345")
    assert row is not None and row.state(NOW) == "applied" and row.targets[0].drift == {"planned": 2}
    opened.close()


def test_what_is_over_goes(ledger: Ledger) -> None:
    ledger.plans.keep("abcd012345", [to_keep(cover=cover_of("a"))], now=NOW)
    assert ledger.plans.planned("abcd012345", "web").cover is not None  # type: ignore[union-attr]
    ledger.plans.keep(new_id(), [to_keep()], now=NOW + DAY + timedelta(minutes=1))
    assert ledger.plans.planned("abcd012345", "web").cover is None  # type: ignore[union-attr]
    # That it knew its records one by one is not forgotten.
    assert ledger.plans.planned("abcd012345", "web").covered == 1  # type: ignore[union-attr]
    # By 30 days at the latest, sooner where history is kept for less.
    assert ledger.prunable(400 * DAY, NOW + 29 * DAY).watched == 0
    assert ledger.prunable(400 * DAY, NOW + 30.5 * DAY).watched == 2
    assert ledger.prune(10 * DAY, NOW + 12 * DAY).watched == 4
    assert ledger.plans.newest(9) == []


def test_what_a_run_needs_stays_for_as_long_as_runs_take(ledger: Ledger) -> None:
    """An applied plan keeps its cover past its own end, and one that covers nothing has a cover too."""
    ledger.plans.keep("abcd012345", [to_keep(cover=cover_of("a")), to_keep("app", cover=cover_of())], now=NOW)
    assert ledger.plans.planned("abcd012345", "app").cover == cover_of()  # type: ignore[union-attr]
    late = NOW + DAY - timedelta(minutes=1)
    ledger.plans.claim("abcd012345", "web", "r1", {}, late)
    for after, there in ((2 * timedelta(hours=1), True), (DAY + timedelta(minutes=1), False)):
        ledger.plans.keep(new_id(), [to_keep()], now=late + after)
        assert (ledger.plans.planned("abcd012345", "web").cover is not None) is there  # type: ignore[union-attr]


def test_one_key_for_all(url: str) -> None:
    one, other = open_ledger(url), open_ledger(url)
    assert one.plans.key(NOW) == other.plans.key(NOW + DAY) and len(one.plans.key(NOW)) == 32
    one.close()
    other.close()


def test_measured(ledger: Ledger) -> None:
    assert ledger.plans.measured("web") is None
    for n in range(7):
        tally = Tally(deleted=100 * n, batches=n, paused_seconds=1.0, waited_seconds=0.5)
        ledger.record_shard(f"r{n}", ShardOutcome("web", 0, tally, StopReason.EXHAUSTED, 4.0))
    measured = ledger.plans.measured("web")
    # The last five that removed something.
    assert measured is not None and (measured.passes, measured.deleted, measured.batches) == (5, 2000, 20)
    assert (measured.seconds, measured.idle_seconds) == (20.0, 7.5)


@pytest.mark.parametrize("most", [3, 100])
def test_a_cover_knows_its_own(most: int) -> None:
    collector = Collector(most)
    names = [f"record {n}" for n in range(50)]
    for name in [*names, *names[:1]]:
        collector.add(hash_of(b"key", name))
    cover = collector.cover()
    assert (len(cover), cover.whole) == (min(most, 50), most > 50)
    assert list(cover.numbers()) == sorted(hash_of(b"key", name) for name in names)[:most]
    follower = Follower(cover)
    met = [
        follower.meet(hash_of(b"key", name), expired=n % 2 == 0) for n, name in enumerate([*names[:40], "new", "late"])
    ]
    assert met[:40] == [False] * 40
    if cover.whole:
        assert met[40:] == [True, False] and follower.counts() == (20, 10, 20, 1)
    assert not cover.packed.count(b"record")
