"""Each kind of wrong input, by the message it gets."""

from pathlib import Path

import pytest

from cleanup_pipeline.settings import SettingsError, load_settings

from .conftest import Faults


def target(text: str) -> str:
    return f"targets: {{a: {{{text}}}}}"


ON_MAIN = "store: main, table: t, expires: {column: e}"
NO_TABLE = "store: main, expires: {column: e}"


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        (target(f"{ON_MAIN}, batch_size: 0"), "a.batch_size", "found 0, expected a whole number from 1 to 1000"),
        (target(f"{ON_MAIN}, batch_size: 5000"), "a.batch_size", "found 5000, expected a whole number from 1 to 1000"),
        (target(f"{ON_MAIN}, batch_size: 1.5"), "a.batch_size", "found 1.5, expected a whole number from 1 to 1000"),
        (target(f"{ON_MAIN}, batch_size: true"), "a.batch_size", "found true, expected a whole number"),
        (target(f"{ON_MAIN}, batch_size: [1]"), "a.batch_size", "found a list, expected a whole number"),
        (target(f"{ON_MAIN}, max_shards: 51"), "a.max_shards", "found 51, expected a whole number from 1 to 50"),
        (target(f"{ON_MAIN}, row_limit: 0"), "a.row_limit", "found 0, expected a whole number, at least 1"),
        (target(f"{ON_MAIN}, grace: -1h"), "a.grace", "found '-1h', expected a duration such as"),
        (target(f"{ON_MAIN}, grace: 90"), "a.grace", "found 90, expected a duration such as"),
        (target(f"{ON_MAIN}, pause: -1ms"), "a.pause", "found '-1ms', expected a duration"),
        (target(f"{ON_MAIN}, operation_timeout: 6m"), "a.operation_timeout", "at most 5m"),
        (target(f"{ON_MAIN}, operation_timeout: 0"), "a.operation_timeout", "found 0, expected a duration"),
        (target(f"{ON_MAIN}, mode: remove"), "a.mode", "found 'remove', expected delete or dry_run"),
        (target(f"{ON_MAIN}, mode: delet"), "a.mode", "did you mean delete?"),
        (target(f"{ON_MAIN}, enabled: maybe"), "a.enabled", "found 'maybe', expected true or false"),
        (target(f"{ON_MAIN}, if_missing: ignore"), "a.if_missing", "expected error or skip"),
        (target(f"{ON_MAIN}, children: delete"), "a.children", "expected keep or delete_first"),
        (target(f"{ON_MAIN}, vacuum: yes please"), "a.vacuum", "expected true or false"),
        (
            target("store: docs, collection: c, expires: {field: e}, drop_partitions: true"),
            "a.drop_partitions",
            "found drop_partitions on a mongo store, expected no drop_partitions, which is for PostgreSQL",
        ),
        (
            target("store: docs, collection: c, expires: {field: e, pull: tokens}"),
            "a.expires",
            "expected a field within the array tokens, such as tokens.e",
        ),
        (target(f"{ON_MAIN}, kind: Reset-Link"), "a.kind", "a name of small letters"),
        (target(f"{ON_MAIN}, graec: 7d"), "a.graec", "found an unknown key"),
        (target(f"{ON_MAIN}, graec: 7d"), "a.graec", "did you mean grace?"),
        (target(f"{ON_MAIN}, where: {{a: null}}"), "a.where", "expected text, a whole number, true or false"),
        (target(f"{ON_MAIN}, where: {{a: 1.5}}"), "a.where", "expected text, a whole number, true or false"),
        (target(f"{ON_MAIN}, where: [a]"), "a.where", "found a list, expected a mapping of columns or fields"),
        (target(f"{ON_MAIN}, pass: sesions"), "a.pass", "did you mean sessions?"),
        (target(f"{ON_MAIN}, pass: nightly"), "a.pass", "a pass, one of sessions, verification_tokens"),
        (target("store: mian, table: t, expires: {column: e}"), "a.store", "did you mean main?"),
        (target("store: elsewhere"), "a.store", "expected a store, one of main, cache, docs"),
        (target("table: t, expires: {column: e}"), "a.store", "found nothing, expected the name of a store"),
        (target(NO_TABLE), "a", "found no source of records, expected table, because store main is postgres"),
        (
            target("store: main, table: t"),
            "a.expires",
            "found nothing, expected {column: ...}, {start: ..., lifetime: ...}",
        ),
        (target("store: main, table: a.b.c, expires: {column: e}"), "a.table", "a table, or schema.table"),
        (target("store: main, table: 5, expires: {column: e}"), "a.table", "found 5, expected a table"),
        (target("store: main, table: t, expires: {colum: e}"), "a.expires.colum", "did you mean column?"),
        (target("store: main, table: t, expires: {field: e}"), "a.expires", "found {field}, expected {column: ...}"),
        (target("store: main, table: t, expires: soon"), "a.expires", "found 'soon', expected a mapping with a rule"),
        (target("store: main, table: t, expires: {column: e, unit: us}"), "a.expires.unit", "expected s, ms or ns"),
        (target("store: main, table: t, expires: {column: e, zone: Mars}"), "a.expires.zone", "an IANA time zone"),
        (target("store: main, table: t, expires: {column: e, zone: ../x}"), "a.expires.zone", "an IANA time zone"),
        (target("store: cache, table: t, expires: {value: s}"), "a.table", "table, which only a postgres store has"),
        (target("store: cache, table: t, expires: {value: s}"), "a.table", "expected keys, a key pattern, because"),
        (
            target("store: docs, keys: 's:*', expires: {field: e}"),
            "a.keys",
            "expected collection, because store docs is",
        ),
        (target("store: docs, collection: system.users, expires: {field: e}"), "a.collection", "expected a collection"),
        (target("store: docs, collection: c, expires: {field: $e}"), "a.expires.field", "expected a field"),
        (target("store: cache, keys: '*', expires: {value: s}"), "a.keys", "it would match every key of the store"),
        (target("store: cache, keys: 's*', expires: {value: s}"), "a.keys", "at least 2 literal characters"),
        (target("store: cache, keys: '[s]ession', expires: {value: s}"), "a.keys", "it would match every key"),
        (target("store: cache, keys: 's:*', expires: {value: h}"), "a.expires.value", "expected s or ms"),
        (
            target("store: cache, keys: 's:*', expires: {hash_filed: e}"),
            "a.expires.hash_filed",
            "did you mean hash_field?",
        ),
        (target("store: cache, keys: 's:*', expires: {ttl: yes}"), "a.expires.ttl", "found true, expected native"),
        (target("store: cache, keys: 's:*', expires: {what: e}"), "a.expires", "one of {hash_field: ...}, {json: ...}"),
        (target("store: cache, keys: 's:*', key_type: hash, expires: {value: s}"), "a.key_type", "expected string"),
        (target("store: cache, keys: 's:*', exclude: x, expires: {value: s}"), "a.exclude", "expected a list"),
        (
            target("store: cache, keys: 's:*', where: {a: 1}, expires: {value: s}"),
            "a.where",
            "no where on a redis store",
        ),
        (target("store: cache, keys: 's:*', expires: {jwt_key: 't:'}"), "a.keys", "keys that begin with 't:'"),
        (
            target("store: cache, keys: 's:*', expires: {pointer_to: 'x:', prefix: 's:', hash_field: e}"),
            "a.expires",
            "both matches and hash_field, or neither",
        ),
        (target("store: main, layout: django-session"), "a.layout", "did you mean django-sessions?"),
        (target("store: main, layout: sso-sessions"), "a.layout", "for a redis store, expected a layout for main"),
        ("targets: [a]", "targets", "found a list, expected a mapping of names to targets"),
        ("targets: {a: 3}", "targets.a", "expected a mapping with store and either layout, or expires"),
        (f"targets: {{A: {{{ON_MAIN}}}}}", "targets.A", "the name 'A', expected a name of small letters"),
        (f"targets: {{summarize: {{{ON_MAIN}}}}}", "targets.summarize", "leave free"),
        (f"targets: {{import: {{{ON_MAIN}}}}}", "targets.import", "leave free"),
        ("cleanup: 3", "cleanup", "found 3, expected a mapping"),
        ("cleanup: {batch_size: 5000}", "cleanup.batch_size", "found 5000, expected a whole number from 1 to 1000"),
        ("cleanup: {batchsize: 10}", "cleanup.batchsize", "did you mean batch_size?"),
        ("cleanup: {session_interval: 90s}", "cleanup.session_interval", "a duration in whole minutes"),
        ("cleanup: {session_interval: 0}", "cleanup.session_interval", "at least 1m"),
        ("app: {cleanup: {batch_size: 0}}", "app.cleanup.batch_size", "found 0"),
        ("app: {cleanup: {}}\ncleanup: {}", "app.cleanup", "expected one of the two"),
        ("app: {port: 80}", "app.port", "an unknown key, expected one of cleanup"),
        ("app: 3", "app", "found 3, expected a mapping with cleanup"),
        ("target: {}", "target", "did you mean targets?"),
        ("passes: {nightly: {}}", "passes.nightly.every", "found nothing, expected a duration"),
        ("passes: {nightly: {evry: 1h}}", "passes.nightly.evry", "did you mean every?"),
        ("passes: {Nightly: {every: 1h}}", "passes.Nightly", "a name of small letters"),
        (
            "cleanup: {session_interval: 1h, session_cleanup_interval: 2h}",
            "cleanup.session_interval",
            "found 1h, but cleanup.session_cleanup_interval is 2h, expected the same in both",
        ),
        (
            "cleanup: {session_interval: 1h}\npasses: {sessions: {every: 2h}}",
            "passes.sessions.every",
            "found 2h, but cleanup.session_interval is 1h, expected the same in both",
        ),
    ],
)
def test_what_is_wrong_is_named(faults: Faults, text: str, path: str, message: str) -> None:
    path = path if path.split(".")[0] != "a" else f"targets.{path}"
    found = faults(text)
    assert list(found) == [path], found
    assert message in str(found[path])
    assert "\n" not in str(found[path])


