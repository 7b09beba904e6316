"""Passes as they are in production: the job that the settings make, its ops, its ledger; in this process or another."""

import contextlib
import json
import os
import signal
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import dagster as dg

from cleanup_pipeline.dagster_defs.build import build_defs
from cleanup_pipeline.dagster_defs.closing import close_pass, write_down_late
from cleanup_pipeline.dagster_defs.names import DELETED_TAG, STATUS_TAG
from cleanup_pipeline.engine.lease import let_go
from cleanup_pipeline.engine.limits import bounded, limits_of
from cleanup_pipeline.engine.loop import Watch, clean_shard
from cleanup_pipeline.engine.retry import retrying
from cleanup_pipeline.engine.scan import scan
from cleanup_pipeline.ledger import Recorder, open_ledger
from cleanup_pipeline.ledger.ledger import SETTING
from cleanup_pipeline.ledger.recorder import AHEAD
from cleanup_pipeline.model.lease import Lease
from cleanup_pipeline.model.outcome import ShardOutcome, Tally, TargetReport
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.reporting.codec import pass_document
from cleanup_pipeline.reporting.fold import fold_pass, fold_target, unplanned
from cleanup_pipeline.settings import Settings, load_settings
from cleanup_pipeline.stores.base import StoreError
from cleanup_pipeline.stores.open import open_store
from tests.faults.bench.disk import Disk, small_disk, why_not

CONTEXT = get_context("forkserver")
CONTEXT.set_forkserver_preload(["cleanup_pipeline.dagster_defs.launch", "cleanup_pipeline.dagster_defs.build"])

DISK_MEGABYTES = 64
"""For the ledger, and for Dagster's storage of passes in processes of their own."""
SETTINGS = """
cleanup:
  batch_size: {batch}
  pause: {pause}
  max_shards: 2
  brakes: {{unusual_count: off, unusual_share: off, restored: off, changed: false, unreadable: false}}
stores:
  it: {{type: {type}, url: "${{BENCH_URL}}", lease: {lease}, statement_timeout: {patience}, connect_timeout: 2s,
       lock_timeout: 1s}}
targets:
  it: {{{target}}}
"""
TARGETS = {
    ("postgres", "sweep"): "store: it, table: web, expires: {column: e}, mode: delete",
    ("postgres", "walk"): "store: it, table: web, expires: {column: e}, mode: delete",
    ("postgres", "children"): "store: it, table: web, expires: {column: e}, children: delete_first, mode: delete",
    ("redis", "value"): "store: it, keys: 's:*', expires: {value: ms}, mode: delete",
    ("redis", "hash"): "store: it, keys: 's:*', key_type: hash, expires: {hash_field: e, unit: ms}, mode: delete",
    ("redis", "score"): "store: it, keys: 'z:*', key_type: zset, expires: {score: ms}, mode: delete",
    ("mongo", "sweep"): "store: it, collection: docs, expires: {field: e}, mode: delete",
    ("mongo", "walk"): "store: it, collection: docs, expires: {field: e}, mode: delete",
    ("mongo", "pull"): "store: it, collection: docs, expires: {field: tokens.e, pull: tokens}, mode: delete",
}


@dataclass(frozen=True)
class Pace:
    batch: int = 50
    pause: str = "0s"
    lease: str = "5s"
    patience: str = "2s"


def write_settings(folder: Path, store: str, shape: str, pace: Pace) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    kind = "redis" if store in {"sentinel", "cluster"} else store
    text = SETTINGS.format(type=kind, target=TARGETS[kind, shape], **vars(pace))
    file = folder / "cleanup.yaml"
    file.write_text(text)
    return file


@dataclass(frozen=True)
class Ended:
    """What a pass says of itself, and what was written down about it."""

    report: dict[str, Any]
    run_id: str
    tags: dict[str, str]


