"""Where Dagster keeps runs, events and schedules: tests that run on both of its storages say so by these marks."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import dagster as dg
import pytest

BOTH = pytest.mark.parametrize("storage", ["sqlite", "postgresql"], indirect=True)
BOTH_LONG = pytest.mark.parametrize(
    "storage", ["sqlite", pytest.param("postgresql", marks=pytest.mark.long)], indirect=True
)
"""As BOTH; the second one only in `make test-long`."""


@contextmanager
def instance_on(storage: Mapping[str, str], **overrides: Any) -> Iterator[dg.DagsterInstance]:
    """An instance of its own, on the storage that these variables name, by the class that dagster.yaml names."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in storage.items():
            patch.setenv(name, value)
        if storage:
            ours = {"module": "cleanup_pipeline.dagster_defs.storage", "class": "Storage", "config": {"base_dir": "x"}}
            overrides["storage"] = {"custom": ours}
        with dg.instance_for_test(overrides=overrides) as made:
            yield made
