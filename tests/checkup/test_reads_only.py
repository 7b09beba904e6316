"""Nothing is ever changed by a look, and a login that may only read gets to know what it lacks."""

import psycopg
import pytest

from cleanup_pipeline.engine.checkup import check_store
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.words import Severity, StoreType
from cleanup_pipeline.stores.open import open_store
from tests.checkup.looking import NOWHERE, as_role, look
from tests.checkup.test_postgres_findings import BASE


@pytest.mark.parametrize("index", [True, False])
def test_it_reads_only(postgres_url: str, index: bool) -> None:
    """All rights, and a session in which whatever writes fails; then a login that may only read."""
    with psycopg.connect(postgres_url, autocommit=True) as db:
        db.execute(BASE)
        if not index:
            db.execute("DROP INDEX web_expiry")
        for name in ("looker", "reader"):
            db.execute(f"DROP ROLE IF EXISTS {name}")  # type: ignore[call-overload]
            db.execute(f"CREATE ROLE {name} LOGIN")  # type: ignore[call-overload]
        db.execute("ALTER ROLE looker SET default_transaction_read_only = on")
        db.execute("GRANT ALL ON web TO looker; GRANT SELECT ON web TO reader")
        try:
            before = db.execute("SELECT xmin::text, * FROM web ORDER BY id").fetchall()
            found = look(as_role("looker", postgres_url))
            assert "unseen" not in found.codes
            assert not {each.severity for each in found.findings} - {Severity.INFO}
            error = look(as_role("reader", postgres_url)).of("refused")
            assert error.what == "user reader lacks DELETE on web"
            assert error.remedy == "GRANT SELECT, UPDATE, DELETE ON web TO reader"
            assert db.execute("SELECT xmin::text, * FROM web ORDER BY id").fetchall() == before
        finally:
            db.execute("DROP OWNED BY looker, reader; DROP ROLE looker, reader")


def test_a_server_that_is_not_there() -> None:
    store = open_store(StoreConfig("main", StoreType.POSTGRES, NOWHERE))
    checked = check_store(store)
    assert (checked.reached, [each.severity for each in checked.findings]) == (False, [Severity.ERROR])
