"""Windows of one target side by side, on PostgreSQL, where a lease is two locks of a session."""

from typing import Any

import pytest

from cleanup_pipeline.model.lease import Lease
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.words import StoreType
from cleanup_pipeline.stores.postgres import leases
from cleanup_pipeline.stores.postgres.store import open_postgres
from tests.stores.postgres.conftest import make_target


@pytest.mark.parametrize("for_good", [False, True])
def test_one_that_gives_its_locks_back_is_not_in_the_way(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch, for_good: bool
) -> None:
    store: Any = open_postgres(StoreConfig("main", StoreType.POSTGRES, postgres_url))
    target = make_target()
    looked: list[int] = []

    def others(*_: object) -> list[tuple[int, int, int | None]]:
        looked.append(1)
        # As pg_locks shows a session whose lock on its window is gone and whose other one is not.
        return [(1, 7, None)] if for_good or len(looked) == 1 else []

    monkeypatch.setattr(leases, "_others", others)
    got = store.acquire(target, Lease("run", 0, "host", "2026-11-26T00:00"))
    assert isinstance(got, Lease) is not for_good and len(looked) == (1 + leases.LOOKS_AGAIN if for_good else 2)
    store.close()
