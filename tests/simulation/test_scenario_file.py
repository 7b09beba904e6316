"""Scenario files: what they make, what is refused, and what editors are told of them."""

import json
from pathlib import Path
from typing import Any

import pytest
import simpy
import yaml
from jsonschema import Draft7Validator

from cleanup_pipeline.model.words import StoreType
from cleanup_pipeline.simulation.costs import MEASURED
from cleanup_pipeline.simulation.outcome import Verdict
from cleanup_pipeline.simulation.scenario import Cost, Kind, Scenario, Way
from cleanup_pipeline.simulation.scenario_file import ScenarioError, read_scenario
from cleanup_pipeline.simulation.scenario_schema import json_schema, schema_text
from cleanup_pipeline.simulation.simulate import simulate

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "scenario.yaml"
SMALL = """
stores: {pg: {type: postgres}}
passes: {p: {every: 1h}}
targets: {t: {store: pg, pass: p, batch: {fixed: 1ms, per_record: 1.5us}, arrivals: 7200/h, expired: 50000}}
"""


def read(path: Path, text: str, **more: Any) -> Scenario:
    path.write_text(text, encoding="utf-8")
    return read_scenario(path, **more)


def refused(path: Path, text: str) -> list[str]:
    with pytest.raises(ScenarioError) as fault:
        read(path, text)
    return str(fault.value).splitlines()[1:]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "scenario.yaml"


def test_a_small_one(file: Path) -> None:
    made = read(file, SMALL)
    (model,) = made.targets
    assert (model.rate, model.backlog, model.batching.cost) == (2.0, 50_000, Cost(0.001, 1.5e-6))
    assert (model.batching.pause, model.timeout, model.batching.batch_size) == (0.03, 300, 1000)
    assert made.executor.kind is Kind.IN_PROCESS
    assert simulate(made).verdict is Verdict.KEEPS_UP


def test_templates_take_turns_on_stores(file: Path) -> None:
    text = SMALL.replace("type: postgres", "type: postgres, count: 3").replace("pass: p,", "pass: p, count: 10,")
    made = read(file, text)
    assert [each.name for each in made.stores] == ["pg_1", "pg_2", "pg_3"]
    assert made.targets[0].name == "t_01"
    assert [each.store for each in made.targets[:4]] == ["pg_1", "pg_2", "pg_3", "pg_1"]
    assert len(made.targets) == 10


def test_sizes_differ_by_the_seed_alone(file: Path) -> None:
    text = SMALL.replace("pass: p,", "pass: p, count: 2000, sizes: 1.0, records: 1000,")
    one, same, other = (read(file, text, seed=seed) for seed in (1, 1, 2))
    assert list(one.targets) == list(same.targets)
    assert list(one.targets) != list(other.targets)
    assert sum(each.backlog for each in one.targets) == pytest.approx(2000 * 50_000, rel=0.15)
    biggest = max(one.targets, key=lambda each: each.backlog)
    assert biggest.backlog > 500_000
    assert biggest.rate / biggest.backlog == pytest.approx(2.0 / 50_000, rel=0.001)


