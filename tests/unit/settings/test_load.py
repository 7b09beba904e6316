"""What a right file means."""

from datetime import timedelta
from pathlib import Path

import pytest

from cleanup_pipeline.layouts import layouts
from cleanup_pipeline.model.target import (
    ColumnExpiry,
    Expiry,
    FieldExpiry,
    HashFieldExpiry,
    JsonExpiry,
    JwtKeyExpiry,
    KeySource,
    NativeTtl,
    PointerExpiry,
    TableSource,
    Target,
    ValueExpiry,
)
from cleanup_pipeline.model.words import EpochUnit, Mode, StoreType
from cleanup_pipeline.settings import Settings, load_settings

from .conftest import Load

URLS = {
    "CLEANUP_POSTGRES_URL": "postgresql://app:hunter2@db/app",
    "CLEANUP_REDIS_URL": "redis://cache",
    "CLEANUP_MONGO_URL": "mongodb://docs/app",
}


def intervals(settings: Settings) -> dict[str, str]:
    return {name: str(settings.passes[name].every) for name in settings.passes}


def only(settings: Settings) -> Target:
    (target,) = settings.targets
    return target


def test_the_example_loads() -> None:
    example = Path(__file__).parents[3] / "examples" / "cleanup.yaml"
    settings = load_settings(example, URLS)
    modes = {target.name: target.mode for target in settings.targets}
    assert modes == {
        "django_sessions": Mode.DELETE,
        "flask_sessions": Mode.DELETE,
        "reset_links": Mode.DRY_RUN,
        "login_links": Mode.DRY_RUN,
        "api_sessions": Mode.DRY_RUN,
    }
    assert {name: store.type for name, store in settings.stores.items()} == {
        "main": StoreType.POSTGRES,
        "cache": StoreType.REDIS,
        "docs": StoreType.MONGO,
    }
    assert settings.stores["main"].url == URLS["CLEANUP_POSTGRES_URL"]
    assert [target.name for target in settings.targets_of("verification_tokens")] == ["reset_links", "login_links"]


AGREEING = """
cleanup: {session_interval: 2h, session_cleanup_interval: 120m, batch_size: 500}
passes: {sessions: {every: 2h}, verification_tokens: {every: 15m}}
"""


@pytest.mark.parametrize(
    "text",
    [
        'cleanup: {enabled: true, session_interval: "2h", verification_interval: "15m", batch_size: 500}',
        "app: {cleanup: {session_cleanup_interval: 2h, verification_cleanup_interval: 15m, batch_size: 500}}",
        AGREEING,
    ],
)
def test_the_keys_of_the_brief_in_all_spellings(load: Load, text: str) -> None:
    settings = load(text + "\ntargets: {a: {store: main, table: t, expires: {column: e}}}")
    assert intervals(settings) == {"sessions": "2:00:00", "verification_tokens": "0:15:00"}
    assert only(settings).batch_size == 500


def test_defaults(load: Load) -> None:
    settings = load("targets: {a: {store: main, table: t, expires: {column: e}}}")
    assert settings.enabled
    assert intervals(settings) == {"sessions": "1:00:00", "verification_tokens": "0:30:00"}
    target = only(settings)
    assert target == Target(
        name="a",
        store="main",
        store_type=StoreType.POSTGRES,
        pass_name="sessions",
        kind="session",
        source=TableSource("t"),
        expiry=ColumnExpiry("e"),
        where={},
        grace=timedelta(0),
        mode=Mode.DRY_RUN,
        batch_size=1000,
        pause=timedelta(milliseconds=30),
        operation_timeout=timedelta(minutes=5),
    )


