"""Which finding is provoked where, and that none is without a test: a new code has to come into one of the tables.

Each table's own file has both halves: a test that provokes the finding, and one in which it is not there.
"""

import ast
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pymongo
import pytest
from redis import Redis

import cleanup_pipeline
from cleanup_pipeline.engine import checkup
from cleanup_pipeline.engine.brakes import History, Look
from cleanup_pipeline.engine.looks import look_of, skew_of
from cleanup_pipeline.engine.scan import scan
from cleanup_pipeline.ledger.braking import Held
from cleanup_pipeline.ledger.judging import judged
from cleanup_pipeline.model.brake import Brake, BrakeName, Release
from cleanup_pipeline.model.lease import Lease
from cleanup_pipeline.model.plan import Plan
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.target import CollectionSource, FieldExpiry, JsonExpiry, KeySource
from cleanup_pipeline.model.window import Window
from cleanup_pipeline.model.words import Mode, Severity, StoreType
from cleanup_pipeline.stores.base import ImplausibleError, Leases
from cleanup_pipeline.stores.open import open_store
from cleanup_pipeline.stores.tls import tls_findings
from tests.checkup import test_mongo_findings as mongo
from tests.checkup import test_postgres_findings as postgres
from tests.checkup import test_redis_findings as redis
from tests.checkup.looking import NOWHERE, WEB, Looked, look

OF_ENGINE = {
    "clock": "test_clocks",
    "clock.apart": "test_clocks",
    "refused": "test_what_could_not_be_seen",
    "unseen": "test_what_could_not_be_seen",
    "implausible-expiry": "test_what_every_pass_would_refuse",
    "way.plain": "test_the_way_to_a_store",
    "way.unchecked": "test_the_way_to_a_store",
    "too-large": "test_values_too_large_to_read",
    "not-approved": "test_what_a_scan_says",
    "unparsable": "test_what_a_scan_says",
    "beside-backfill": "test_beside_a_backfill",
    "would-brake": "test_what_is_said_of_brakes",
    "brakes-unknown": "test_what_is_said_of_brakes",
    "brake-let-go": "test_what_is_said_of_brakes",
}
_CANARIES = "tests/dagster/test_canaries.py"
ELSEWHERE = {
    "applied": "tests/plans/test_apply.py::test_it_keeps_to_the_plan",
    "drift": "tests/plans/test_apply.py::test_a_sample_where_there_are_too_many_to_keep",
    "drift.arrived": "tests/plans/test_apply.py::test_it_keeps_to_the_plan",
    "only-reports": "tests/plans/test_only_reports.py::test_apply_leaves_it_alone",
    "undated": "tests/plans/test_apply.py::test_records_that_die_with_others_cannot_be_planned",
    "window-closed": "tests/plans/test_apply.py::test_a_plan_is_made_at_any_hour",
    "canaries.refused": "tests/stores/postgres/test_canaries.py::test_triggers_and_rights",
    "canaries.ttl": "tests/stores/mongo/test_canaries.py::test_a_ttl_index_leaves_nothing_to_prove_about_the_dead",
    "canaries.planted": f"{_CANARIES}::test_planted_watched_and_gone_without_a_trace_in_any_figure",
    "canaries.others": f"{_CANARIES}::test_a_later_run_takes_what_is_dead_by_then_without_counting_it",
    "members.missing": "tests/stores/fleet/test_schemas.py::test_tenants_that_differ_are_told_and_keep_nobody_back",
    "members.refused": "tests/stores/fleet/test_schemas.py::test_tenants_that_differ_are_told_and_keep_nobody_back",
    "members.away": "tests/stores/fleet/test_places.py::test_a_server_whose_schemas_nobody_knows_is_told_of",
    "canaries.unknown": f"{_CANARIES}::test_windows_that_are_filled_at_the_same_time_do_not_miss_each_others",
}
"""Those of plans and canaries: both halves are in tests of their own."""
PROVOKED: Mapping[str, set[str]] = {
    "test_postgres_findings.py": postgres.PROVOKED,
    "test_redis_findings.py": redis.PROVOKED,
    "test_mongo_findings.py": mongo.PROVOKED,
    "test_every_finding.py": set(OF_ENGINE),
    "elsewhere": set(ELSEWHERE),
}


def codes_in_code() -> Iterator[str]:
    for file in Path(cleanup_pipeline.__path__[0]).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Finding":
                [code] = [each.value for each in node.keywords if each.arg == "code"] or [None]
                place = f"{file.name}:{node.lineno}: a finding needs a code of its own"
                assert isinstance(code, ast.Constant) and isinstance(code.value, str) and code.value, place
                yield code.value


def test_every_finding_of_the_code_is_provoked_somewhere() -> None:
    tested = set().union(*PROVOKED.values())
    assert set(codes_in_code()) == tested


def test_the_tests_of_the_engine_are_there() -> None:
    assert all(callable(globals().get(name)) for name in OF_ENGINE.values())
    for place in ELSEWHERE.values():
        file, name = place.split("::")
        assert f"def {name}(" in (Path(__file__).parents[2] / file).read_text(encoding="utf-8"), place


@pytest.fixture
def url(postgres_url: str) -> str:
    with psycopg.connect(postgres_url, autocommit=True) as db:
        db.execute(postgres.BASE)
    return postgres_url


