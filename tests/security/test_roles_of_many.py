"""`cleanup-pipeline roles` for targets that stand for many, and for stores of several URLs."""

import json
import re
import subprocess
from fnmatch import fnmatchcase
from pathlib import Path
from shutil import which
from typing import Any

import psycopg
import psycopg.sql
import pytest
from psycopg import errors

from cleanup_pipeline.cli.roles import script
from cleanup_pipeline.model.words import PassStatus
from cleanup_pipeline.stores.patterns import any_of
from tests.security.test_roles import db as db
from tests.security.test_roles import ran, settings_of

TENANTS = """
cleanup: {batch_size: 10, pause: 0s}
stores: {main: {type: postgres, url: "${URL}"}}
targets:
  links:
    {store: main, table: links, schemas: 'tenant[_-]*', exclude_members: tenant_test, expires: {column: dies},
     mode: delete}
  sessions:
    {store: main, table: sessions, schemas: 'tenant[_-]*', exclude_members: tenant_test, children: delete_first,
     expires: {column: expires_at}, mode: delete}
  few: {store: main, table: few, expires: {column: ends}, mode: delete}
"""


def test_postgres_of_many_schemas(db: psycopg.Connection[Any], postgres_url: str, tmp_path: Path) -> None:
    schemas = ["tenant_a", "tenant-\"b'", "tenant_odd", "tenant_none", "tenant_test", "tenants", "public"]
    for schema in schemas[:4] + schemas[4:6]:
        db.execute(psycopg.sql.SQL("CREATE SCHEMA {}").format(psycopg.sql.Identifier(schema)))
    dies = "now() - interval '9 days' * (CASE WHEN n < 20 THEN 1 ELSE -1 END)"
    for schema in schemas:
        if schema != "tenant_none":
            db.execute(
                psycopg.sql.SQL(
                    "CREATE TABLE {0}.sessions (id int PRIMARY KEY, expires_at timestamptz, secret text);"
                    "CREATE TABLE {0}.remark (session_id int REFERENCES {0}.sessions, note text);"
                    # Without a key, which is nobody else's loss either.
                    "CREATE TABLE {0}.links (dies timestamptz);"
                    "INSERT INTO {0}.sessions SELECT n, " + dies + ", 'x' FROM generate_series(1, 25) n;"
                    "INSERT INTO {0}.remark SELECT n, 'x' FROM generate_series(1, 25) n"
                ).format(psycopg.sql.Identifier(schema))
            )
    # What one tenant lacks keeps no other back, and costs nobody else a right.
    db.execute("ALTER TABLE tenant_odd.sessions RENAME expires_at TO ends_at")
    db.execute("CREATE TABLE few (id int PRIMARY KEY, ends timestamptz)")
    settings = settings_of(TENANTS, tmp_path, postgres_url.replace("postgres@", "cleanup@"))
    text = script(settings.stores["main"], list(settings.targets))
    said: list[str] = []
    db.add_notice_handler(lambda notice: said.append(str(notice.message_primary)))
    for _ in range(2):
        db.execute(text)
    assert any("tenant_odd.sessions" in each and "expires_at" in each for each in said)
    assert any("tenant_none.sessions" in each and "does not exist" in each for each in said)
    asked = "SELECT has_table_privilege('cleanup', format('%%I.sessions', %s::text), 'DELETE'),"
    asked += " has_schema_privilege('cleanup', %s::text, 'USAGE')"
    there = [schema for schema in schemas if schema != "tenant_none"]
    granted = [schema for schema in there if db.execute(asked, (schema, schema)).fetchone() == (True, True)]
    assert granted == schemas[:2]
    db.execute("DROP SCHEMA tenant_odd CASCADE")
    report = ran(settings)
    assert report.status is PassStatus.SUCCEEDED, [each.error for each in report.targets]
    assert {each.target: each.deleted for each in report.targets} == {"links": 0, "sessions": 38, "few": 0}
    with psycopg.connect(settings.stores["main"].url, autocommit=True) as login:
        for forbidden in (
            "SELECT secret FROM tenant_a.sessions", "SELECT note FROM tenant_a.remark", "TRUNCATE tenant_a.sessions",
            "DELETE FROM tenant_test.sessions", "SELECT id FROM tenants.sessions", "DELETE FROM public.sessions",
        ):  # fmt: skip
            with pytest.raises(errors.InsufficientPrivilege):
                login.execute(forbidden)