def test_the_environment_wins(load: Load) -> None:
    text = """
cleanup: {enabled: true, session_cleanup_interval: 2h, batch_size: 500, pause: 1s}
passes: {sessions: {every: 2h}}
targets: {a: {store: main, table: t, expires: {column: e}}}
"""
    environ = {
        "CLEANUP_ENABLED": "false",
        "CLEANUP_SESSION_INTERVAL": "3h",
        "CLEANUP_VERIFICATION_INTERVAL": "10m",
        "CLEANUP_BATCH_SIZE": "7",
        "CLEANUP_OPERATION_TIMEOUT": "1m",
        "CLEANUP_PAUSE": "0",
        "CLEANUP_ROW_LIMIT": "99",
        "CLEANUP_MAX_SHARDS": "2",
        "CLEANUP_CENSUS_TIMEOUT": "3s",
        "CLEANUP__TARGETS__A__GRACE": "7d",
        "CLEANUP__TARGETS__A__WHERE__KIND": "4",
        "CLEANUP__STORES__MAIN__POOL_SIZE": "2",
        "CLEANUP__STORES__MAIN__URL": "postgres://other:hunter2@elsewhere/db",
    }
    settings = load(text, environ)
    target = only(settings)
    assert not settings.enabled
    assert intervals(settings) == {"sessions": "3:00:00", "verification_tokens": "0:10:00"}
    assert (target.batch_size, target.row_limit, target.max_shards) == (7, 99, 2)
    assert (target.operation_timeout, target.pause) == (timedelta(minutes=1), timedelta(0))
    assert (target.census_timeout, target.grace) == (timedelta(seconds=3), timedelta(days=7))
    assert dict(target.where) == {"kind": 4}
    assert settings.stores["main"].pool_size == 2
    assert settings.stores["main"].url == "postgres://other:hunter2@elsewhere/db"


def test_a_targets_own_limit_is_nearer_than_the_general_one(load: Load) -> None:
    text = "cleanup: {batch_size: 500}\ntargets: {a: {store: main, table: t, expires: {column: e}, batch_size: 3}}"
    assert only(load(text)).batch_size == 3
    assert only(load(text, {"CLEANUP_BATCH_SIZE": "700"})).batch_size == 3


PLAIN = "targets: {a: {store: %s, %s, expires: %s}}"


@pytest.mark.parametrize(
    ("store", "source", "rule", "expected"),
    [
        ("main", "table: t", "{column: e}", ColumnExpiry("e")),
        ("main", "table: t", "{column: e, zone: utc}", ColumnExpiry("e", zone="UTC")),
        ("main", "table: t", "{column: e, zone: Europe/Berlin}", ColumnExpiry("e", zone="Europe/Berlin")),
        ("main", "table: t", "{column: e, unit: ns}", ColumnExpiry("e", unit=EpochUnit.NANOSECONDS)),
        ("docs", "collection: c", "{field: a.b, unit: ms}", FieldExpiry("a.b", EpochUnit.MILLISECONDS)),
        ("cache", "keys: 's:*'", "{hash_field: e}", HashFieldExpiry("e", EpochUnit.SECONDS)),
        ("cache", "keys: 's:*'", "{json: a.b}", JsonExpiry(("a", "b"))),
        ("cache", "keys: 's:*'", "{json: a, unit: ms}", JsonExpiry(("a",), EpochUnit.MILLISECONDS)),
        ("cache", "keys: 's:*'", "{json: a, ttl_wins: true}", JsonExpiry(("a",), ttl_wins=True)),
        ("cache", "keys: 's:*'", "{value: ms}", ValueExpiry(EpochUnit.MILLISECONDS)),
        ("cache", "keys: 's:*'", "{jwt_key: 's:'}", JwtKeyExpiry("s:")),
        ("cache", "keys: 's:*'", "{ttl: native}", NativeTtl()),
        (
            "cache",
            "keys: 's:*'",
            "{pointer_to: 'x:', prefix: 's:', matches: m, hash_field: e, unit: ms}",
            PointerExpiry("s:", "x:", "m", HashFieldExpiry("e", EpochUnit.MILLISECONDS)),
        ),
    ],
)
def test_every_expiry_rule(load: Load, store: str, source: str, rule: str, expected: Expiry) -> None:
    assert only(load(PLAIN % (store, source, rule))).expiry == expected


def test_the_type_of_key_follows_the_rule(load: Load) -> None:
    assert only(load(PLAIN % ("cache", "keys: 's:*'", "{hash_field: e}"))).source == KeySource("s:*", "hash")
    assert only(load(PLAIN % ("cache", "keys: 's:*'", "{value: s}"))).source == KeySource("s:*", "string")
    zset = PLAIN % ("cache", "keys: 's:*', key_type: zset, exclude: ['s:x:*']", "{ttl: native}")
    assert only(load(zset)).source == KeySource("s:*", "zset", ("s:x:*",))


