"""Targets that stand for many, stores that are several servers, budgets and ranges, as they are written."""

from pathlib import Path

import pytest

from cleanup_pipeline.model.members import Members
from cleanup_pipeline.model.target import Chunks
from cleanup_pipeline.settings import Settings, SettingsError, load_settings

ENVIRON = {"A": "postgresql://u:geheim@a/x", "B": "postgresql://u:geheim@b/x", "R": "redis://r1 redis://r2"}
STORES = """
stores:
  main: {type: postgres, url: "${A}", budget: 2000/s}
  several: {type: postgres, urls: ["${A}", "${B}"]}
  caches: {type: redis, urls: "${R}"}
  docs: {type: mongo, url: "mongodb://m/x"}
targets:
"""


def read(folder: Path, targets: str, stores: str = STORES, **environ: str) -> Settings:
    file = folder / "cleanup.yaml"
    file.write_text(stores + targets)
    return load_settings(file, {**ENVIRON, **environ})


def faults(folder: Path, targets: str, stores: str = STORES) -> str:
    with pytest.raises(SettingsError) as caught:
        read(folder, targets, stores)
    assert "geheim" not in str(caught.value)
    return str(caught.value)


def test_patterns_as_text_and_as_lists(tmp_path: Path) -> None:
    settings = read(
        tmp_path,
        "  t: {store: main, table: s, schemas: tenant_*, exclude_members: [a*, b], expires: {column: e}}\n"
        "  u: {store: docs, collection: s, databases: [x, 'y*'], expires: {field: e}}\n"
        "  v: {store: several, table: s, expires: {column: e}}\n"
        "  w: {store: main, table: s, expires: {column: e}}\n",
    )
    t, u, v, w = settings.targets
    assert t.members == Members(("tenant_*",), (), ("a*", "b")) and u.members == Members((), ("x", "y*"))
    # Whoever is in a store of several servers stands for many.
    assert v.members == Members() and w.members is None
    assert t.members.schema_named("tenant_1") and not t.members.schema_named("b")
    assert len({t.fingerprint, v.fingerprint, w.fingerprint}) == 3


def test_urls_from_one_variable_and_from_the_environment_alone(tmp_path: Path) -> None:
    settings = read(tmp_path, "  t: {store: main, table: s, expires: {column: e}}\n")
    assert settings.stores["caches"].urls == ("redis://r1", "redis://r2")
    assert settings.stores["several"].where == "a/x, b/x"
    assert "geheim" in settings.stores["several"].secrets and "geheim" not in repr(settings.stores["several"])
    over = read(
        tmp_path,
        "  t: {store: other, table: s, expires: {column: e}}\n",
        CLEANUP__STORES__OTHER__TYPE="postgres",
        CLEANUP__STORES__OTHER__URLS="postgresql://a/1 postgresql://a/2",
        CLEANUP__TARGETS__T__SCHEMAS="tenant_*",
    )
    assert len(over.stores["other"].urls) == 2
    assert over.targets[0].members == Members(("tenant_*",))


def test_budgets(tmp_path: Path) -> None:
    text = "  t: {store: main, table: s, expires: {column: e}}\n  u: {store: several, table: s, expires: {column: e}}\n"
    t, u = read(tmp_path, text, CLEANUP_BUDGET="5000").targets
    assert (t.pace.budget, t.pace.store_budget) == (5000, 2000) and (u.pace.budget, u.pace.store_budget) == (5000, None)
    assert "cleanup.budget" in faults(tmp_path, text, "cleanup: {budget: 0}" + STORES)
    assert "cleanup.budget" in faults(tmp_path, text, "cleanup: {budget: fast}" + STORES)


