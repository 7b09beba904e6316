"""Canaries in a pass, on real servers of all three stores."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pymongo
import pytest
import redis

from cleanup_pipeline.cli.plan_making import make_plan
from cleanup_pipeline.dagster_defs import names
from cleanup_pipeline.dagster_defs.build import build_defs
from cleanup_pipeline.dagster_defs.canaries import EVENT, Cage
from cleanup_pipeline.dagster_defs.closing import close_pass
from cleanup_pipeline.dagster_defs.resources import ledger_url
from cleanup_pipeline.dagster_defs.switches import ALL, paused, resume
from cleanup_pipeline.dagster_defs.undoing import undo_run
from cleanup_pipeline.dagster_defs.windows import partition_tags, windows_of
from cleanup_pipeline.ledger import Ledger, open_ledger
from cleanup_pipeline.ledger.canaries import Canaries
from cleanup_pipeline.model.alert import AlertSeverity
from cleanup_pipeline.model.canary import CANARY_PREFIX
from cleanup_pipeline.model.outcome import BatchOutcome, Cursor, PassReport
from cleanup_pipeline.model.plan import Plan, Shard, Work
from cleanup_pipeline.model.removed import Fate
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.model.words import PassStatus, StopReason
from cleanup_pipeline.settings import Settings, load_settings
from cleanup_pipeline.settings.notifications import Channel, ChannelType, NotificationSettings
from cleanup_pipeline.settings.settings import PassSettings
from cleanup_pipeline.stores.base import StoreError
from cleanup_pipeline.stores.open import Opener, open_store
from cleanup_pipeline.stores.postgres import strategy
from tests.dagster.conftest import Run

HOUR = timedelta(hours=1)

STORES = """
cleanup: {pause: 0s}
stores:
  main: {type: postgres, url: "${CLEANUP_POSTGRES_URL}"}
  cache: {type: redis, url: "${CLEANUP_REDIS_URL}"}
  docs: {type: mongo, url: "${CLEANUP_MONGO_URL}"}
