"""Old runs out of Dagster: the run, its event log, what its steps handed on, its output.

Deleting a run leaves the files of its steps on disk, and on SQLite the file of its events; they are removed here.
Does not belong here: events that belong to no run (event_rows.py).
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from shutil import rmtree

import dagster as dg
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._core.storage.tags import PARENT_RUN_ID_TAG

from cleanup_pipeline.dagster_defs import names
from cleanup_pipeline.dagster_defs.step_storage import Place

CHUNK = 100
"""Runs that are looked at together."""
MOST_RUNS = 5_000
"""Most runs that one call deletes: a first time behind a long one goes on the next day."""

_FINISHED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]


@dataclass(slots=True)
class _Kept:
    """The runs that stay, however old: sensors, schedules and people judge a job by the newest of its runs."""

    instance: dg.DagsterInstance
    by_job: dict[str, set[str]] = field(default_factory=dict[str, set[str]])

    def has(self, run: dg.DagsterRun) -> bool:
        """Whether it is the newest of its job that has ended, or the newest that a schedule started."""
        if run.job_name not in self.by_job:
            self.by_job[run.job_name] = set(self._newest(run.job_name))
        return run.run_id in self.by_job[run.job_name]

    def _newest(self, job: str) -> Iterator[str]:
        pass_name = job.removeprefix(names.JOB_PREFIX)
        for chosen in (
            dg.RunsFilter(job_name=job, statuses=_FINISHED),
            # `failed_passes` decides by this one.
            dg.RunsFilter(job_name=job, tags={names.SCHEDULED_TAG: pass_name}),
        ):
            yield from (run.run_id for run in self.instance.get_runs(chosen, limit=1))


def prune_runs(
    instance: dg.DagsterInstance,
    before: datetime,
    *,
    dry_run: bool = False,
    most: int = MOST_RUNS,
    handed_on: Sequence[Place] = (),
) -> tuple[int, bool]:
    """Delete our runs that ended before an instant: how many, and whether some are left because of `most`.

    Never one that has not ended, the newest ended one of a job, the newest that a schedule started, or one that
    a run repeats which stays. `handed_on`: where its steps left what they handed on, besides Dagster's own files.
    """
    kept = _Kept(instance)
    count = 0
    cursor: str | None = None
    chosen = dg.RunsFilter(statuses=_FINISHED, created_before=before)
    while True:
        # The newest first: one that repeats another goes before it.
        records = instance.get_run_records(chosen, limit=CHUNK, cursor=cursor)
        for record in records:
            run = record.dagster_run
            old = _is_ours(run) and _ended(record) < before and not kept.has(run)
            if old and count == most:
                return count, True
            if old and dry_run:
                count += 1
            elif old and not _is_repeated(instance, run):
                _delete(instance, run.run_id, handed_on)
                count += 1
                continue
            # A cursor has to be the id of a run that is still there.
            cursor = run.run_id
        if len(records) < CHUNK:
            return count, False


def _is_ours(run: dg.DagsterRun) -> bool:
    # The instance may hold other people's runs, also of jobs in the same code location.
    if any(tag.startswith("cleanup/") for tag in run.tags):
        return True
    # Checks that somebody started on an asset's page are a run of no job of ours.
    keys = {check.asset_key for check in run.asset_check_selection or ()} | set(run.asset_selection or ())
    return bool(keys) and all(key.path[0] == names.ASSETS for key in keys)


def _ended(record: dg.RunRecord) -> datetime:
    if record.end_time is None:
        return record.update_timestamp.astimezone(UTC)
    return datetime.fromtimestamp(record.end_time, UTC)


def _is_repeated(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    return bool(instance.get_runs(dg.RunsFilter(tags={PARENT_RUN_ID_TAG: run.run_id}), limit=1))


def _delete(instance: dg.DagsterInstance, run_id: str, handed_on: Sequence[Place]) -> None:
    # Files first: once the run is gone nobody knows of them.
    folder = Path(instance.storage_directory()) / run_id
    if run_id and folder.is_dir():
        rmtree(folder)
    for place in handed_on:
        place.forget(run_id)
    # Managers of other people's making need not be able to.
    with suppress(NotImplementedError):
        instance.compute_log_manager.delete_logs(prefix=[run_id])
    instance.delete_run(run_id)
    storage = instance.event_log_storage
    if isinstance(storage, SqliteEventLogStorage):
        for end in ("", "-wal", "-shm"):
            Path(storage.path_for_shard(run_id) + end).unlink(missing_ok=True)