def test_chunks(tmp_path: Path) -> None:
    of = "store: docs, collection: s, expires: {field: e}"
    t, u = read(
        tmp_path, f"  t: {{{of}, chunks: {{key: k, at: [1, 5]}}}}\n  u: {{{of}, chunks: {{key: a.b}}}}\n"
    ).targets
    assert t.chunks == Chunks("k", (1, 5)) and u.chunks == Chunks("a.b")
    for wrong in ("[5, 1]", "[a, 1]", "[]", "[a, a]", "[true]"):
        assert "t.chunks.at" in faults(tmp_path, f"  t: {{{of}, chunks: {{key: k, at: {wrong}}}}}\n")
    assert "one of the two" in faults(tmp_path, f"  t: {{{of}, chunks: {{key: k}}, row_limit: 5}}\n")
    assert "for MongoDB" in faults(tmp_path, "  t: {store: main, table: s, expires: {column: e}, chunks: {key: k}}\n")


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("store: main, table: s, schemas: t_*, schema: x, expires: {column: e}", "targets.t.schemas"),
        ("store: main, table: x.s, schemas: t_*, expires: {column: e}", "the table alone beside"),
        ("store: main, table: s, schemas: [], expires: {column: e}", "targets.t.schemas"),
        ("store: main, table: s, exclude_members: t_*, expires: {column: e}", "without schemas or databases"),
        ("store: main, table: s, schemas: t_*, expires: {column: e}, canaries: true", "targets.t.canaries"),
        ("store: main, table: s, schemas: t_*, expires: {column: e}, vacuum: true", "targets.t.vacuum"),
        ("store: several, table: s, expires: {column: e}, drop_partitions: true", "targets.t.drop_partitions"),
        ("store: several, table: s, expires: {column: e}, removal_ledger: true", "targets.t.removal_ledger"),
        ("store: several, table: s, expires: {column: e}, quarantine: true", "targets.t.quarantine"),
        ("store: docs, collection: s, schemas: t_*, expires: {field: e}", "no schemas, which it has not"),
        ("store: docs, collection: s, databases: t_*, database: x, expires: {field: e}", "one of the two"),
        ("store: caches, keys: 'session:*', databases: t_*, expires: {hash_field: e}", "targets.t.databases"),
    ],
)
def test_what_does_not_go_with_it_is_said(tmp_path: Path, target: str, said: str) -> None:
    assert said in faults(tmp_path, f"  t: {{{target}}}\n")


@pytest.mark.parametrize(
    "target",
    [
        "store: caches, keys: 'sessions:*', expires: {members_of: 'session:{member}'}",
        "store: several, table: s, expires: {column: e}, guards: [{not_referenced_by: tokens, key: sid, by: id}]",
        "store: several, table: s, expires: {column: e, of: {table: tokens, key: id, by: token_id}}",
    ],
)
def test_rules_by_which_other_records_decide_are_refused_across_servers(tmp_path: Path, target: str) -> None:
    assert "may be on another server" in faults(tmp_path, f"  t: {{{target}}}\n")
    # In one server they are nothing special.
    alone = target.replace("caches", "cache").replace("several", "main")
    text = STORES.replace("targets:", "  cache: {type: redis, url: redis://r1}\ntargets:")
    assert read(tmp_path, f"  t: {{{alone}}}\n", text).targets[0].members is None


@pytest.mark.parametrize(
    ("store", "said"),
    [
        ("{type: postgres, url: '${A}', urls: ['${B}']}", "one of them"),
        ("{type: postgres, urls: []}", "no list of URLs"),
        ("{type: postgres, urls: ['${A}', '${A}']}", "the same URL twice"),
        ("{type: postgres, urls: ['${A}', 'redis://x']}", "stores.main.urls.1"),
        ("{type: postgres, urls: ['postgresql://u:geheim@a/x']}", "a password written in the settings file"),
    ],
)
def test_urls_that_are_wrong(tmp_path: Path, store: str, said: str) -> None:
    text = faults(
        tmp_path, "targets: {t: {store: main, table: s, expires: {column: e}}}\n", f"stores: {{main: {store}}}\n"
    )
    assert said in text
