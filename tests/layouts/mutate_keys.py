"""Takes each guard out of each MongoDB and Redis preset in turn, and sees that its case fails then.

As mutate.py does for PostgreSQL; `make mutate-layouts` runs both. What is changed is the preset's file as it is read.
"""

import copy
import logging
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pymongo
import yaml

from cleanup_pipeline.embedded.servers import start_mongo, start_redis
from cleanup_pipeline.layouts import layouts
from cleanup_pipeline.layouts.layout import preset_texts, read_preset
from cleanup_pipeline.model.words import StoreType
from cleanup_pipeline.stores.base import StoreError
from cleanup_pipeline.stores.redis import references, sweep
from tests.layouts.case import targets_for
from tests.layouts.key_places import MongoPlace, Place, RedisPlace, clean
from tests.layouts.keys_case import KeyCase, case_names, fates, read_key_case

Mutant = tuple[str, dict[str, Any]]
_PARTS = ("where", "guards", "unset", "grace")
_OF_SOURCE = ("types", "required", "exclude")
_OF_RULE = (
    *("lifetime", "or_unit", "pull", "ttl_wins", "index", "target_key", "member_codec", "at", "member"),
    *("matches", "repair_ttl"),
)
_OTHER_UNIT = {"s": "ms", "ms": "s", "ns": "ms"}


def mutants(raw: Mapping[str, Any]) -> Iterator[Mutant]:
    """Every preset that is short of one thing, with what that is."""
    for index, step in enumerate(raw.get("steps", [raw])):
        name = step.get("step", "the step")
        for part in _PARTS:
            if part == "grace" and step.get(part) == "0s":
                # As it is without.
                continue
            for what, changed in _short_of(step, part):
                yield f"{name}: without {what}", _with(raw, index, changed)
        for part in _OF_SOURCE:
            for what, changed in _short_of(step["source"], part):
                if part == "required" and {f"required {name}" for name in step.get("where", ())} & {what}:
                    # What is to have a certain value is there.
                    continue
                yield f"{name}: without {what}", _with(raw, index, {**step, "source": changed})
        for what, changed in _rules(step["expires"]):
            yield f"{name}: {what}", _with(raw, index, {**step, "expires": changed})


def _short_of(mapping: Mapping[str, Any], key: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if key not in mapping:
        return
    value = mapping[key]
    if isinstance(value, dict):
        for part in value:
            yield f"{key} {part}", {**mapping, key: {name: one for name, one in value.items() if name != part}}
    elif isinstance(value, list):
        for at, part in enumerate(value):
            yield f"{key} {part}", {**mapping, key: [one for i, one in enumerate(value) if i != at]}
    else:
        yield key, {name: one for name, one in mapping.items() if name != key}


def _rules(rule: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rule with one part of it changed for what a hasty author would have written."""
    for key in _OF_RULE:
        if key in rule:
            yield f"without {key}", {name: value for name, value in rule.items() if name != key}
    for key in ("members_of", "target_key"):
        templates = rule.get(key)
        for at in range(len(templates) if isinstance(templates, list) else 0):
            yield f"without template {at}", {**rule, key: [one for i, one in enumerate(templates) if i != at]}
    for key in ("unit", "score"):
        if rule.get(key) in _OTHER_UNIT:
            yield "in another unit", {**rule, key: _OTHER_UNIT[rule[key]]}
    if "score" in rule:
        yield "without its lower bound", {**rule, "min": -(10**12)}
    if "ttl" in rule:
        yield "judged by its value", {"json": "session.expiresAt"}


def _with(raw: Mapping[str, Any], index: int, step: Mapping[str, Any]) -> dict[str, Any]:
    mutant = copy.deepcopy(dict(raw))
    if "steps" in mutant:
        mutant["steps"][index] = copy.deepcopy(dict(step))
        return mutant
    return copy.deepcopy(dict(step))


def fails(place: Place, case: KeyCase, mutant: Mapping[str, Any]) -> bool:
    """Whether the case notices: a wrong fate, a wrong count, or a refusal."""
    try:
        targets = targets_for(read_preset(yaml.safe_dump(dict(mutant))), case.params, case.columns)
    except ValueError:
        return True
    whole = targets_for(layouts()[case.name], case.params, case.columns)
    written = place.write(case, whole)
    try:
        reports = clean(place, targets)
    except (StoreError, TypeError):
        return True
    counted = {what: sum(getattr(report, what) or 0 for report in reports.values()) for what in case.counts}
    wrong = fates(case, written, place.read(case, whole)) != (set(), set())
    return wrong or counted != dict(case.counts) or any(report.survivors for report in reports.values())


def main(only: list[str]) -> int:
    logging.disable(logging.WARNING)
    references.SETTLE_SECONDS = sweep.SETTLE_SECONDS = 0
    texts, unnoticed, count, cases = preset_texts(), list[str](), 0, 0
    with tempfile.TemporaryDirectory(prefix="cleanup-mutants-") as folder:
        for kind, start in ((StoreType.MONGO, start_mongo), (StoreType.REDIS, start_redis)):
            server = start(Path(folder) / kind.value)
            try:
                for name in case_names(kind):
                    if only and name not in only:
                        continue
                    cases += 1
                    case = read_key_case(kind, name, datetime.now(UTC).replace(microsecond=0))
                    for what, mutant in mutants(yaml.safe_load(texts[name])):
                        count += 1
                        if not _judged(server.url, kind, case, mutant):
                            unnoticed.append(f"{name}: {what}")
            finally:
                server.stop()
    kinds = (StoreType.MONGO, StoreType.REDIS)
    covered = {name for kind in kinds for name in case_names(kind)}
    without = [f"{p.name}: no case" for p in layouts().values() if p.store_type in kinds and p.name not in covered]
    print(f"{count} mutants of {cases} layouts of MongoDB and Redis, {len(unnoticed)} unnoticed")
    print("\n".join(f"  {one}" for one in [*unnoticed, *without]))
    return 1 if unnoticed or without or not count else 0


def _judged(url: str, kind: StoreType, case: KeyCase, mutant: Mapping[str, Any]) -> bool:
    if kind is StoreType.REDIS:
        return fails(RedisPlace(url), case, mutant)
    name = f"mutant_{uuid.uuid4().hex[:12]}"
    try:
        return fails(MongoPlace(url.replace("/cleanup_demo", f"/{name}")), case, mutant)
    finally:
        with pymongo.MongoClient[dict[str, Any]](url) as client:
            client.drop_database(name)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