def test_all_faults_at_once(tmp_path: Path) -> None:
    file = tmp_path / "cleanup.yaml"
    file.write_text(
        """
cleanup: {batch_size: 5000, pause: soon}
stores:
  main: {type: postgres, url: "${NOPE}", pool_size: 0}
  cache: {type: memcached, url: "redis://h"}
passes: {nightly: {every: 30s}}
targets:
  one: {store: main, table: t, expires: {colum: e}, batch_size: 0, grace: -1h}
  two: {store: cash, keys: 's:*', expires: {value: s}}
"""
    )
    with pytest.raises(SettingsError) as caught:
        load_settings(file, {"CLEANUP_MAX_SHARDS": "many", "CLEANUP__TARGETS__ONE__ROW_LIMIT": "few"})
    assert {fault.path for fault in caught.value.faults} == {
        "cleanup.batch_size",
        "cleanup.pause",
        "CLEANUP_MAX_SHARDS (cleanup.max_shards)",
        "stores.main.url",
        "stores.main.pool_size",
        "stores.cache.type",
        "passes.nightly.every",
        "targets.one.expires.colum",
        "targets.one.batch_size",
        "targets.one.grace",
        "CLEANUP__TARGETS__ONE__ROW_LIMIT (targets.one.row_limit)",
        "targets.two.store",
    }
    first, *lines = str(caught.value).split("\n")
    assert first == f"{file}: 12 faults, nothing is cleaned:"
    assert lines == [f"  {fault}" for fault in caught.value.faults]


@pytest.mark.parametrize(
    "variable", ["CLEANUP_ENABLED", "CLEANUP_SESSION_INTERVAL", "CLEANUP_BATCH_SIZE", "CLEANUP_PAUSE"]
)
def test_an_unreadable_variable_is_named(variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError) as caught:
        load_settings(None, {variable: "nonsense"})
    assert str(caught.value).startswith(f"environment: 1 fault, nothing is cleaned:\n  {variable} (cleanup.")
    assert "found 'nonsense'" in str(caught.value)


def test_an_unknown_nested_variable_is_named(faults: Faults) -> None:
    found = faults("", {"CLEANUP__STORES__MAIN__POOLSIZE": "3"})
    (fault,) = found.values()
    assert fault.path == "CLEANUP__STORES__MAIN__POOLSIZE (stores.main.poolsize)"
    assert fault.nearest == "pool_size"