targets:
"""
TARGETS = {
    "web": "{store: main, table: web, expires: {column: expires_at}, grace: 1h, mode: delete, canaries: CANARIES}",
    "keys": "{store: cache, keys: 's:*', key_type: hash, expires: {hash_field: e}, grace: 1h, mode: delete,"
    " canaries: CANARIES}",
    "docs": "{store: docs, collection: docs, expires: {field: e}, grace: 1h, mode: delete, canaries: CANARIES}",
}
EXPIRED, LIVE, WITHOUT = 7, 3, 2


@dataclass
class Stores:
    postgres: str
    redis: str
    mongo: str

    def settings(self, folder: Path, *targets: str, canaries: str = "true") -> Settings:
        lines = [f"  {name}: {TARGETS[name].replace('CANARIES', canaries)}" for name in targets]
        file = folder / "cleanup.yaml"
        file.write_text(STORES + "\n".join(lines) + "\n")
        urls = {"POSTGRES": self.postgres, "REDIS": self.redis, "MONGO": self.mongo}
        keys = dict.fromkeys(
            ("CLEANUP_REMOVAL_KEY", "CLEANUP_QUARANTINE_KEY"), "0123456789abcdefghijklmnopqrstuvwxyz0123"
        )
        return load_settings(file, {**keys, **{f"CLEANUP_{name}_URL": url for name, url in urls.items()}})

    def fill(self) -> None:
        now = datetime.now(UTC)
        dead, alive = now - timedelta(days=2), now + timedelta(days=1)
        rows = [(f"dead{n}", dead) for n in range(EXPIRED)] + [(f"live{n}", alive) for n in range(LIVE)]
        rows += [(f"never{n}", None) for n in range(WITHOUT)]
        with psycopg.connect(self.postgres, autocommit=True) as db:
            db.cursor().executemany("INSERT INTO web VALUES (%s, '', %s) ON CONFLICT DO NOTHING", rows)
        with redis.Redis.from_url(self.redis) as client:
            for name, at in rows:
                client.hset(f"s:{name}", mapping={"e": int(at.timestamp())} if at else {"u": "1"})
        with pymongo.MongoClient(self.mongo) as mongo:
            for name, at in rows:
                document = {"_id": name, **({"e": at} if at else {})}
                mongo.get_default_database()["docs"].replace_one({"_id": name}, document, upsert=True)

    def ids(self) -> set[str]:
        """Of every record that there is, in any store."""
        with psycopg.connect(self.postgres) as db:
            found = {row[0] for row in db.execute("SELECT id FROM web")}
        with redis.Redis.from_url(self.redis) as client:
            found |= {key.decode() for key in client.scan_iter("s:*")}
        with pymongo.MongoClient(self.mongo) as client:
            found |= {row["_id"] for row in client.get_default_database()["docs"].find()}
        return found

    def marked(self) -> set[str]:
        return {each for each in self.ids() if CANARY_PREFIX in each}


@pytest.fixture
def stores(postgres_url: str, redis_url: str, mongo_url: str) -> Stores:
    made = Stores(postgres_url, redis_url, mongo_url)
    with psycopg.connect(postgres_url, autocommit=True) as db:
        db.execute("CREATE TABLE web (id varchar(40) PRIMARY KEY, data text NOT NULL, expires_at timestamptz)")
    with pymongo.MongoClient(mongo_url) as mongo:
        mongo.get_default_database()["docs"].create_index("token", unique=True, sparse=True)
    made.fill()
    return made


@pytest.fixture
def ledger(instance: dg.DagsterInstance) -> Iterator[Ledger]:
    opened = open_ledger(ledger_url(instance))
    yield opened
    opened.close()


FIGURES = ("scanned", "expired_found", "deleted", "kept_live", "without_expiry", "unparsable", "survivors", "repaired")
OF_SHARD = ("deleted", "at_most", "scanned", "live", "repaired", "children", "parked")


def figures(report: PassReport, ledger: Ledger, run_id: str) -> list[Any]:
    detail = ledger.pass_of(run_id)
    assert detail is not None
    of_targets = [[each.target, *(getattr(each, name) for name in FIGURES)] for each in report.targets]
    return [*of_targets, *sorted([each.target, *(getattr(each, name) for name in OF_SHARD)] for each in detail.shards)]


@pytest.mark.parametrize("keeps", ["removal_ledger: true", "removal_ledger: true, quarantine: true"])
def test_canaries_are_kept_nowhere(
    stores: Stores, tmp_path: Path, run: Run, ledger: Ledger, instance: dg.DagsterInstance, keeps: str
) -> None:
    before, settings = stores.ids(), stores.settings(tmp_path, *TARGETS, canaries=f"true, {keeps}")
    result, report = run(settings)
    assert report.status is PassStatus.SUCCEEDED, [each.error for each in report.targets]
    assert {each.target: each.deleted for each in report.targets} == dict.fromkeys(TARGETS, EXPIRED)
    quarantined = EXPIRED if "quarantine" in keeps else None
    for name in TARGETS:
        [kept] = ledger.keepings.of(name)
        assert (kept.removal_records, kept.quarantine_records, kept.error) == (EXPIRED, quarantined, None), name
    assert stores.ids() == {each for each in before if "dead" not in each}
    if quarantined:
        undone = undo_run(settings, instance, result.run_id)
        assert [each.fates for each in undone.targets] == [{Fate.RESTORED: EXPIRED}] * 3
        assert stores.ids() == before


@pytest.mark.parametrize("index", [False, True])
def test_planted_watched_and_gone_without_a_trace_in_any_figure(
    stores: Stores, tmp_path: Path, run: Run, ledger: Ledger, instance: dg.DagsterInstance, index: bool
) -> None:
    if index:
        with psycopg.connect(stores.postgres, autocommit=True) as db:
            db.execute("CREATE INDEX ON web (expires_at)")
        with pymongo.MongoClient(stores.mongo) as mongo:
            mongo.get_default_database()["docs"].create_index("e")
    chosen = ["web", "docs"] if index else list(TARGETS)
    result, report = run(stores.settings(tmp_path, *chosen, canaries="false"))
    without = figures(report, ledger, result.run_id)
    stores.fill()

    result, report = run(stores.settings(tmp_path, *chosen))
    assert report.status is PassStatus.SUCCEEDED, [target.error for target in report.targets]
    for target in report.targets:
        assert any("5 canaries planted" in finding.what for finding in target.findings), target.target
        assert (target.expired_found, target.deleted, target.kept_live) == (EXPIRED, EXPIRED, LIVE)
    assert figures(report, ledger, result.run_id) == without
    assert stores.marked() == set()
    assert [ledger.canaries.of_runs(name) for name in TARGETS] == [[], [], []]
    assert paused(instance, "web") is None


def test_a_dry_run_plants_none(stores: Stores, tmp_path: Path, run: Run, ledger: Ledger) -> None:
    _, report = run(stores.settings(tmp_path, "web"), dry_run=True)
    assert report.status is PassStatus.DRY_RUN
    assert not any("canar" in finding.what for target in report.targets for finding in target.findings)
    assert ledger.canaries.of_runs("web") == []


def shifted(by: timedelta) -> Opener:
    """Stores that judge by another instant than they were told when they delete, as a zone that is wrong would have
    it."""

    def opened(config: StoreConfig) -> Any:
        store: Any = open_store(config)
        right = store.delete_batch

        def delete_batch(
            target: Target, work: Work, shard: Shard, cursor: Cursor | None, size: int, cutoff: datetime
        ) -> BatchOutcome:
            outcome: BatchOutcome = right(target, work, shard, cursor, size, cutoff + by)
            return outcome

        store.delete_batch = delete_batch
        return store

    return opened


@pytest.mark.parametrize("name", TARGETS)
def test_a_live_one_that_is_gone_stops_everything_and_pages(
    name: str, stores: Stores, tmp_path: Path, run: Run, ledger: Ledger, instance: dg.DagsterInstance
) -> None:
    settings = stores.settings(tmp_path, *TARGETS)
    channel = Channel("ops", ChannelType.WEBHOOK, "http://127.0.0.1:9/", min_severity=AlertSeverity.CRITICAL)
    settings = replace(settings, notifications=NotificationSettings(20, {"ops": channel}))
    alone = replace(settings, targets=tuple(each for each in settings.targets if each.name == name))
    result, report = run(alone, opener=shifted(timedelta(hours=3)))
    [target] = report.targets
    assert (report.status in {PassStatus.FAILED, PassStatus.PARTIAL}, target.stop_reason) == (True, StopReason.CANARY)
    assert f"targets.{name}: a canary within its grace and a live canary are gone" in str(target.error)
    assert report.reason == f"canaries of {name} are missing: every target is paused"
    tagged = instance.get_run_by_id(result.run_id)
    assert tagged is not None and tagged.tags[names.CANARY_TAG] == name
    assert target.deleted == EXPIRED + (0 if name == "keys" else 2)
    order = paused(instance, "whatever")
    assert order is not None and (order.target, order.until) == (ALL, None)
    [message] = ledger.outbox.kept()
    assert (message.event, message.body["severity"]) == (EVENT, "critical")
    assert "cleanup-pipeline resume --all" in message.body["text"] and CANARY_PREFIX not in str(message.body)
    assert stores.marked() == set()

    if name != "web":
        return
    before = stores.ids()
    _, report = run(settings)
    assert (report.status, stores.ids()) == (PassStatus.SKIPPED, before)
    resume(instance, ALL)
    _, report = run(settings)
    assert report.status is PassStatus.SUCCEEDED
    assert {each for each in stores.ids() if "dead" in each} == set()


@pytest.mark.parametrize(
    ("naive", "lost"),
    [
        ("expires_at IS NULL", "a canary without expiry"),
        ("expires_at < now() - interval '2 days'", "a canary whose expiry cannot be read"),
    ],
)
def test_one_that_never_expires_is_missed_too(
    naive: str, lost: str, stores: Stores, tmp_path: Path, run: Run, instance: dg.DagsterInstance
) -> None:
    def opened(config: StoreConfig) -> Any:
        store: Any = open_store(config)
        right = store.delete_batch

        def delete_batch(*args: Any) -> Any:
            with psycopg.connect(stores.postgres, autocommit=True) as db:
                db.execute(f"DELETE FROM web WHERE {naive}")  # type: ignore[call-overload]
            return right(*args)

        store.delete_batch = delete_batch
        return store

    _, report = run(stores.settings(tmp_path, "web"), opener=opened)
    [target] = report.targets
    assert target.stop_reason is StopReason.CANARY and f"{lost} is gone" in str(target.error)
    assert paused(instance, "web") is not None


def test_an_expired_one_that_stays_is_red_and_stops_nobody(
    stores: Stores, tmp_path: Path, run: Run, instance: dg.DagsterInstance
) -> None:
    _, report = run(stores.settings(tmp_path, *TARGETS), opener=shifted(-timedelta(minutes=5)))
    for target in report.targets:
        assert (target.stop_reason, target.deleted, target.survivors) == (StopReason.EXHAUSTED, EXPIRED, 0)
        assert "an expired canary is still there" in str(target.error)
    assert paused(instance, "web") is None
    assert stores.marked() == set()


def test_a_window_has_its_canaries_inside(
    stores: Stores, tmp_path: Path, ledger: Ledger, instance: dg.DagsterInstance
) -> None:
    job = build_defs(stores.settings(tmp_path, *TARGETS)).resolve_job_def("clean_sessions")
    hour = (datetime.now(UTC) - timedelta(days=2, hours=1)).strftime(windows_of(PassSettings("s", HOUR)).fmt)
    tags = {names.BACKFILL_TAG: "b", **partition_tags("clean_sessions", f"{hour[:-2]}00")}
    ran = job.execute_in_process(instance=instance, partition_key=f"{hour[:-2]}00", tags=tags, raise_on_error=False)
    report = close_pass(instance, ran.run_id, "sessions", job_targets(stores, tmp_path))
    assert [(each.error, each.deleted) for each in report.targets] == [(None, 0)] * 3
    assert stores.marked() == set()
    assert all(any("5 canaries" in finding.what for finding in each.findings) for each in report.targets)


def job_targets(stores: Stores, folder: Path) -> tuple[Target, ...]:
    return stores.settings(folder, *TARGETS).targets


def test_with_many_shards(
    stores: Stores, tmp_path: Path, run: Run, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strategy, "BLOCKS_PER_SHARD", 1)
    with psycopg.connect(stores.postgres, autocommit=True) as db:
        db.execute(
            "INSERT INTO web SELECT 'more' || n, repeat('x', 500), now() - interval '2 days'"
            " FROM generate_series(1, 100) n"
        )
        db.execute("VACUUM ANALYZE web")
    result, report = run(stores.settings(tmp_path, "web"))
    [target] = report.targets
    detail = ledger.pass_of(result.run_id)
    assert detail is not None and len(detail.shards) == 4
    assert (target.error, target.deleted, sum(shard.deleted for shard in detail.shards)) == (None, 107, 107)


def test_no_ledger_no_canaries_no_pass(
    stores: Stores, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = stores.ids()
    monkeypatch.setenv("CLEANUP_LEDGER_URL", "postgresql://nobody@127.0.0.1:9/none")
    _, report = run(stores.settings(tmp_path, "web"))
    assert "the ledger is away" in str(report.targets[0].error)
    assert stores.ids() == before


def test_a_shard_that_fails_leaves_none_and_its_repetition_is_watched(
    stores: Stores, tmp_path: Path, instance: dg.DagsterInstance, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The repetition does not scan again: its canaries are planted by the shard."""
    settings = stores.settings(tmp_path, "web", canaries="{allow_triggers: true}")
    for name, url in (("POSTGRES", stores.postgres), ("REDIS", stores.redis), ("MONGO", stores.mongo)):
        monkeypatch.setenv(f"CLEANUP_{name}_URL", url)
    job = dg.build_reconstructable_job("tests.dagster.jobs", "sessions_job", (str(tmp_path / "cleanup.yaml"),))
    config = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    seen: list[int] = []
    plain = Canaries.remember

    def counted(self: Canaries, run_id: str, target: str, several: Any, now: datetime, *, late: bool) -> bool:
        seen.append(len(several) * (-1 if late else 1))
        return plain(self, run_id, target, several, now, late=late)

    monkeypatch.setattr(Canaries, "remember", counted)
    with psycopg.connect(stores.postgres, autocommit=True) as db:
        db.execute(
            "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS"
            " $$BEGIN IF OLD.id LIKE 'dead%' THEN RAISE 'no' USING ERRCODE = 'P0001'; END IF; RETURN OLD; END$$"
        )
        db.execute("CREATE TRIGGER no BEFORE DELETE ON web FOR EACH ROW EXECUTE FUNCTION no()")
        with dg.execute_job(job, instance, run_config=config, tags={names.PASS_TAG: "sessions"}) as first:
            assert not first.success
        report = close_pass(instance, first.run_id, "sessions", settings.targets)
        assert (report.targets[0].deleted, report.targets[0].survivors, stores.marked()) == (0, EXPIRED, set())
        db.execute("DROP TRIGGER no ON web")
        again = dg.ReexecutionOptions.from_failure(first.run_id, instance)
        with dg.execute_job(job, instance, run_config=config, reexecution_options=again) as second:
            assert second.success
        report = close_pass(instance, second.run_id, "sessions", settings.targets)
    assert (report.targets[0].deleted, report.targets[0].survivors, stores.marked()) == (EXPIRED, 0, set())
    assert seen == [5, -5]
    assert ledger.canaries.of_runs("web") == []