def test_what_nobody_measured_is_said(file: Path) -> None:
    made = read(file, SMALL.replace("batch: {fixed: 1ms, per_record: 1.5us}, ", ""))
    assert made.targets[0].batching.cost == MEASURED[StoreType.POSTGRES, Way.WALK]
    assert any("t: a batch costs what it did on another machine" in line for line in made.assumed)
    celery = read(file, "executor: {type: celery, workers: 4}" + SMALL)
    assert any(line.startswith("a step of celery takes 1 s") for line in celery.assumed)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("every: 1h", "every: soon", "passes.p.every: found 'soon', expected a duration in whole minutes"),
        ("store: pg", "store: pgg", "targets.t.store: found 'pgg', expected a store, one of pg; did you mean pg?"),
        ("pass: p", "pass: q", "targets.t.pass: found 'q', expected a pass"),
        ("arrivals: 7200/h", "arrivals: 7200", "targets.t.arrivals: found 7200, expected records in a time"),
        ("arrivals", "arivals", "targets.t.arivals: found an unknown key"),
        ("fixed: 1ms", "fixed: 1h", "targets.t.batch.fixed: found '1h', expected a time such as 0.8ms"),
        ("fixed: 1ms, ", "", "targets.t.batch.fixed: found nothing"),
        ("{type: postgres}", "{type: oracle}", "stores.pg.type: found 'oracle', expected postgres, redis or mongo"),
        ("{type: postgres}", "{type: postgres, at_once: {2: 3}}", "stores.pg.at_once: found a mapping"),
        ("expired: 50000", "expired: 50000, day: [1, 2]", "targets.t.day: found a list, expected 24 numbers"),
        ("expired: 50000", "expired: 50000, governor: {latency_target: no}", "targets.t.governor.latency_target"),
        ("expired: 50000", "expired: 50000, run_window: noon", "targets.t.run_window: found 'noon'"),
        ("stores:", "executor: {workers: 3}\nstores:", "executor.workers: found 3, expected 1"),
        ("stores:", "start: noon\nstores:", "start: found 'noon', expected an instant"),
        ("type: postgres}}", "type: mongo}}", "nobody measured walk on mongo here"),
    ],
)  # fmt: skip
def test_faults_are_named(file: Path, before: str, after: str, said: str) -> None:
    text = SMALL.replace(before, after)
    if "mongo" in after:
        text = text.replace("batch: {fixed: 1ms, per_record: 1.5us}, ", "")
    assert text != SMALL
    faults = refused(file, text)
    assert any(said in line for line in faults), faults


def test_all_faults_at_once(file: Path) -> None:
    text = SMALL.replace("every: 1h", "every: soon").replace("store: pg", "store: other").replace("50000", "-1")
    assert len(refused(file, text)) >= 3
    assert refused(file, "targets: {}") != []
    with pytest.raises(ScenarioError, match="no such file"):
        read_scenario(file.with_name("nothing.yaml"))


def test_the_example_is_of_ten_billion_records() -> None:
    made = read_scenario(EXAMPLE)
    assert len(made.targets) == 1000
    assert made.executor.workers == 100
    assert sum(each.records + each.backlog for each in made.targets) == pytest.approx(1e10, rel=0.1)


def test_ten_billion_records_take_few_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as there are steps, however many batches there are."""
    events = 0
    step = simpy.Environment.step

    def counted(self: simpy.Environment) -> None:
        nonlocal events
        events += 1
        step(self)

    monkeypatch.setattr(simpy.Environment, "step", counted)
    made = read_scenario(EXAMPLE)
    found = simulate(Scenario(**{**_fields(made), "days": 0.09}))
    batches = sum(each.batches for each in found.targets)
    assert batches > 3_000_000
    passes = sum(each.passes for each in found.targets)
    assert passes >= 2000
    assert events < 20 * passes


def _fields(made: Scenario) -> dict[str, Any]:
    return {name: getattr(made, name) for name in Scenario.__slots__}


def test_the_committed_schema_is_what_the_command_prints() -> None:
    committed = (ROOT / "docs" / "scenario.schema.json").read_text(encoding="utf-8")
    assert committed == schema_text(), "make schema"


def test_editors_accept_the_example_and_point_at_what_is_wrong() -> None:
    Draft7Validator.check_schema(json_schema())
    checks = Draft7Validator(json_schema())
    content = json.loads(json.dumps(yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))))
    assert list(checks.iter_errors(content)) == []
    content["targets"]["tenant"]["arivals"] = "1/s"
    content["executor"]["type"] = "magic"
    assert len(list(checks.iter_errors(content))) == 2


def test_the_page_names_every_key() -> None:
    page = (ROOT / "docs" / "simulate.md").read_text(encoding="utf-8")
    schema = json_schema()
    sections = [schema, *(schema["definitions"][name] for name in schema["definitions"] if name != "GovernorSection")]
    missing = {key for section in sections for key in section.get("properties", {}) if f"`{key}`" not in page}
    assert missing == set()
