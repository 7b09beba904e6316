from collections.abc import Iterator
from pathlib import Path

import pytest

from cleanup_pipeline.ledger import Ledger, open_ledger

from .receiver import Receiver, running


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running() as made:
        yield made


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    opened = open_ledger(url)
    yield opened
    opened.close()