def windowed(job: dg.JobDefinition, instance: dg.DagsterInstance, back: timedelta, targets: Any) -> PassReport:
    hour = (datetime.now(UTC) - back).strftime(windows_of(PassSettings("s", HOUR)).fmt)
    tags = {names.BACKFILL_TAG: "b", **partition_tags("clean_sessions", f"{hour[:-2]}00")}
    ran = job.execute_in_process(instance=instance, partition_key=f"{hour[:-2]}00", tags=tags, raise_on_error=False)
    return close_pass(instance, ran.run_id, "sessions", targets)


@pytest.mark.parametrize("first_plants_late", [False, True])
def test_windows_that_are_filled_at_the_same_time_do_not_miss_each_others(
    first_plants_late: bool,
    stores: Stores,
    tmp_path: Path,
    instance: dg.DagsterInstance,
    ledger: Ledger,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The one within the grace of one window is dead to the next."""
    targets = stores.settings(tmp_path, "web", "docs").targets
    job = build_defs(stores.settings(tmp_path, "web", "docs")).resolve_job_def("clean_sessions")
    before, inner = stores.ids(), list[PassReport]()
    method = "after_shard" if first_plants_late else "stand"
    plain: Any = getattr(Cage, method)
    begun: list[str] = []

    def between(self: Cage, *args: Any) -> Any:
        if not begun:
            begun.append(self.context.run_id)
            back = timedelta(days=2, hours=1) if first_plants_late else timedelta(days=2)
            inner.append(windowed(job, instance, back, targets))
        return plain(self, *args)

    monkeypatch.setattr(Cage, method, between)
    back = timedelta(days=2) if first_plants_late else timedelta(days=2, hours=1)
    outer = windowed(job, instance, back, targets)
    reports = [*outer.targets, *inner[0].targets]
    assert [(each.error, each.stop_reason) for each in reports] == [(None, StopReason.EXHAUSTED)] * 4
    assert paused(instance, "web") is None and stores.marked() == set()
    assert sum(each.deleted for each in reports) == 2 * len([each for each in before if each.startswith("dead")]) - sum(
        1 for each in _left(stores)
    )
    assert any("not known" in finding.what for each in outer.targets for finding in each.findings) != first_plants_late


def _left(stores: Stores) -> list[str]:
    """Dead ones that are there still, of the two targets."""
    with psycopg.connect(stores.postgres) as db:
        found = [row[0] for row in db.execute("SELECT id FROM web WHERE id LIKE 'dead%'")]
    with pymongo.MongoClient[Any](stores.mongo) as mongo:
        dead = {"_id": {"$regex": "^dead"}}
        return found + [row["_id"] for row in mongo.get_default_database()["docs"].find(dead)]


def test_a_later_run_takes_what_is_dead_by_then_without_counting_it(
    stores: Stores, tmp_path: Path, run: Run, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pass that is so slow that its live canary dies while it goes on."""
    monkeypatch.setattr("cleanup_pipeline.engine.canaries.LIVES_FOR", timedelta(hours=-3))
    monkeypatch.setattr("cleanup_pipeline.stores.postgres.canaries.RowCanaries._require", lambda *_: None)
    settings, plain, inner = stores.settings(tmp_path, "web"), Cage.stand, list[PassReport]()

    def stand(self: Cage, plan: Plan) -> None:
        if not inner:
            monkeypatch.setattr(Cage, "stand", plain)
            inner.append(run(settings)[1])
        plain(self, plan)

    monkeypatch.setattr(Cage, "stand", stand)
    outer = run(settings)[1].targets[0]
    [other] = inner[0].targets
    assert (other.error, other.deleted, other.expired_found) == (None, EXPIRED, EXPIRED)
    assert (outer.error, outer.deleted) == (None, 0)
    assert any("not known" in finding.what for finding in outer.findings)
    assert paused(instance, "web") is None and stores.marked() == set()


def died(cage: Cage, plan: Plan) -> None:
    raise StoreError("killed", setting="x", remedy="y")


def crash(settings: Settings, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass that ends with its canaries in the stores."""
    with monkeypatch.context() as patched:
        patched.setattr(Cage, "stand", died)
        patched.setattr(Cage, "clear", lambda self: None)
        run(settings)


def test_leftovers_go_whatever_the_settings_say_by_now(
    stores: Stores, tmp_path: Path, run: Run, ledger: Ledger, instance: dg.DagsterInstance, monkeypatch: Any
) -> None:
    crash(stores.settings(tmp_path, *TARGETS), run, monkeypatch)
    left = stores.marked()
    assert len(left) == 15

    without = stores.settings(tmp_path, *TARGETS, canaries="false")
    _, report = run(without, dry_run=True)
    assert [(each.expired_found, each.kept_live, each.without_expiry) for each in report.targets] == [
        (EXPIRED, LIVE, WITHOUT)
    ] * 3
    assert stores.marked() == left

    _, report = run(without)
    assert [(each.error, each.deleted) for each in report.targets] == [(None, EXPIRED)] * 3
    assert stores.marked() == set()
    assert [ledger.canaries.of_runs(name) for name in TARGETS] == [[], [], []]
    assert paused(instance, "web") is None


def test_leftovers_of_an_applied_plan_go_with_the_next_one(
    stores: Stores, tmp_path: Path, run: Run, ledger: Ledger, instance: dg.DagsterInstance, monkeypatch: Any
) -> None:
    """The target itself is only ever looked at."""
    monkeypatch.setitem(TARGETS, "web", TARGETS["web"].replace("mode: delete", "mode: dry_run"))
    settings = stores.settings(tmp_path, "web")
    job = build_defs(settings).resolve_job_def("clean_sessions")

    def apply() -> PassReport:
        plan_id, plans, faults = make_plan(settings, settings.targets, ledger)
        assert not faults and plans[0].census.expired == EXPIRED
        config = {"resources": {"pass_options": {"config": {"plan": plan_id}}}}
        ran = job.execute_in_process(instance=instance, run_config=config, raise_on_error=False)
        return close_pass(instance, ran.run_id, "sessions", settings.targets)

    with monkeypatch.context() as patched:
        patched.setattr(Cage, "stand", died)
        patched.setattr(Cage, "clear", lambda self: None)
        apply()
    assert len(stores.marked()) == 4
    _, report = run(settings)
    [target] = report.targets
    assert (target.error, target.expired_found, target.kept_live) == (None, EXPIRED, LIVE)
    assert len(stores.marked()) == 4
    [target] = apply().targets
    assert (target.error, target.deleted, stores.marked()) == (None, EXPIRED, set())
    assert paused(instance, "web") is None and ledger.canaries.of_runs("web") == []
