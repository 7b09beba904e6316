"""The text that Prometheus reads: what is in it, under which names, and what is not."""

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from cleanup_pipeline.ledger import Ledger, LedgerError
from cleanup_pipeline.observability.prometheus import LedgerCollector
from cleanup_pipeline.observability.reader import Reader
from cleanup_pipeline.observability.snapshot import Snapshot
from cleanup_pipeline.settings import Settings
from tests.observability.figures import HOUR, NOW, add_pass, add_witness, ledger, settings, url

__all__ = ["ledger", "settings", "url"]

ROOT = Path(__file__).parents[2]
WEB = {"pass": "sessions", "target": "web", "store": "main", "kind": "session"}


@pytest.fixture
def reader(url: str, settings: Settings) -> Iterator[Reader]:
    made = Reader(url, settings)
    yield made
    made.close()


def scrape(reader: Reader) -> str:
    registry = CollectorRegistry()
    registry.register(LedgerCollector(reader.read, NOW))
    return generate_latest(registry).decode()


def families(text: str) -> dict[str, Metric]:
    return {family.name: family for family in text_string_to_metric_families(text)}


def value(text: str, name: str, **labels: str) -> float | None:
    found = [
        sample.value
        for family in families(text).values()
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
    assert len(found) < 2, found
    return found[0] if found else None


def fill(ledger: Ledger) -> None:
    """Something of everything."""
    for ago in range(5, 0, -1):
        add_pass(ledger, f"r{ago}", NOW - ago * HOUR, survivors=50 - ago, bytes_freed=1000, slowed={"latency": 1})
    tokens = {"pass_name": "verification_tokens", "error": "no", "status": "failed", "seconds": 60.0}
    add_pass(ledger, "v1", NOW - HOUR / 2, "links", expired_found=7, deleted=3, **tokens)
    add_pass(ledger, "v2", NOW - HOUR / 4, "links", **{**tokens, "seconds": 61.0, "deleted": 4})
    add_pass(ledger, "i1", NOW - HOUR, "idle", kind="revoked_token", deleted=5)
    add_witness(ledger, "web", NOW - HOUR, survivors=3, oldest_survivor=NOW - 2 * HOUR)


def test_the_figures(ledger: Ledger, reader: Reader) -> None:
    fill(ledger)
    text = scrape(reader)
    assert value(text, "cleanup_ledger_up") == 1
    assert value(text, "cleanup_sessions_deleted_total", **WEB) == 500
    assert value(text, "cleanup_sessions_deleted_total", target="idle") == 5
    assert value(text, "cleanup_verification_tokens_deleted_total", target="links") == 7
    assert value(text, "cleanup_sessions_deleted_total", target="links") is None
    assert value(text, "token_revoked_total", reason="expired", **WEB) == 500
    assert value(text, "token_revoked_total", reason="expired", target="links", kind="verification_token") == 7
    # The entries of a list of revoked tokens were revoked before they expired.
    assert value(text, "token_revoked_total", target="idle") is None
    assert value(text, "cleanup_errors_total", **WEB) == 0 and value(text, "cleanup_errors_total", target="links") == 2
    assert value(text, "cleanup_operations_total", outcome="failed", target="links") == 2
    assert value(text, "cleanup_operations_total", outcome="succeeded", **WEB) == 5
    assert value(text, "cleanup_expired_found_total", target="links") == 7
    assert value(text, "cleanup_freed_bytes_total", **WEB) == 5000
    assert value(text, "cleanup_slowdowns_total", reason="latency", **WEB) == 5
    assert value(text, "cleanup_pause_seconds_total", reason="pause", **WEB) == 10
    assert value(text, "cleanup_shards_total", stop_reason="exhausted", **WEB) == 5
    assert value(text, "cleanup_shards_total", stop_reason="governor", **WEB) == 0
    assert value(text, "cleanup_last_run_timestamp_seconds", **{"pass": "sessions"}) == (NOW - HOUR).timestamp()
    assert value(text, "cleanup_pass_runs_total", status="failed", **{"pass": "verification_tokens"}) == 2
    assert value(text, "cleanup_survivors", **WEB) == 3
    age = value(text, "cleanup_oldest_survivor_age_seconds", **WEB)
    assert age is not None and 7200 <= age <= 7200 + (datetime.now(UTC) - NOW).total_seconds()
    assert value(text, "cleanup_backlog", **WEB) == 49 and value(text, "cleanup_backlog_growth", **WEB) == 3


def test_the_histograms(ledger: Ledger, reader: Reader) -> None:
    fill(ledger)
    text = scrape(reader)
    name = "cleanup_operation_duration_seconds"
    reached = {bound: value(text, f"{name}_bucket", target="links", le=bound) for bound in ("30.0", "60.0", "120.0")}
    assert reached == {"30.0": 0, "60.0": 1, "120.0": 2}
    assert value(text, f"{name}_bucket", target="links", le="+Inf") == value(text, f"{name}_count", target="links") == 2
    assert value(text, f"{name}_sum", target="links") == pytest.approx(121, rel=0.05)
    batches = "cleanup_batch_duration_seconds"
    reached = {bound: value(text, f"{batches}_bucket", le=bound, **WEB) for bound in ("0.001", "0.002", "5.0", "+Inf")}
    assert reached == {"0.001": 0, "0.002": 15, "5.0": 15, "+Inf": 20}
    assert value(text, f"{batches}_count", **WEB) == 20 and value(text, f"{batches}_sum", **WEB) is None


def test_unknown_is_no_sample(ledger: Ledger, reader: Reader) -> None:
    text = scrape(reader)
    assert value(text, "cleanup_sessions_deleted_total", **WEB) == 0
    assert value(text, "cleanup_operation_duration_seconds_count", **WEB) == 0
    for name in (
        *("cleanup_expired_found_total", "cleanup_freed_bytes_total", "cleanup_backlog", "cleanup_survivors"),
        *("cleanup_oldest_survivor_age_seconds", "cleanup_objective_seconds", "cleanup_last_success_timestamp_seconds"),
        *("cleanup_last_run_timestamp_seconds", "cleanup_recent_slowest_operation_seconds"),
        *("cleanup_ledger_start_timestamp_seconds", "cleanup_pass_last_success_timestamp_seconds"),
    ):
        assert value(text, name) is None, name


def test_a_dry_run_moves_nothing(ledger: Ledger, reader: Reader) -> None:
    fill(ledger)
    before = scrape(reader)
    add_pass(ledger, "dry", NOW, dry_run=True, stop_reason="dry_run", survivors=10_000, seconds=299.0)
    moving = re.compile(r"^cleanup_oldest_survivor_age_seconds\{.*\n", re.MULTILINE)
    assert moving.sub("", scrape(reader)) == moving.sub("", before)


def test_a_ledger_that_is_away_shows_no_old_number(ledger: Ledger, reader: Reader, url: str) -> None:
    fill(ledger)
    assert "cleanup_sessions_deleted_total{" in scrape(reader)
    file = Path(url.removeprefix("sqlite:///"))
    away = file.rename(file.with_suffix(".away"))
    names = {"cleanup_ledger_up", "cleanup_build_info", "cleanup_exporter_start_timestamp_seconds"}
    gone = scrape(reader)
    assert set(families(gone)) == names and value(gone, "cleanup_ledger_up") == 0
    away.rename(file)
    assert value(scrape(reader), "cleanup_sessions_deleted_total", **WEB) == 500


def test_no_ledger_at_all() -> None:
    def away() -> Snapshot:
        raise LedgerError("away")

    registry = CollectorRegistry()
    registry.register(LedgerCollector(away))
    assert "cleanup_ledger_up 0.0" in generate_latest(registry).decode()


def exported(ledger: Ledger, reader: Reader) -> dict[str, tuple[str, frozenset[str]]]:
    """Name -> type and labels of everything that there is."""
    fill(ledger)
    return {
        family.name + ("_total" if family.type == "counter" else ""): (
            family.type,
            frozenset(label for sample in family.samples for label in sample.labels if label != "le"),
        )
        for family in families(scrape(reader)).values()
    }


def test_the_docs_name_every_metric_its_type_and_its_labels(ledger: Ledger, reader: Reader) -> None:
    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| ([^|]*) \| ([^|]+) \|$", text, re.MULTILINE)
    documented = {name: (kind, frozenset(re.findall(r"`(\w+)`", labels))) for name, kind, labels, _ in rows}
    of_target = frozenset(("pass", "target", "store", "kind"))
    documented = {
        name: (kind, labels - {"target"} | of_target if "target" in labels else labels)
        for name, (kind, labels) in documented.items()
    }
    assert documented == exported(ledger, reader)


def test_names_keep_the_rules(ledger: Ledger, reader: Reader) -> None:
    for name, (kind, _) in exported(ledger, reader).items():
        assert re.fullmatch(r"[a-z][a-z_]*[a-z]", name) and "_total_total" not in name
        assert name.endswith("_total") == (kind == "counter"), name
        assert not re.search(r"_(ms|millis|milliseconds|minutes|hours|kb|mb)(_|$)", name)


def test_labels_are_escaped(ledger: Ledger, url: str, settings: Settings) -> None:
    [first, *others] = settings.targets
    strange = replace(settings, targets=(replace(first, kind='a"b\\c\nd'), *others))
    reader = Reader(url, strange)
    assert value(scrape(reader), "cleanup_sessions_deleted_total", kind='a"b\\c\nd') == 0
    reader.close()
