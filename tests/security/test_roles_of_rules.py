"""The logins of `cleanup-pipeline roles`, for every preset and every kind of rule that there is."""

import re
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from redis import Redis

from cleanup_pipeline.cli.plan_making import make_plan
from cleanup_pipeline.cli.roles import script
from cleanup_pipeline.layouts import layouts
from cleanup_pipeline.ledger import open_ledger
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.model.words import Mode, PassStatus, StoreType
from cleanup_pipeline.settings import Settings, load_settings
from cleanup_pipeline.stores.base import StoreError
from cleanup_pipeline.stores.open import open_store
from cleanup_pipeline.stores.postgres.relation import stays
from cleanup_pipeline.stores.redis.containers import is_container_rule, open_containers
from cleanup_pipeline.stores.redis.preflight import container_probes, probes_of
from cleanup_pipeline.stores.redis.rights import needs
from cleanup_pipeline.stores.redis.rules import compile_rule
from tests.security.test_roles import FUTURE, PAST, ROOT, allow, ran
from tests.stores.redis.redis_support import running, valkey

URLS = {"postgres": "postgresql://h/app", "redis": "redis://h/0", "mongo": "mongodb://h/app"}
SOURCES = {
    "postgres": {"table": "t"},
    "mongo": {"collection": "c"},
    "hash_field": {"keys": "k:*", "key_type": "hash"},
    "score": {"keys": "k:*", "key_type": "zset"},
    "members_of": {"keys": "k:*", "key_type": "set"},
    "redis": {"keys": "k:*", "key_type": "string"},
}


def documented() -> list[tuple[str, dict[str, Any]]]:
    """Store and `expires` of each rule that docs/settings.md has."""
    text = (ROOT / "docs" / "settings.md").read_text("utf-8")
    rows = re.findall(r"^\| (postgres|mongo|redis) \| `(\{.*?\})` \|", text, re.MULTILINE)
    return [(store, yaml.safe_load(rule.replace("[...]", "[{column: a}, {column: b}]"))) for store, rule in rows]


def of_docs(folder: Path) -> list[Target]:
    targets = {}
    for number, (store, expires) in enumerate(documented()):
        first = next(iter(expires))
        kind = first if first in SOURCES else store
        key = {"keys": "revoked_token:*"} if "jwt_key" in expires else {}
        key = {"keys": "refresh_index:*"} if "pointer_to" in expires else key
        key = {"keys": "user_sessions:*"} if "index" in expires else key
        targets[f"t{number}"] = {"store": store, **SOURCES[kind], **key, "expires": expires}
    file = folder / "cleanup.yaml"
    stores = {name: {"type": name, "url": url} for name, url in URLS.items()}
    file.write_text(yaml.safe_dump({"stores": stores, "targets": targets}))
    return list(load_settings(file, {}).targets)


def of_presets() -> list[Target]:
    return [
        Target(
            f"{name}{number}", str(each.store_type), each.store_type, each.pass_name, each.kind, each.source,
            each.expiry, where=each.where, guards=each.guards, set_null=each.set_null, unset=each.unset,
            detach=each.detach, children_first=each.children_first, grace=each.grace, client=each.client,
            mode=Mode.DELETE,
        )
        for name, preset in layouts().items()
        for number, each in enumerate(preset.every_layout())
    ]  # fmt: skip


def test_every_preset_and_every_rule_has_a_login(tmp_path: Path) -> None:
    targets = [*of_presets(), *of_docs(tmp_path)]
    assert len(targets) > 110 and {each.store_type for each in targets} == set(StoreType)
    for target in targets:
        kind = str(target.store_type)
        text = script(StoreConfig(kind, target.store_type, URLS[kind]), [target])
        match target.store_type:
            case StoreType.POSTGRES:
                grants = [line for line in text.splitlines() if line.startswith("GRANT SELECT")]
                assert ("DELETE" in grants[0]) is not stays(target), target.name
                assert "INSERT" not in text
            case StoreType.REDIS:
                granted = set(re.findall(r" \+(\S+)", text))
                asked = set(needs(probes_for(target)))
                assert asked <= granted, (target.name, asked - granted)
            case StoreType.MONGO:
                assert '"find"' in text and ('"remove"' in text) is not ('["find", "listIndexes", "update"]' in text)


