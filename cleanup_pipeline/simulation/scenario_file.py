"""A scenario file -> Scenario, or every fault in it at once."""

import os
import random
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from cleanup_pipeline.layouts.field_types import Section
from cleanup_pipeline.model.words import StoreType
from cleanup_pipeline.settings.document import MAX_BYTES, read_document
from cleanup_pipeline.settings.faults import Fault, show
from cleanup_pipeline.settings.pace import pace_of, read_pace
from cleanup_pipeline.settings.translate import check_section, unknown_name
from cleanup_pipeline.simulation.costs import LOOKS, MEASURED, OWN, SHARD, SPEEDUPS, STEPS
from cleanup_pipeline.simulation.document import (
    BatchSection,
    ExecutorSection,
    PassTemplate,
    ScenarioFile,
    StoreTemplate,
    TargetTemplate,
)
from cleanup_pipeline.simulation.scenario import (
    FLAT,
    Batching,
    Cost,
    Executor,
    Kind,
    PassModel,
    Scenario,
    StoreModel,
    TargetModel,
    Way,
)

_S = TypeVar("_S", bound=Section)


class ScenarioError(ValueError):
    """A scenario file cannot be used. One line a fault."""

    def __init__(self, source: str, faults: list[Fault]) -> None:
        count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        super().__init__("\n  ".join([f"{source}: {count}:", *map(str, faults)]))


def read_scenario(path: Path, *, seed: int = 0) -> Scenario:
    """The scenario in a file; `seed` decides about unlike sizes. Raises ScenarioError."""
    try:
        with path.open("rb") as opened:
            data = opened.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        found = "no such file" if isinstance(error, FileNotFoundError) else "a file that cannot be read"
        raise ScenarioError(str(path), [Fault("", found, "a scenario file, such as examples/scenario.yaml")]) from None
    document = read_document(data, os.environ)
    if document.faults:
        raise ScenarioError(str(path), document.faults)
    reader = _Reader(document.content, random.Random(seed))  # noqa: S311 - sizes of tenants, no secret
    scenario = reader.read()
    if scenario is None or reader.faults:
        raise ScenarioError(str(path), reader.faults)
    return scenario


