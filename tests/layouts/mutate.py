"""Takes each guard out of each PostgreSQL preset in turn, and sees that its case fails then. `make mutate-layouts`.

A guard that can go without any test noticing is one that nobody would miss until it kills something. What is changed is
the preset's file as it is read; what judges is the case of the preset, in cases/.
"""

import copy
import logging
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg
import yaml

from cleanup_pipeline.embedded.servers import start_postgres
from cleanup_pipeline.layouts import layouts
from cleanup_pipeline.layouts.layout import preset_texts, read_preset
from cleanup_pipeline.model.words import StoreType
from cleanup_pipeline.stores.base import StoreError
from tests.layouts.case import Case, case_names, clean, left, read_case, refuses_to_delete, targets_for, write, wrongs

Mutant = tuple[str, dict[str, Any]]

_OPTIONAL = {"where", "guards", "detach", "grace", "children", "set_null"}


def mutants(raw: Mapping[str, Any]) -> Iterator[Mutant]:
    """Every preset that is short of one thing, with what that is."""
    if "report_only" in raw:
        yield "without report_only", {key: value for key, value in raw.items() if key != "report_only"}
    steps = raw.get("steps", [raw])
    for index, step in enumerate(steps):
        name = step.get("step", "the step")
        for key in _OPTIONAL & set(step):
            value = step[key]
            if key == "grace" and value == "0s":
                # As it is without.
                continue
            parts = list(value) if isinstance(value, dict | list) else [None]
            for at, part in enumerate(parts):
                yield f"{name}: without {key} {part or ''}", _without(raw, index, key, at if part is not None else None)
        for what, changed in _rules(step["expires"]):
            mutant = copy.deepcopy(dict(raw))
            _step(mutant, index)["expires"] = changed
            yield f"{name}: {what}", mutant


def _rules(rule: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rule with one part of it changed for what a hasty author would have written."""
    for key in ("latest", "earliest"):
        for at in range(len(rule.get(key, ()))):
            rest = [one for i, one in enumerate(rule[key]) if i != at]
            yield f"without part {at} of {key}", rest[0] if len(rest) == 1 else {key: rest}
            for what, changed in _rules(rule[key][at]):
                yield f"part {at}: {what}", {key: [changed if i == at else one for i, one in enumerate(rule[key])]}
    if "never_values" in rule:
        yield "without never_values", {k: v for k, v in rule.items() if k != "never_values"}
    if "null_means" in rule:
        yield "without null_means", {k: v for k, v in rule.items() if k != "null_means"}
    if "zone" in rule:
        yield "in another zone", {**rule, "zone": "Pacific/Kiritimati"}
        yield "in yet another zone", {**rule, "zone": "Pacific/Pago_Pago"}
    if "unit" in rule:
        yield "in another unit", {**rule, "unit": {"s": "ms", "ms": "s"}[rule["unit"]]}
    if "start" in rule:
        start = {"column": rule["start"]} if isinstance(rule["start"], str) else rule["start"]
        yield "without its lifetime", start
        for what, changed in _rules(start):
            yield what, {**rule, "start": changed}
    for kind in ("values", "prefixes"):
        for value in rule.get("lifetime_by", {}).get(kind, {}):
            by = copy.deepcopy(rule["lifetime_by"])
            by[kind][value] = "1s"
            yield f"with a second for {value}", {**rule, "lifetime_by": by}


def _without(raw: Mapping[str, Any], index: int, key: str, at: int | None) -> dict[str, Any]:
    mutant = copy.deepcopy(dict(raw))
    step = _step(mutant, index)
    if at is None:
        del step[key]
    elif isinstance(step[key], dict):
        del step[key][list(step[key])[at]]
    else:
        del step[key][at]
    return mutant


def _step(raw: dict[str, Any], index: int) -> dict[str, Any]:
    step: dict[str, Any] = raw["steps"][index] if "steps" in raw else raw
    return step


def fails(url: str, case: Case, mutant: Mapping[str, Any]) -> bool:
    """Whether the case notices: a wrong fate, or a refusal."""
    try:
        preset = read_preset(yaml.safe_dump(dict(mutant)))
        targets = targets_for(preset, case.params, case.columns)
    except ValueError:
        return True
    if refuses_to_delete(preset, case) != case.report_only:
        return True
    with psycopg.connect(url, autocommit=True) as db:
        written = write(db, case)
    try:
        reports = clean(url, targets)
    except StoreError:
        return True
    right = targets_for(layouts()[case.preset], case.params, case.columns)
    nulled = {target.source_name: target.set_null for target in right if target.set_null}
    with psycopg.connect(url, autocommit=True) as db:
        found = wrongs(written, left(db, sorted({row.table for row in case.rows})), nulled)
    counted = sum(report.without_expiry or 0 for report in reports.values())
    miscounted = case.without_expiry not in {None, counted}
    return bool(found) or miscounted or any(report.survivors for report in reports.values())


def main(only: list[str]) -> int:
    logging.disable(logging.WARNING)  # a mutant that the database itself stops goes on with smaller and smaller batches
    texts = preset_texts()
    unnoticed: list[str] = []
    count = 0
    with tempfile.TemporaryDirectory(prefix="cleanup-mutants-") as place:
        Path(place).chmod(0o755)
        server = start_postgres(Path(place))
        try:
            for name in case_names():
                case = read_case(name)
                if only and name not in only:
                    continue
                for what, mutant in mutants(yaml.safe_load(texts[case.preset])):
                    count += 1
                    if not _judged(server.url, case, mutant):
                        unnoticed.append(f"{name}: {what}")
        finally:
            server.stop()
    covered = {read_case(name).preset for name in case_names()}
    # Those of MongoDB and Redis are for mutate_keys.
    of_tables = [p for p in layouts().values() if p.store_type is StoreType.POSTGRES]
    without = [f"{p.name}: no case" for p in of_tables if p.name not in covered]
    print(f"{count} mutants of {len(case_names())} layouts, {len(unnoticed)} unnoticed")
    print("\n".join(f"  {one}" for one in [*unnoticed, *without]))
    return 1 if unnoticed or without or not count else 0


def _judged(server_url: str, case: Case, mutant: Mapping[str, Any]) -> bool:
    name = f"mutant_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")  # type: ignore[call-overload]
        try:
            return fails(server_url.rsplit("/", 1)[0] + f"/{name}", case, mutant)
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")  # type: ignore[call-overload]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