DATABASES = """
cleanup: {batch_size: 10, pause: 0s}
stores: {main: {type: postgres, url: "${URL}"}}
targets:
  sessions:
    {store: main, table: sessions, databases: '*_role_tenant?', schemas: [s_*, own], exclude_members: s_x,
     expires: {column: expires_at}, mode: delete}
  plain: {store: main, table: plain, expires: {column: expires_at}, mode: delete}
"""


def test_postgres_of_many_databases(db: psycopg.Connection[Any], postgres_url: str, tmp_path: Path) -> None:
    """The same script, run in each database, grants in each what is meant of it."""
    base = db.info.dbname
    settings = settings_of(DATABASES, tmp_path, postgres_url.replace("postgres@", "cleanup@"))
    text = script(settings.stores["main"], list(settings.targets))
    assert "*_role_tenant?" in text.partition("BEGIN;")[0] and base in text.partition("BEGIN;")[0]
    names = [f"{base}_role_tenant1", f"{base}_role_others"]
    tables = "".join(
        f"CREATE SCHEMA {schema}; CREATE TABLE {schema}.sessions (id int PRIMARY KEY, expires_at timestamptz);"
        f"INSERT INTO {schema}.sessions SELECT n, now() - interval '9 days' FROM generate_series(1, 15) n;"
        for schema in ("s_1", "s_x", "own")
    )
    tables += "CREATE TABLE plain (id int PRIMARY KEY, expires_at timestamptz);"
    asked = "SELECT c.oid::regclass::text FROM pg_class c WHERE has_table_privilege('cleanup', c.oid, 'DELETE')"
    asked += " AND relkind = 'r' AND relnamespace <> 'pg_catalog'::regnamespace ORDER BY 1"
    granted = []
    try:
        for name in names:
            db.execute(f'CREATE DATABASE "{name}"')  # type: ignore[call-overload]
        for name in (base, *names):
            url = postgres_url.replace(f"/{base}", f"/{name}")
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute(tables)  # type: ignore[call-overload]
                connection.execute(text)
                granted.append([row[0] for row in connection.execute(asked).fetchall()])  # type: ignore[call-overload]
        assert granted == [["plain"], ["own.sessions", "s_1.sessions"], []]
        report = ran(settings)
        assert report.status is PassStatus.SUCCEEDED, [each.error for each in report.targets]
        assert {each.target: each.deleted for each in report.targets} == {"sessions": 30, "plain": 0}
    finally:
        for name in names:
            db.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')  # type: ignore[call-overload]


PATTERNS = [
    "tenant_*", "a?c", "[a-c]x", "[!a-c]x", "[]a]x", "[!]a]x", "[z-a]x", "[!z-a]x", "[a", "[^a]x", "[a-]x", "[\\w]x",
    "[--/]x", "[[:alpha:]]x", "a.c", "(a|b)", "a{2}", "***=a", "$role0$", "é?", "[é-ü]x", "a\\*c", "[a-c-e]x", "[!]",
]  # fmt: skip


def test_patterns_of_scripts_mean_what_they_mean_to_a_pass(postgres_url: str) -> None:
    names = ["tenant_", "tenant_x\ny", "tenantx", "a\nc", "a.c", "a\\bc", "a\\*c", "(a|b)", "aa", "a{2}", "***=a", "a"]
    names += ["[a", "$role0$", "éa", "é\n", "a-", "(a", "b)", "[!]", "[:alpha:]x", "", "[z-a]x"]
    names += [f"{char}x" for char in "abcdez]^-\\w[:l.!/|é𝒳ö"]
    with psycopg.connect(postgres_url) as db:
        for pattern in PATTERNS:
            regex = any_of([pattern])
            asked = db.execute("SELECT n FROM unnest(%s::text[]) n WHERE n ~ %s", (names, regex)).fetchall()
            expected = {name for name in names if fnmatchcase(name, pattern)}
            assert {name for (name,) in asked} == expected, pattern
            assert {name for name in names if re.search(regex[:-1] + r"\Z", name, re.DOTALL)} == expected, pattern


