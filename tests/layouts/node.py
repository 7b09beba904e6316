"""Frameworks of Node.js: programs in npm/ that use them, and what is left compared with what they say themselves."""

import json
import os
import shutil
import subprocess
from collections.abc import Collection, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from cleanup_pipeline.engine.limits import limits_of
from cleanup_pipeline.engine.loop import Watch, clean_shard
from cleanup_pipeline.engine.scan import scan
from cleanup_pipeline.layouts import layouts
from cleanup_pipeline.model.outcome import ShardOutcome
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.reporting.fold import fold_target
from cleanup_pipeline.stores.open import open_store
from tests.layouts.case import targets_for
from tests.layouts.init_places import look

NPM = Path(__file__).parent / "npm"
ZONE = "Asia/Tokyo"
"""Of the applications, which is neither that of the databases nor that of the host."""

Record = tuple[str, str]
"""A table, a collection or, for Redis, nothing; and what identifies a record in it."""
Presets = Mapping[str, Mapping[str, Any]]
"""Their parameters by their names."""
Verdict = Mapping[str, Mapping[str, bool]]
"""For each place, for each record that its framework was asked about, whether it is still accepted."""


def _missing() -> str:
    """Why the frameworks cannot run here; empty if they can."""
    if "CLEANUP_LAYOUTS" not in os.environ:
        return "frameworks of Node.js: make test-layouts"
    if shutil.which("node") is None:
        return "Node.js is not installed"
    return "" if (NPM / "node_modules" / ".stamp").exists() else "npm has not installed the frameworks"


installed = pytest.mark.skipif(bool(_missing()), reason=_missing())


def node(script: str, action: str, url: str, *arguments: str, known: Any = None) -> Any:
    """What a program of npm/ answers."""
    command = ["node", str(NPM / f"{script}.mjs"), action, url, *arguments]
    given = "" if known is None else json.dumps(known)
    environment = {**os.environ, "TZ": ZONE, "BETTER_AUTH_TELEMETRY": "0"}
    done = subprocess.run(
        command, input=given, capture_output=True, text=True, check=False, env=environment, timeout=100
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def needs(preset: str) -> pytest.MarkDecorator:
    """For a layout that may not be there."""
    return pytest.mark.skipif(preset not in layouts(), reason=f"there is no layout {preset}")


def pass_over(url: str, presets: Presets, columns: Mapping[str, str] | None = None) -> None:
    """Our presets, over any store, one after another, with nothing left over. `columns` are those with other names.

    Before that, `init` has to find those presets there, and nothing else.
    """
    assert look(layouts()[next(iter(presets))].store_type, url).names == set(presets)
    for name, params in presets.items():
        preset = layouts()[name]
        store = open_store(StoreConfig("main", preset.store_type, url))
        try:
            for target in targets_for(preset, params, columns or {}):
                plan = scan(store, target, dry_run=False)
                outcomes: list[ShardOutcome] = []
                for shard in plan.work.shards:
                    watch = Watch(outcomes.append)
                    clean_shard(store, target, plan.work, shard, plan.cutoff, limits_of(target), watch)
                left = store.survivors(target, plan.cutoff, timedelta(seconds=10))
                assert fold_target(plan, outcomes, left).survivors == 0, target.name
        finally:
            store.close()


def check(
    before: Mapping[Record, Any], after: Mapping[Record, Any], verdict: Verdict, held: Collection[Record] = ()
) -> None:
    """What is dead is gone; what is alive, and what nobody was asked about, is as it was, to the byte.

    `held` are records that their framework does not accept, and that have to stay all the same.
    """
    said = {(place, key): alive for place, found in verdict.items() for key, alive in found.items()}
    alive = {record for record, accepted in said.items() if accepted}
    dead = {record for record, accepted in said.items() if not accepted} & set(before)
    unasked = {record for record in before if record[0] in verdict} - set(said)
    assert alive <= set(before), f"said to be alive, and never stored: {alive - set(before)}"
    assert dead, "nothing was dead: proves nothing"
    assert alive, "nothing was alive: proves nothing"
    assert not unasked, f"their framework was not asked about {unasked}"
    assert set(held) <= dead, "held, and not dead"
    dead -= set(held)
    kept = set(before) - dead
    assert not dead & set(after), f"kept, and should go: {sorted(dead & set(after))}"
    assert not kept - set(after), f"gone, and should stay: {sorted(kept - set(after))}"
    assert {record: after[record] for record in after} == {record: before[record] for record in kept}
