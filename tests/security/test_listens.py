"""Nothing listens beyond this machine unless somebody asks for it."""

import inspect
import re
from pathlib import Path

import yaml

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
    in_containers = [line for line in found if line.startswith(("deploy/compose/", "deploy/docker/"))]
    assert sorted(set(found) - set(in_containers)) == [
        "cleanup_pipeline/cli/metrics.py: cleanup-pipeline metrics --host 0.0.0.0 --port 9100"
    ]


def test_what_containers_offer_to_each_other_is_published_on_the_loopback_alone() -> None:
    services = yaml.safe_load((ROOT / "deploy/compose/compose.yaml").read_text(encoding="utf-8"))["services"]
    published = [port for service in services.values() for port in service.get("ports", ())]
    assert published and all(str(port).startswith("127.0.0.1:") for port in published)
    assert not any(service.get("network_mode") == "host" for service in services.values())