def test_tables_and_their_schemas(load: Load) -> None:
    assert only(load(PLAIN % ("main", "table: auth.t", "{column: e}"))).source == TableSource("t", "auth")
    assert only(load(PLAIN % ("main", "table: a.t, schema: auth", "{column: e}"))).source == TableSource("a.t", "auth")


def test_a_layout_and_what_a_target_says_itself(load: Load) -> None:
    assert only(load("targets: {a: {store: main, layout: django-sessions}}")).source == (
        layouts()["django-sessions"].resolve()[0].source
    )
    text = """
targets:
  a:
    store: main
    layout: sso-reset-password-tokens
    table: sso.links
    where: {endpoint: x}
    expires: {column: dies_at}
    grace: 0
    pass: sessions
    kind: link
    mode: delete
    if_missing: skip
"""
    target = only(load(text))
    columns = ("token", "user_id", "endpoint", "recipient", "token_type_id", "created_at")
    assert target.source == TableSource("links", "sso", columns)
    assert target.expiry == ColumnExpiry("dies_at")
    assert dict(target.where) == {"token_type_id": 1, "endpoint": "x"}
    assert (target.grace, target.pass_name, target.kind) == (timedelta(0), "sessions", "link")
    assert (target.layout, target.mode, target.if_missing_skip) == ("sso-reset-password-tokens", Mode.DELETE, True)


def test_what_is_switched_off_is_not_there_but_has_to_be_right(load: Load) -> None:
    settings = load("targets: {a: {store: main, table: t, expires: {column: e}, enabled: false}}")
    assert settings.targets == ()
    assert not load("passes: {sessions: {enabled: false}}").passes["sessions"].enabled


def test_sections_may_be_empty(load: Load) -> None:
    settings = load("cleanup:\npasses:\n  sessions:\ntargets:\n")
    assert settings.targets == ()
    assert intervals(settings) == {"sessions": "1:00:00", "verification_tokens": "0:30:00"}


@pytest.mark.parametrize("text", [None, "cleanup: {batch_size: 10}"])
def test_without_stores_and_targets_the_environment_names_them(
    text: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if text:
        Path("cleanup.yaml").write_text(text)
    settings = load_settings(None, {**URLS, "CLEANUP_PAUSE": "1s"})
    assert {name: store.url for name, store in settings.stores.items()} == {
        "postgres": URLS["CLEANUP_POSTGRES_URL"],
        "redis": URLS["CLEANUP_REDIS_URL"],
        "mongo": URLS["CLEANUP_MONGO_URL"],
    }
    assert {(target.name, target.store) for target in settings.targets} == {
        (layout.name.replace("-", "_"), layout.store_type.value) for layout in layouts().values() if layout.default
    }
    for target in settings.targets:
        assert (target.mode, target.if_missing_skip) == (Mode.DELETE, True)
        assert target.pause == timedelta(seconds=1)
        assert target.batch_size == (10 if text else 1000)


def test_only_the_stores_that_are_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load_settings(None, {"CLEANUP_REDIS_URL": "valkey://cache", "CLEANUP_MONGO_URL": ""})
    assert {target.store for target in settings.targets} == {"redis"}
    assert settings.stores["redis"].url == "redis://cache"
    nothing = load_settings(None, {})
    assert (dict(nothing.stores), nothing.targets, nothing.source) == ({}, (), "environment")


def test_a_file_with_stores_gets_no_targets_that_nobody_wrote(load: Load) -> None:
    settings = load("", URLS)
    assert (list(settings.stores), settings.targets) == (["main", "cache", "docs"], ())


def test_a_url_out_of_a_file(load: Load, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("postgres://app:hunter2@db/app\n")
    settings = load("", stores="stores: {main: {type: postgres, url_file: secret}}\n")
    assert settings.stores["main"].url == "postgres://app:hunter2@db/app"