class Passes:
    """Runs passes on one Dagster instance in memory and one ledger in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._open = contextlib.ExitStack()
        self.disk: Disk | None = None
        if why_not() is None:
            self.disk = self._open.enter_context(small_disk(folder, DISK_MEGABYTES))
        self.ledger_url = f"sqlite:///{folder / 'ledger.db'}"
        self._instance = dg.DagsterInstance.ephemeral()
        self._ledger = open_ledger(self.ledger_url)
        self._jobs: dict[tuple[str, str, Pace, str], tuple[Settings, dg.JobDefinition]] = {}

    def run(self, store: str, shape: str, url: str, pace: Pace) -> Ended:
        """A pass in this process."""
        key = (store, shape, pace, url)
        if key not in self._jobs:
            file = write_settings(self.folder / "settings", store, shape, pace)
            settings = load_settings(file, {"BENCH_URL": url})
            self._jobs[key] = settings, build_defs(settings).resolve_job_def("clean_sessions")
        settings, job = self._jobs[key]
        self._targets = {"sessions": settings.targets_of("sessions")}
        with variables({SETTING: self.ledger_url}):
            result = job.execute_in_process(
                instance=self._instance,
                run_config={
                    "resources": {"pass_options": {"config": {"dry_run": False}}},
                    "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
                },
                tags={"cleanup/pass": "sessions"},
                raise_on_error=False,
            )
            report = close_pass(self._instance, result.run_id, "sessions", settings.targets_of("sessions"))
        run = self._instance.get_run_by_id(result.run_id)
        return Ended(pass_document(report), result.run_id, dict(run.tags) if run else {})

    def quick(self, store: str, shape: str, url: str, pace: Pace) -> Ended:
        """A pass without Dagster, step by step as its ops take them: the same engine and ledger in less time."""
        file = write_settings(self.folder / "settings", store, shape, pace)
        settings = load_settings(file, {"BENCH_URL": url})
        [target] = settings.targets_of("sessions")
        run = str(uuid.uuid4())
        opened = open_store(settings.stores["it"])
        recorder = Recorder(self.ledger_url)
        recorder.begin_pass(run, "sessions", dry_run=False, window=None, parent_run_id=None, host="here")
        try:
            report = _one_target(opened, target, recorder, run)
        finally:
            opened.close()
        recorder.record_target(run, report)
        whole = fold_pass("sessions", [report], 0.0, run)
        recorder.close_pass(run, str(whole.status), whole.reason)
        recorder.close()
        tags = {STATUS_TAG: str(whole.status), DELETED_TAG: str(report.deleted)}
        return Ended(pass_document(whole), run, tags)

    def forget(self) -> None:
        """Let go of what Dagster keeps of runs: in memory it would grow for ever."""
        self._instance.dispose()
        self._instance = dg.DagsterInstance.ephemeral()
        self._jobs.clear()

    @contextlib.contextmanager
    def ledger(self) -> Iterator[Any]:
        yield self._ledger

    def worker(self, store: str, shape: str, url: str, pace: Pace) -> "Worker":
        """A pass in a process of its own, as the command line starts it."""
        folder = self.folder / "worker"
        write_settings(folder, store, shape, pace)
        (folder / "report.json").unlink(missing_ok=True)
        process = CONTEXT.Process(target=_work, args=(folder, {"BENCH_URL": url, SETTING: self.ledger_url}))
        process.start()
        return Worker(process, folder)

    def another_ledger(self) -> None:
        """An empty one."""
        self._ledger.close()
        self.ledger_url = f"sqlite:///{self.folder / f'ledger-{uuid.uuid4()}.db'}"
        self._ledger = open_ledger(self.ledger_url)

    def late(self) -> None:
        """As the daemon does every half a minute: put into the ledger what it lacks."""
        with variables({SETTING: self.ledger_url}):
            write_down_late(self._instance, self._targets)

    def close(self) -> None:
        self._instance.dispose()
        self._ledger.close()
        self._open.close()


def _one_target(store: Any, target: Target, recorder: Recorder, run: str) -> TargetReport:
    try:
        plan = scan(store, target, dry_run=False)
    except StoreError as fault:
        return unplanned(target, str(fault))
    recorder.record_plan(run, plan)
    outcomes: list[ShardOutcome] = []
    for shard in plan.work.shards:
        recorder.begin_shard(run, plan, shard.index, bounded=bounded(plan.work, shard))

        def record(outcome: ShardOutcome) -> None:
            recorder.record_shard(run, outcome)
            outcomes.append(outcome)

        def before(tally: Tally, size: int, number: int = shard.index) -> None:
            recorder.before_batch(run, target.name, number, tally, size, ahead=1 if target.pause else AHEAD)

        lease = Lease(run, shard.index, "here", "")
        watch = Watch(record, before=before)
        clean_shard(store, target, plan.work, shard, plan.cutoff, limits_of(target), watch, lease=lease)
    let_go(store, target, run)
    error = None
    try:
        left = retrying()(store.survivors, target, plan.cutoff, target.census_timeout)
    except StoreError as fault:
        left, error = None, f"could not recount what is left: {fault}"
    return fold_target(plan, outcomes, left, error)


@dataclass
class Worker:
    process: Any
    folder: Path

    def send(self, sign: signal.Signals) -> None:
        os.kill(self.process.pid, sign)

    def end(self, seconds: float = 120) -> Ended | None:
        """What it said; None when it was killed."""
        self.process.join(seconds)
        assert self.process.exitcode is not None, "a worker did not end"
        file = self.folder / "report.json"
        if not file.exists():
            return None
        kept = json.loads(file.read_text())
        return Ended(kept["report"], kept["report"]["run_id"], kept["tags"])


def _work(folder: Path, variables_: dict[str, str]) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(folder)
    for name in [name for name in os.environ if name.startswith(("CLEANUP_", "DAGSTER_"))]:
        del os.environ[name]
    os.environ.update(variables_)
    from cleanup_pipeline.cli.home import dagster_home
    from cleanup_pipeline.dagster_defs.launch import instance_at, run_pass

    settings = load_settings()
    with instance_at(dagster_home()) as instance:
        report = run_pass(settings, "sessions", instance=instance)
        run = instance.get_run_by_id(report.run_id or "")
        tags = dict(run.tags) if run else {}
    made = folder / "report.json.new"
    made.write_text(json.dumps({"report": pass_document(report), "tags": tags}))
    made.rename(folder / "report.json")


@contextlib.contextmanager
def variables(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


__all__ = ["STATUS_TAG", "Ended", "Pace", "Passes", "Worker"]
