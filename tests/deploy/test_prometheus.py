"""What is in deploy/ for Prometheus and Grafana speaks of metrics that there are, and does what docs/alerts.md says."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from cleanup_pipeline.ledger import Ledger
from cleanup_pipeline.observability.prometheus import LedgerCollector
from cleanup_pipeline.observability.reader import Reader
from cleanup_pipeline.settings import Settings
from tests.observability.figures import ledger, settings, url
from tests.observability.test_prometheus_exporter import fill

__all__ = ["ledger", "settings", "url"]

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES = yaml.safe_load((PROMETHEUS / "cleanup-alerts.yml").read_text(encoding="utf-8"))["groups"][0]["rules"]
ALERTS = [rule for rule in RULES if "alert" in rule]
DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy" / "grafana" / "cleanup.json").read_text(encoding="utf-8"))
DOCS = (ROOT / "docs" / "alerts.md").read_text(encoding="utf-8")
NAMES = {
    *("CleanupNotRunning", "CleanupHighErrorRate", "CleanupSlow", "CleanupSurvivorsTooOld"),
    *("CleanupBacklogGrowing", "CleanupHeldBack", "CleanupBraked", "CleanupLedgerDown"),
}
OF_PROMETHEUS = {"job", "instance", "le", "alertname", "alertstate"}

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed; it comes with Debian's package prometheus"
)


def promtool(*arguments: str) -> str:
    ran = subprocess.run(
        ["promtool", *arguments], cwd=PROMETHEUS, capture_output=True, text=True, timeout=100, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@needs_promtool
def test_the_rules_and_the_example_are_right() -> None:
    assert "SUCCESS" in promtool("check", "rules", "cleanup-alerts.yml")
    assert "SUCCESS" in promtool("check", "config", "prometheus.yml")


@needs_promtool
def test_each_alert_fires_when_it_should_and_ends() -> None:
    assert "SUCCESS" in promtool("test", "rules", "cleanup-alerts.test.yml")
    tested = (PROMETHEUS / "cleanup-alerts.test.yml").read_text(encoding="utf-8")
    assert set(re.findall(r'alertname="(\w+)"', tested)) == NAMES


def test_each_alert_says_what_it_means_and_what_to_do() -> None:
    assert {rule["alert"] for rule in ALERTS} == NAMES == set(re.findall(r"^## (\w+)$", DOCS, re.MULTILINE))
    for rule in ALERTS:
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert {"summary", "description", "runbook_url"} == set(rule["annotations"])
        assert rule["annotations"]["runbook_url"] == f"docs/alerts.md#{rule['alert'].lower()}"
        chapter = DOCS.split(f"## {rule['alert']}\n")[1].split("\n## ")[0]
        assert "**What it means.**" in chapter and "**What to do.**" in chapter
        assert f"| [{rule['alert']}](#{rule['alert'].lower()}) | {rule['labels']['severity']} |" in DOCS


def panels() -> list[dict[str, Any]]:
    return [*DASHBOARD["panels"], *(inner for panel in DASHBOARD["panels"] for inner in panel.get("panels", []))]


def queries() -> Iterator[tuple[str, str]]:
    """Where it is, and the query."""
    for rule in RULES:
        yield rule.get("alert") or rule["record"], rule["expr"]
    for panel in panels():
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]
    for annotation in DASHBOARD["annotations"]["list"]:
        if "expr" in annotation:
            yield annotation["name"], annotation["expr"]
    for variable in DASHBOARD["templating"]["list"]:
        found = re.fullmatch(r"label_values\((.*), (\w+)\)", variable.get("definition", ""))
        if found:
            yield variable["name"], f"sum by ({found[2]}) ({found[1]})"


@pytest.fixture
def labels_of(ledger: Ledger, settings: Settings, url: str) -> dict[str, set[str]]:
    """Sample name -> its labels, of everything that is exported, and of what the rules make of it."""
    fill(ledger)
    reader = Reader(url, settings)
    registry = CollectorRegistry()
    registry.register(LedgerCollector(reader.read, reader.read().taken_at))
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    reader.close()
    return found | {rule["record"]: {"pass", "target"} for rule in RULES if "record" in rule} | {"ALERTS": set()}


def test_queries_name_only_what_is_exported(labels_of: dict[str, set[str]]) -> None:
    for where, query in queries():
        plain = re.sub(r'"[^"]*"', '""', query)
        names = set(re.findall(r"\b(?:cleanup[_:][\w:]*|token_\w+|ALERTS)\b", plain))
        if "__name__" in plain:
            pattern = re.search(r'__name__=~"([^"]+)"', query)
            assert pattern is not None
            names = names | {name for name in labels_of if re.fullmatch(pattern[1], name)}
        assert names and names <= set(labels_of), (where, names - set(labels_of))
        # Every query is about metrics that share their labels, so the union is narrow enough.
        known = set().union(*(labels_of[name] for name in names)) | OF_PROMETHEUS | {"__name__"}
        asked = {
            label
            for group in re.findall(r"(?:by|on|without|ignoring) \(([^)]*)\)", plain)
            for label in group.split(", ")
        }
        asked |= set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"\"", plain))
        assert asked - {""} <= known, (where, asked - known)


@needs_promtool
def test_queries_are_understood(tmp_path: Path) -> None:
    rules = []
    for number, (_, query) in enumerate(queries()):
        plain = re.sub(r"\$__(rate_interval|range|interval)", "5m", query)
        rules.append({"record": f"query:{number}", "expr": plain})
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}), encoding="utf-8")
    assert f"{len(rules)} rules found" in promtool("check", "rules", str(file))


def test_the_dashboard_can_be_imported() -> None:
    ids = [panel["id"] for panel in panels()]
    assert len(set(ids)) == len(ids) > 10
    assert DASHBOARD["uid"] and DASHBOARD["id"] is None and DASHBOARD["schemaVersion"] >= 36
    data_sources = {str(panel["datasource"]["uid"]) for panel in panels() if panel["type"] != "row"}
    assert data_sources == {"${datasource}"}
    variables = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    used = set(re.findall(r"\$(\w+)", " ".join(query for _, query in queries()))) | {"datasource"}
    assert {name for name in used if not name.startswith("__")} == variables
    for panel in panels():
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24 and panel["title"]
        refs = [target["refId"] for target in panel.get("targets", [])]
        assert len(set(refs)) == len(refs)
    places = [panel["gridPos"] for panel in panels()]
    spots = [(p["x"] + dx, p["y"] + dy) for p in places for dx in range(p["w"]) for dy in range(p["h"])]
    assert len(set(spots)) == len(spots), "panels overlap"
