"""docs/json.md names every field of `run --json`, every status and stop reason, and nothing that is not there."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cleanup_pipeline.model.outcome import PassReport, TargetReport
from cleanup_pipeline.model.plan import Finding
from cleanup_pipeline.model.words import PassStatus, Severity, StopReason, StoreType
from cleanup_pipeline.reporting.codec import pass_document

TEXT = (Path(__file__).parents[2] / "docs" / "json.md").read_text(encoding="utf-8")


def table(head: str) -> dict[str, list[str]]:
    """The rows of every table under a heading, by the name in their first cell."""
    match = re.search(rf"^##+ {head}\n(.*?)(?=^##|\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert match, head
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in match[1].splitlines() if line.startswith("|")]
    return {row[0].strip("`"): row[1:] for row in rows if row[0].startswith("`")}


def documented(head: str, width: int = 3) -> set[str]:
    return {name for name, cells in table(head).items() if len(cells) == width}


def a_target(**known: Any) -> TargetReport:
    return TargetReport(
        "t", "s", StoreType.REDIS, "session", known.pop("strategy", None), StopReason.EXHAUSTED, **known
    )


def document(*targets: TargetReport) -> dict[str, Any]:
    return pass_document(PassReport("sessions", PassStatus.SUCCEEDED, None, 0.0, targets))


UNKNOWN = document(a_target())
KNOWN = document(
    a_target(
        strategy="scan_script",
        cutoff=datetime(2026, 1, 1, tzinfo=UTC),
        cpu_seconds=0.00049,
        rate=1 / 3,
        slowed={"latency": 2},
        findings=(Finding(Severity.INFO, "seen", "remedy"),),
        details={"dangling": 1},
    )
)


def test_every_field_of_the_pass_has_its_row_and_every_row_its_field() -> None:
    assert documented("The pass") == set(KNOWN)


def test_every_field_of_a_target_has_its_row_and_every_row_its_field() -> None:
    assert documented("A target") == set(KNOWN["targets"][0])


def test_every_field_of_a_finding_has_its_row_and_every_row_its_field() -> None:
    assert documented("Findings") == set(KNOWN["targets"][0]["findings"][0])


def test_every_status_and_stop_reason_is_there() -> None:
    assert documented("Status and exit code", 2) == {str(status) for status in PassStatus}
    assert documented("Stop reasons", 1) == {str(reason) for reason in StopReason}


@pytest.mark.parametrize(("head", "found"), [("The pass", UNKNOWN), ("A target", UNKNOWN["targets"][0])])
def test_what_may_be_null_is_said_to_be_and_nothing_else(head: str, found: dict[str, Any]) -> None:
    rows = {name: cells for name, cells in table(head).items() if len(cells) == 3}
    nullable = {name for name, cells in rows.items() if not cells[2].startswith("never")}
    assert {name for name, value in found.items() if value is None} == nullable


def test_numbers_instants_and_objects_are_of_the_type_they_are_said_to_be() -> None:
    types = {"string": str, "instant": str, "integer": int, "number": float, "array": list, "object": dict}
    for head, found in (("The pass", KNOWN), ("A target", KNOWN["targets"][0])):
        for name, cells in table(head).items():
            if len(cells) == 3 and found[name] is not None:
                assert type(found[name]) is types[cells[0].split(",")[0]], name