class _Reader:
    """One reading of one file."""

    def __init__(self, content: dict[str, Any], dice: random.Random) -> None:
        self.content, self.dice = content, dice
        self.faults: list[Fault] = []
        self.assumed: dict[str, None] = {}

    def read(self) -> Scenario | None:
        file, _ = check_section(ScenarioFile, self.content, (), self.faults)
        if file is None:
            return None
        stores = self._named("stores", file.stores, StoreTemplate)
        passes = self._named("passes", file.passes, PassTemplate)
        targets = self._named("targets", file.targets, TargetTemplate)
        executor = self._executor(file.executor)
        models = [model for name, each in targets.items() for model in self._targets(name, each, stores, passes)]
        start = self._start(file.start)
        if self.faults:
            return None
        return Scenario(
            start=start,
            stores=[model for name, each in stores.items() for model in self._stores(name, each)],
            targets=models,
            passes=[
                PassModel(name, each.every.total_seconds(), each.retries, each.retry_after.total_seconds())
                for name, each in passes.items()
            ],
            executor=executor,
            days=file.days,
            assumed=tuple(self.assumed),
        )

    def _named(self, section: str, raw: Any, model: type[_S]) -> dict[str, _S]:
        if not isinstance(raw, dict) or not raw:
            self.faults.append(Fault(section, show(raw), f"a mapping of names to {section}"))
            return {}
        read = {
            str(name): check_section(model, each, (section, str(name)), self.faults)[0] for name, each in raw.items()
        }
        return {name: each for name, each in read.items() if each is not None}

    def _start(self, text: str | None) -> datetime:
        if text is None:
            return datetime.now(UTC).replace(microsecond=0)
        try:
            found = datetime.fromisoformat(str(text))
        except ValueError:
            found = None
        if found is None:
            self.faults.append(Fault("start", show(text), "an instant such as 2026-01-01T00:00Z"))
            return datetime.now(UTC)
        return found if found.tzinfo else found.replace(tzinfo=UTC)

    def _executor(self, raw: Any) -> Executor:
        section, _ = check_section(ExecutorSection, raw or {}, ("executor",), self.faults)
        given = section or ExecutorSection()
        kind = Kind(given.type)
        step, measured = STEPS[kind]
        if kind is Kind.IN_PROCESS and given.workers > 1:
            fault = Fault("executor.workers", str(given.workers), "1", remedy="in_process runs one step after another")
            self.faults.append(fault)
        if given.step is None and not measured:
            self.assumed[f"a step of {kind} takes {step:g} s before it does anything; executor.step"] = None
        usual = Executor()
        return Executor(
            kind,
            given.workers,
            start_seconds=usual.start_seconds if given.start is None else given.start,
            run_seconds=usual.run_seconds if given.run is None else given.run,
            step_seconds=step if given.step is None else given.step,
        )

    def _stores(self, name: str, of: StoreTemplate) -> list[StoreModel]:
        speedup = of.at_once or SPEEDUPS[StoreType(of.type)]
        if of.at_once is None and of.type != StoreType.REDIS:
            most = speedup[-1][0]
            self.assumed[f"{name}: more than {most:g} batches at once do no more than that many; at_once"] = None
        return [StoreModel(each, speedup, of.steps) for each in _names(name, of.count)]

    def _targets(
        self, name: str, of: TargetTemplate, stores: Mapping[str, StoreTemplate], passes: Mapping[str, PassTemplate]
    ) -> list[TargetModel]:
        path = ("targets", name)
        if of.store not in stores:
            self.faults.append(unknown_name((*path, "store"), of.store, "a store", list(stores)))
        if of.of_pass not in passes:
            self.faults.append(unknown_name((*path, "pass"), of.of_pass, "a pass", list(passes)))
        if of.store not in stores or of.of_pass not in passes:
            return []
        kind = StoreType(stores[of.store].type)
        way = Way(of.strategy) if of.strategy else Way.SWEEP if kind is StoreType.REDIS else Way.WALK
        cost = self._cost(name, of, kind, way)
        pace = pace_of(read_pace(of.governor, of.run_window, None, path, self.faults))
        places = _names(of.store, stores[of.store].count)
        counting = LOOKS[kind]
        if of.count_per_record is None:
            per = f"counting takes {counting[1] * 1e6:.1f} s for a million records; count_per_record"
            self.assumed[f"{name}: {per}"] = None
        model = TargetModel(
            name=name,
            store=of.store,
            of_pass=of.of_pass,
            batching=Batching(
                cost=cost,
                way=way,
                batch_size=of.batch_size,
                pause=of.pause.total_seconds(),
                pace=pace,
                own=OWN,
                scripts=kind is StoreType.REDIS,
            ),
            oldest=of.oldest.total_seconds() if of.oldest else 0.0,
            curve=of.day or FLAT,
            timeout=of.operation_timeout.total_seconds(),
            row_limit=of.row_limit,
            shards=of.shards,
            shard_seconds=SHARD,
            look_fixed=counting[0],
            look_per_record=counting[1] if of.count_per_record is None else of.count_per_record,
            census_timeout=of.census_timeout.total_seconds(),
        )
        made: list[TargetModel] = []
        for number, each in enumerate(_names(name, of.count)):
            # Its mean is 1, so that the templates' totals stay what they are.
            factor = self.dice.lognormvariate(-(of.sizes**2) / 2, of.sizes) if of.sizes else 1.0
            made.append(
                replace(
                    model,
                    name=each,
                    store=places[number % len(places)],
                    records=float(round(of.records * factor)),
                    backlog=float(round(of.expired * factor)),
                    rate=of.arrivals * factor,
                )
            )
        return made

    def _cost(self, name: str, of: TargetTemplate, kind: StoreType, way: Way) -> Cost:
        if of.batch is not None:
            section, _ = check_section(BatchSection, of.batch, ("targets", name, "batch"), self.faults)
            return Cost(section.fixed, section.per_record, section.per_look) if section else Cost(0.001, 1e-6)
        known = MEASURED.get((kind, way))
        if known is None:
            wanted = "what a batch costs, such as {fixed: 1ms, per_record: 2us}"
            remedy = f"nobody measured {way} on {kind} here"
            self.faults.append(Fault(f"targets.{name}.batch", "nothing", wanted, remedy=remedy))
            return Cost(0.001, 1e-6)
        self.assumed[f"{name}: a batch costs what it did on another machine (docs/scale.md); batch"] = None
        return known


def _names(name: str, count: int) -> list[str]:
    """NAME, or NAME_1, NAME_2, ... with leading zeros."""
    width = len(str(count))
    return [name] if count == 1 else [f"{name}_{number:0{width}d}" for number in range(1, count + 1)]
