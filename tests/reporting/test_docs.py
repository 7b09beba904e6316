"""The example of docs/statistics.md runs as it is written there, and names every function there is."""

import re
from datetime import UTC, datetime
from pathlib import Path

from cleanup_pipeline.ledger import open_ledger
from cleanup_pipeline.reporting import statistics
from tests.reporting.example import fill

TEXT = (Path(__file__).parents[2] / "docs" / "statistics.md").read_text(encoding="utf-8")


def test_the_example_runs(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    ledger = open_ledger(url)
    fill(ledger, datetime(2026, 11, 24, 20, 30, tzinfo=UTC), days=10)
    match = re.search(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert match
    given: dict[str, object] = {"LEDGER_URL": url}
    exec(match[1], given)  # noqa: S102 - our own docs
    removed = given["table"]
    assert int(removed.to_numpy().sum()) == ledger.totals().deleted  # type: ignore[attr-defined]
    assert set(given["ahead"]["group"]) == {"main", "cache", "docs"}  # type: ignore[index]
    ledger.close()


def test_every_function_is_in_the_table() -> None:
    listed = set(re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE))
    there = {name for name in statistics.__all__ if name.islower()} - {"read_figures"}
    assert listed == there