def probes_for(target: Target) -> list[Any]:
    if is_container_rule(target):
        # Asked for nothing: the server need not be there.
        walk = open_containers(Redis(), target, datetime.now(UTC), delete=True)
        reads, changes = container_probes(walk)
    else:
        reads, changes = probes_of(compile_rule(target))
    return [*reads, *changes]


TABLES = """
CREATE TABLE plain (id text PRIMARY KEY, app text, expires_at timestamptz, secret text);
INSERT INTO plain SELECT n::text, 'web', now() + CASE WHEN n < 20 THEN -1 ELSE 1 END * interval '9 days', 'x'
FROM generate_series(1, 25) n;
CREATE TABLE planted (id int PRIMARY KEY, secret inet, token varchar(60) NOT NULL, expires_at timestamptz);
INSERT INTO planted SELECT n, NULL, n::text, now() + CASE WHEN n < 20 THEN -1 ELSE 1 END * interval '9 days'
FROM generate_series(1, 25) n;
CREATE TABLE users (id int PRIMARY KEY, provider text, tokens jsonb, secret text);
INSERT INTO users SELECT n, 'email', jsonb_build_object('a', jsonb_build_object('expiry', 1600000000)), 'x'
FROM generate_series(1, 5) n;
CREATE TABLE parts (id int, name text, expires_at timestamptz, secret text, PRIMARY KEY (id, name))
PARTITION BY RANGE (id);
CREATE TABLE parts_low PARTITION OF parts FOR VALUES FROM (0) TO (10);
CREATE TABLE parts_high PARTITION OF parts FOR VALUES FROM (10) TO (99);
INSERT INTO parts SELECT n, 'x', now() + CASE WHEN n < 20 THEN -1 ELSE 1 END * interval '9 days', 'x'
FROM generate_series(1, 25) n;
CREATE TABLE codes (id int, code text, ends timestamptz) PARTITION BY RANGE (id);
CREATE TABLE codes_low PARTITION OF codes FOR VALUES FROM (0) TO (99);
INSERT INTO codes SELECT n, 'c', now() - interval '9 days' FROM generate_series(1, 7) n;
"""
POSTGRES = """
cleanup: {batch_size: 10, pause: 0s}
stores: {main: {type: postgres, url: "${URL}"}}
targets:
  plain: {store: main, table: plain, expires: {column: expires_at}, client: app, mode: delete}
  planted: {store: main, table: planted, expires: {column: expires_at}, canaries: true, mode: delete}
  users:
    store: main
    table: users
    expires: {entries_of: tokens, at: expiry, unit: s}
    where: {provider: email}
    mode: delete
  parts: {store: main, table: parts, expires: {column: expires_at}, mode: delete}
  codes: {store: main, table: codes, expires: {column: ends}, set_null: [code, ends], mode: delete}
"""


