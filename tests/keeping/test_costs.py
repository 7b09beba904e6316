"""What a plan says of what will be kept."""

from dataclasses import replace

import pytest

from cleanup_pipeline.keeping.costs import ENTRY_BYTES, OWNER_BYTES, human, keeping_line
from cleanup_pipeline.keeping.segments import IDS, OWNERS
from cleanup_pipeline.model.target import ColumnExpiry, TableSource, Target
from cleanup_pipeline.model.words import StoreType

TARGET = Target("t", "main", StoreType.POSTGRES, "sessions", "session", TableSource("s"), ColumnExpiry("e"))


@pytest.mark.parametrize(
    ("changes", "expired", "each", "line"),
    [
        ({}, 5, 1.0, None),
        ({"removals": True}, 1_000_000, None, "removal ledger (28 bytes a record, about 28.0 MB)"),
        ({"removals": True, "owner": "u"}, None, None, "removal ledger (44 bytes a record)"),
        ({"quarantine": True}, 1000, None, "quarantine (size not known yet)"),
        ({"quarantine": True}, 2000, 250.4, "quarantine (250 bytes a record, about 500.8 kB)"),
    ],
)
def test_the_line_says_what_is_known(
    changes: dict[str, object], expired: int | None, each: float | None, line: str | None
) -> None:
    assert keeping_line(replace(TARGET, **changes), expired, each) == line  # type: ignore[arg-type]


def test_bytes_for_people() -> None:
    assert [human(n) for n in (12, 1500, 2_500_000, 10**10)] == ["12 bytes", "1.5 kB", "2.5 MB", "10.0 GB"]


def test_an_entry_is_as_long_as_a_plan_says() -> None:
    assert (IDS.itemsize, OWNERS.itemsize) == (ENTRY_BYTES, OWNER_BYTES)
