"""Nothing listens beyond this machine unless somebody asks for it."""

import inspect
import re
from pathlib import Path

from cleanup_pipeline.cli import metrics, up

ROOT = Path(__file__).parents[2]


def test_metrics_and_the_ui_listen_on_the_loopback() -> None:
    assert inspect.signature(metrics.metrics).parameters["host"].default == "127.0.0.1"
    assert '"--host", "127.0.0.1"' in inspect.getsource(up)
    assert "host" not in inspect.signature(up.up).parameters


def test_no_file_that_is_shipped_listens_on_every_address() -> None:
    """Outside of an example that says what it does."""
    files = [*(ROOT / "cleanup_pipeline").rglob("*.py"), *(ROOT / "deploy").rglob("*"), ROOT / "dagster.yaml"]
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in files
        if path.is_file()
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(r"0\.0\.0\.0|\[::\]", line)
    ]
    assert found == ["cleanup_pipeline/cli/metrics.py: cleanup-pipeline metrics --host 0.0.0.0 --port 9100"]