def test_clocks(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    codes = look(url).codes
    assert "clock" in codes and "clock.apart" not in codes
    fast = lambda: datetime.now(UTC) + timedelta(minutes=5)  # noqa: E731
    monkeypatch.setattr(checkup, "skew_of", lambda store: skew_of(store, fast))
    found = look(url)
    assert "clock" not in found.codes
    assert found.of("clock.apart").severity is Severity.ERROR
    assert found.of("clock.apart").remedy == "set both by NTP"


def test_what_could_not_be_seen(url: str) -> None:
    assert not {"refused", "unseen"} & look(url).codes
    assert look(NOWHERE).of("refused").severity is Severity.ERROR
    with psycopg.connect(url) as other:
        # What preflight reads goes by without it, what `check` asks besides does not.
        other.execute("LOCK pg_publication IN ACCESS EXCLUSIVE MODE")
        found = look(url, lock_timeout=timedelta(milliseconds=50))
    assert found.of("unseen").severity is Severity.INFO


def test_what_every_pass_would_refuse(url: str, mongo_url: str) -> None:
    assert not {"implausible-expiry", "unparsable"} & look(url).codes
    with psycopg.connect(url, autocommit=True) as db:
        db.execute("UPDATE web SET expires_at = '1970-01-02' WHERE id > 500")
        assert look(url).of("unparsable").severity is Severity.WARNING
        db.execute("UPDATE web SET expires_at = '1970-01-02'")
    found = look(url).of("implausible-expiry")
    assert found.severity is Severity.ERROR and "before 2001" in found.what and "`unit`" in found.remedy
    with pytest.raises(ImplausibleError, match="before 2001"):
        planned(url)
    late = replace(WEB, store_type=StoreType.MONGO, source=CollectionSource("late"), expiry=FieldExpiry("at"))
    with pymongo.MongoClient[Any](mongo_url) as client:
        client.get_default_database().late.insert_one({"at": datetime(2990, 1, 1, tzinfo=UTC)})
    assert "after 2100" in look(mongo_url, late).of("implausible-expiry").what


def test_the_way_to_a_store() -> None:
    def codes(host: str, *, encrypted: bool, verified: bool) -> list[str]:
        return [each.code for each in tls_findings([host], encrypted=encrypted, verified=verified, remedy="do")]

    assert codes("db.example.com", encrypted=False, verified=False) == ["way.plain"]
    assert codes("db.example.com", encrypted=True, verified=False) == ["way.unchecked"]
    assert codes("db.example.com", encrypted=True, verified=True) == []
    assert codes("127.0.0.1", encrypted=False, verified=False) == []


def test_values_too_large_to_read(redis_url: str) -> None:
    keys = replace(WEB, store_type=StoreType.REDIS, source=KeySource("s:*", "string"), expiry=JsonExpiry(("exp",)))
    config = StoreConfig("main", StoreType.REDIS, redis_url)
    with Redis.from_url(redis_url) as client, closing(open_store(config)) as store:
        client.set("s:1", '{"exp": 2000000000}')
        assert "too-large" not in Looked(scan(store, keys, dry_run=False).findings).codes
        client.set("s:2", '{"exp": 2000000000, "x": "' + "x" * 2**20 + '"}')
        assert Looked(scan(store, keys, dry_run=False).findings).of("too-large").severity is Severity.WARNING


def planned(url: str, **changes: object) -> Plan:
    store = open_store(StoreConfig("main", StoreType.POSTGRES, url))
    try:
        return scan(store, replace(WEB, **changes), dry_run=False)  # type: ignore[arg-type]
    finally:
        store.close()


def test_what_a_scan_says(url: str) -> None:
    assert not {"not-approved", "unparsable"} & Looked(planned(url).findings).codes
    assert "not-approved" in Looked(planned(url, mode=Mode.DRY_RUN).findings).codes
    with psycopg.connect(url, autocommit=True) as db:
        db.execute("UPDATE web SET expires_at = '1970-01-02' WHERE id > 500")
    assert "check `expires`" in Looked(planned(url).findings).of("unparsable").remedy


def test_beside_a_backfill(url: str) -> None:
    now = datetime.now(UTC)
    window = Window(start=now - timedelta(hours=1), end=now, shares=False)
    store = open_store(StoreConfig("main", StoreType.POSTGRES, url))
    try:
        assert isinstance(store, Leases)
        assert "beside-backfill" not in Looked(scan(store, WEB, dry_run=False, window=window).findings).codes
        of_backfill = Lease("a backfill", 0, "host", window="2026")
        assert isinstance(store.acquire(WEB, of_backfill), Lease)
        found = Looked(scan(store, WEB, dry_run=False, window=window).findings)
    finally:
        store.close()
    assert found.of("beside-backfill").severity is Severity.INFO


def test_what_is_said_of_brakes(url: str) -> None:
    now = datetime.now(UTC)
    plan = planned(url, mode=Mode.DRY_RUN)
    look_ = look_of(plan, {})
    changed = History(recent=(Look(now, shape="bigint", expired=1, live=1, unparsable=0),))
    brake = Brake(BrakeName.CHANGED, "", about="bigint -> timestamp with time zone")
    release = Release(brake, "somebody@host", now + timedelta(hours=1), once=False)
    held = Held("1", "web", brake, "run", now, now, now, release)

    def codes(answer: "tuple[History, tuple[Held, ...]] | None") -> set[str]:
        return Looked(judged(lambda _: answer, WEB, plan, look_, now).plan.findings).codes

    said = {"would-brake", "brakes-unknown", "brake-let-go"}
    assert not said & codes((History(), ()))
    assert codes((changed, ())) & said == {"would-brake"}
    assert codes((changed, (held,))) & said == {"brake-let-go"}
    assert codes(None) & said == {"brakes-unknown"}