def prepared(text: str, folder: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("CLEANUP_LEDGER_URL", f"sqlite:///{folder}/ledger.db")
    file = folder / "cleanup.yaml"
    file.write_text(text)
    return load_settings(file, {"URL": url})


def planned_and_ran(settings: Settings, folder: Path, unnamed: set[str]) -> dict[str, int]:
    """Each target planned, its records known one by one, and then a pass. What that deleted."""
    ledger = open_ledger(f"sqlite:///{folder}/ledger.db")
    plan_id, plans, faults = make_plan(settings, settings.targets, ledger)
    assert not faults, faults
    for plan in plans:
        assert plan.outline is not None
        known = ledger.plans.planned(plan_id, plan.target)
        assert known is not None and (known.cover is None) is (plan.target in unnamed), plan.outline.notes
        assert plan.outline.notes == () or plan.target in unnamed
    ledger.close()
    report = ran(settings)
    assert report.status is PassStatus.SUCCEEDED, [each.error for each in report.targets]
    return {each.target: each.deleted for each in report.targets}


def test_postgres(postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    login = postgres_url.replace("postgres@", "cleanup@")
    settings = prepared(POSTGRES, tmp_path, login, monkeypatch)
    with psycopg.connect(postgres_url, autocommit=True) as db:
        db.execute(TABLES)
        db.execute(script(settings.stores["main"], list(settings.targets)))
        try:
            deleted = planned_and_ran(settings, tmp_path, {"codes"})
            assert deleted == {"plain": 19, "planted": 19, "users": 5, "parts": 19, "codes": 7}
            assert db.execute("SELECT count(*) FROM users WHERE tokens = '{}'").fetchone() == (5,)
            with psycopg.connect(login, autocommit=True) as own:
                for forbidden in (
                    "DELETE FROM users", "UPDATE users SET provider = 'x'", "SELECT secret FROM users",
                    "INSERT INTO users VALUES (9)", "INSERT INTO plain VALUES (9)", "SELECT secret FROM plain",
                    "SELECT secret FROM planted", "UPDATE planted SET token = 'x'", "SELECT secret FROM parts_low",
                    "DELETE FROM codes",
                ):  # fmt: skip
                    with pytest.raises(psycopg.errors.InsufficientPrivilege):
                        own.execute(forbidden)
            db.execute("REVOKE SELECT (tokens) ON users FROM cleanup")
            store = open_store(settings.stores["main"])
            with closing(store), pytest.raises(StoreError, match=r"lacks SELECT \(tokens\) on users"):
                store.preflight(next(each for each in settings.targets if each.name == "users"))
        finally:
            db.execute("DROP OWNED BY cleanup; DROP ROLE cleanup")


REDIS = """
cleanup: {batch_size: 10, pause: 0s}
stores: {cache: {type: redis, url: "${URL}"}}
targets:
  hashes: {store: cache, keys: "h:*", key_type: hash, expires: {hash_field: e}, canaries: true, mode: delete}
  json: {store: cache, keys: "j:*", key_type: string, expires: {json: e, unit: s}, canaries: true, mode: delete}
  value: {store: cache, keys: "v:*", key_type: string, expires: {value: s}, mode: delete}
  elements:
    store: cache
    keys: "l:*"
    key_type: string
    expires: {elements: json, at: e, unit: s, member: t, target_key: "k:{member}"}
    mode: delete
"""


def test_redis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(valkey(), tmp_path) as server, Redis.from_url(server.url) as client:
        for n in range(20):
            dies = PAST if n < 15 else FUTURE
            client.hset(f"h:{n}", "e", dies)
            client.set(f"j:{n}", f'{{"e": {dies}}}')
            client.set(f"v:{n}", dies)
        client.set("l:some", f'[{{"t": "a", "e": {PAST}}}, {{"t": "b", "e": {FUTURE}}}, {{"t": "c", "e": {PAST}}}]')
        client.set("l:all", f'[{{"t": "d", "e": {PAST}}}]')
        client.set("k:c", 1)
        settings = prepared(REDIS, tmp_path, server.url.replace("//", "//cleanup:pw@"), monkeypatch)
        allow(client, settings)
        deleted = planned_and_ran(settings, tmp_path, {"elements"})
        assert deleted == {"hashes": 15, "json": 15, "value": 15, "elements": 2}
        assert client.exists("l:all") == 0 and client.get("l:some").count(b"{") == 2  # type: ignore[union-attr]


def test_mongo_plants_with_insert(tmp_path: Path) -> None:
    rule = "{store: m, collection: x, expires: {field: e}, mode: delete, canaries: true}"
    file = tmp_path / "cleanup.yaml"
    file.write_text(f"stores: {{m: {{type: mongo, url: 'mongodb://h/app'}}}}\ntargets: {{k: {rule}}}\n")
    settings = load_settings(file, {})
    text = script(settings.stores["m"], list(settings.targets))
    assert '["app", "x", ["find", "insert", "listIndexes", "remove"]]' in text
