"""What a batch costs where the table does not fit into its server's memory any more."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from cleanup_pipeline.ledger.seen import SeenPass
from cleanup_pipeline.settings import load_settings
from cleanup_pipeline.simulation.from_settings import BLOCK_READ, Said, scenario_of
from cleanup_pipeline.simulation.scenario import Scenario
from tests.simulation.test_parts import NOW, seen

SETTINGS = """
stores: {main: {type: postgres, url: "postgresql://127.0.0.1/app"}}
targets: {web: {store: main, table: web, expires: {column: expires_at}, mode: delete}}
"""


def test_a_table_that_outgrew_memory_is_read_block_by_block(tmp_path: Path) -> None:
    (tmp_path / "cleanup.yaml").write_text(SETTINGS)
    settings = load_settings(tmp_path / "cleanup.yaml", {})
    runs = [seen(strategy="block_sweep", deleted=70_000, scanned=70_000, batches=70)]

    def made(records: float, memory: float | None, *, since: Sequence[SeenPass] = runs) -> Scenario:
        return scenario_of(settings, since, NOW, said={"web": Said(records=records, backlog=0.0, memory=memory)})

    warm, cold = (made(10e6, memory).targets[0].batching.cost for memory in (16e9, 512e6))
    # 350 bytes a record, seven tenths of them in the heap: 33 to a block.
    assert cold.per_record - warm.per_record == pytest.approx(BLOCK_READ / 33.4, rel=0.01)
    assert cold.per_look - warm.per_look == pytest.approx(BLOCK_READ / 33.4, rel=0.01)
    assert cold.fixed == warm.fixed
    said = Said(records=10e6, backlog=0.0, memory=512e6, batch_seconds=0.02)
    assert scenario_of(settings, runs, NOW, said={"web": said}).targets[0].batching.cost.seconds(
        1000, 1000
    ) == pytest.approx(0.02)
    assert made(100e3, 512e6).targets[0].batching.cost == warm
    # What was measured on a table that was too large already says it all.
    large = [replace(runs[0], records_before=10_000_000, bytes_before=3_500_000_000)]
    small, ample = (made(20e6, memory, since=large).targets[0].batching.cost for memory in (512e6, 16e9))
    assert small == ample
    assumed = "web: its server keeps 128 MB in memory, as PostgreSQL does by default, and the table is larger; --memory"
    assert assumed in made(10e6, None).assumed
    assert not [line for line in made(10e6, 512e6).assumed if "memory" in line]
