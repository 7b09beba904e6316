from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from cleanup_pipeline.settings import Fault, Settings, SettingsError, load_settings

ENVIRON = {
    "PG": "postgresql://app:hunter2@db.example:5432/app",
    "CACHE": "redis://:hunter2@cache.example:6379/0",
    "DOCS": "mongodb://app:hunter2@docs.example/app",
}
STORES = """
stores:
  main: {type: postgres, url: ${PG}}
  cache: {type: redis, url: ${CACHE}}
  docs: {type: mongo, url: ${DOCS}}
"""
Load = Callable[..., Settings]
Faults = Callable[..., dict[str, Fault]]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Settings of a text, with the three stores and their variables unless told otherwise."""

    def read(text: str, environ: Mapping[str, str] | None = None, *, stores: str = STORES) -> Settings:
        file = tmp_path / "cleanup.yaml"
        file.write_text(stores + text, encoding="utf-8")
        return load_settings(file, {**ENVIRON, **(environ or {})})

    return read


@pytest.fixture
def faults(load: Load) -> Faults:
    """The faults of a text by path."""

    def read(text: str, environ: Mapping[str, str] | None = None, *, stores: str = STORES) -> dict[str, Fault]:
        with pytest.raises(SettingsError) as caught:
            load(text, environ, stores=stores)
        assert "hunter2" not in str(caught.value)
        return {fault.path: fault for fault in caught.value.faults}

    return read