MANY = """
stores:
  docs: {type: mongo, url: "mongodb://h/app"}
  docses: {type: mongo, urls: ["mongodb://h/app", "mongodb://h2/app"]}
  unlike: {type: mongo, urls: ["mongodb://h/app", "mongodb://h2/other"]}
  caches: {type: redis, urls: ["redis://h/0", "redis://h2/0"]}
  mains: {type: postgres, urls: ["postgresql://h/app", "postgresql://h2/app"]}
targets:
  sessions:
    {store: docs, collection: sessions, databases: [tenant_*, "own.x"], exclude_members: tenant_test,
     expires: {field: e}}
  links: {store: docs, collection: links, expires: {field: e}}
  pulled: {store: docs, collection: sessions, databases: tenant_a, expires: {field: t.e, pull: t}}
  everywhere: {store: docses, collection: links, expires: {field: e}}
  unlike: {store: unlike, collection: links, expires: {field: e}}
  keys: {store: caches, keys: "s:*", key_type: hash, expires: {hash_field: e}}
  rows: {store: mains, table: t, expires: {column: e}}
"""


def printed(folder: Path, store: str) -> str:
    settings = settings_of(MANY, folder, "")
    return script(settings.stores[store], [each for each in settings.targets if each.store == store])


def test_mongo_of_many_databases(tmp_path: Path) -> None:
    text = printed(tmp_path, "docs")
    assert "again when one was added" in text
    # The leases of all are in the database of the URL, where no tenant's collection is.
    assert text.partition("const targets = ")[2].startswith(
        '[\n  ["app", "links", ["find", "listIndexes", "remove"]],\n];\nconst leases = ["app"];\n'
    )
    rows = text.partition("const templates = [\n")[2].partition("];")[0].strip().removesuffix(",").split(",\n")
    assert [json.loads(row) for row in rows] == [
        {
            "names": ["own.x"], "like": "^(?:tenant_.*)$", "but": "^(?:tenant_test)$", "collection": "sessions",
            "actions": ["find", "listIndexes", "remove"],
        },
        {
            "names": ["tenant_a"], "like": "(?!.).", "but": "(?!.).", "collection": "sessions",
            "actions": ["find", "listIndexes", "update"],
        },
    ]  # fmt: skip
    assert '{ resource: { cluster: true }, actions: ["listDatabases"] },' in text


@pytest.mark.skipif(which("node") is None, reason="no node to run it with")
def test_what_a_script_for_mongosh_comes_to(tmp_path: Path) -> None:
    databases = ["app", "admin", "tenant_a", "tenant_b", "tenant_test", "xtenant_c", "ownax", "tenant_\n"]
    shell = """
    const made = [];
    const admin = { getRole: () => null, createRole: (role) => made.push(role), getUser: () => ({}) };
    const db = { getSiblingDB: () => admin, adminCommand: (asked) => {
      if (!asked.listDatabases || asked.authorizedDatabases !== false) throw new Error("not all are listed");
      return { databases: %s.map((name) => ({ name })) };
    } };
    ((db) => { %s })(db);
    console.log(JSON.stringify(made));
    """
    file = tmp_path / "role.js"
    file.write_text(shell % (json.dumps(databases), printed(tmp_path, "docs")))
    done = subprocess.run(["node", str(file)], check=True, capture_output=True, text=True)
    [role] = json.loads(done.stdout)
    allowed = {
        (each["resource"].get("db"), each["resource"].get("collection")): sorted(each["actions"])
        for each in role["privileges"]
    }
    removes = ["find", "listIndexes", "remove"]
    expected: dict[tuple[str | None, str | None], list[str]] = {
        ("app", "links"): removes,
        ("tenant_a", "sessions"): sorted([*removes, "update"]),
        **{(name, "sessions"): removes for name in ("tenant_b", "own.x", "tenant_\n")},
        **{(name, ""): ["listCollections"] for name in ("app", "tenant_a", "tenant_b", "own.x", "tenant_\n")},
        ("app", "cleanup_pipeline_leases"): ["createCollection", "find", "insert", "update"],
        (None, None): ["listDatabases"],
    }
    assert len(allowed) == len(role["privileges"]) and allowed == expected


@pytest.mark.parametrize(("store", "said"), [
    ("docses", '["app", "links", ["find", "listIndexes", "remove"]]'),
    ("unlike", '["DATABASE", "links", ["find", "listIndexes", "remove"]]'),
    ("caches", "ACL SETUSER cleanup reset on ~cleanup-pipeline:lease:* ~s:* -@all"),
    ("mains", 'GRANT SELECT ("ctid", "e"), UPDATE ("e"), DELETE ON "t" TO cleanup;'),
])  # fmt: skip
def test_a_store_of_several_urls_has_one_script_for_each(tmp_path: Path, store: str, said: str) -> None:
    text = printed(tmp_path, store)
    assert text.splitlines()[0].endswith("The store lists 2 URLs: run this on the server of each.") and said in text
