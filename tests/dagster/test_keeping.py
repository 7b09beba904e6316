"""A pass that keeps what it removes, as Dagster runs it; the undo of it; and what support is told."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest
from typer.testing import CliRunner

from cleanup_pipeline.cli.main import app
from cleanup_pipeline.dagster_defs.build import build_defs
from cleanup_pipeline.dagster_defs.keeping import Places, prune_kept
from cleanup_pipeline.dagster_defs.resources import ledger_url
from cleanup_pipeline.dagster_defs.switches import paused, resume
from cleanup_pipeline.dagster_defs.undoing import UndoError, undo_run
from cleanup_pipeline.keeping import removals
from cleanup_pipeline.keeping.places import HALF, Folder
from cleanup_pipeline.ledger import Ledger, open_ledger
from cleanup_pipeline.model.lease import Lease
from cleanup_pipeline.model.removed import Fate
from cleanup_pipeline.settings import Settings, SettingsError, load_settings
from cleanup_pipeline.stores.open import open_store
from tests.dagster.conftest import Run
from tests.small_disk import small_disk as small_disk

KEY, OTHER = "0123456789abcdefghijklmnopqrstuvwxyz0123", "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
SETTINGS = """
cleanup: {batch_size: 10, pause: 0s}
stores:
  main: {type: postgres, url: "${CLEANUP_POSTGRES_URL}"}
targets:
  web: {store: main, table: web, expires: {column: expires_at}, mode: delete, MORE}
"""
BOTH = "removal_ledger: true, quarantine: true, owner: owner"


def rows(db: psycopg.Connection[Any]) -> list[str]:
    return [row[0] for row in db.execute("SELECT w::text FROM web w ORDER BY id")]


@pytest.fixture
def db(postgres_url: str) -> Iterator[psycopg.Connection[Any]]:
    """25 expired and 5 live sessions."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE web (id text PRIMARY KEY, owner int, expires_at timestamptz)")
        connection.execute(
            "INSERT INTO web SELECT 'token-' || n, n % 3, now() + CASE WHEN n <= 25 THEN -1 ELSE 1 END * interval '1 d'"
            " FROM generate_series(1, 30) n"
        )
        yield connection


class Place:
    """Settings in a folder, with whatever keys."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url

    def load(self, more: str = BOTH, removal: str = KEY, quarantine: str = KEY, sections: str = "") -> Settings:
        file = self.folder / "cleanup.yaml"
        file.write_text(SETTINGS.replace("MORE", more) + sections)
        environ = {"CLEANUP_POSTGRES_URL": self.url}
        environ |= {"CLEANUP_REMOVAL_KEY": removal, "CLEANUP_QUARANTINE_KEY": quarantine}
        return load_settings(file, environ)


@pytest.fixture
def place(tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch, instance: dg.DagsterInstance) -> Place:
    # The commands of a test work on its own instance.
    monkeypatch.setenv("DAGSTER_HOME", instance.root_directory)
    monkeypatch.setenv("CLEANUP_POSTGRES_URL", postgres_url)
    monkeypatch.setenv("CLEANUP_REMOVAL_KEY", KEY)
    monkeypatch.setenv("CLEANUP_QUARANTINE_KEY", KEY)
    monkeypatch.setenv("CLEANUP_SETTINGS", str(tmp_path / "cleanup.yaml"))
    return Place(tmp_path, postgres_url)


@pytest.fixture
def ledger(instance: dg.DagsterInstance) -> Iterator[Ledger]:
    opened = open_ledger(ledger_url(instance))
    yield opened
    opened.close()


def command(*words: str, code: int = 0, stdin: str = "") -> str:
    result = CliRunner().invoke(app, list(words), input=stdin, env={"COLUMNS": "80"})
    assert result.exit_code == code, result.output
    return result.output


def test_a_pass_is_undone_and_is_not_done_again_unasked(
    place: Place, run: Run, db: psycopg.Connection[Any], instance: dg.DagsterInstance, ledger: Ledger
) -> None:
    before, settings = rows(db), place.load()
    result, report = run(settings)
    assert result.success and report.targets[0].deleted == 25 and len(rows(db)) == 5
    [kept] = ledger.keepings.of("web")
    assert (kept.removal_records, kept.quarantine_records, kept.error) == (25, 25, None)
    assert kept.ended_at is not None and (kept.quarantine_bytes or 0) > 1000
    outputs = [e for e in result.all_events if e.event_type_value == "STEP_OUTPUT" and "delete" in (e.step_key or "")]
    assert outputs[0].step_output_data.metadata["quarantined_records"].value == 25

    looked = undo_run(settings, instance, result.run_id, dry_run=True)
    assert looked.targets[0].fates == {Fate.RESTORED: 25}
    assert len(rows(db)) == 5 and paused(instance, "web") is None and not ledger.keepings.undone()

    done = undo_run(settings, instance, result.run_id, by="me@here")
    assert (done.red, done.paused, done.targets[0].fates) == (False, ("web",), {Fate.RESTORED: 25})
    assert rows(db) == before
    [entry] = ledger.keepings.undone()
    assert (entry.run_id, entry.target, entry.by, entry.restored) == (result.run_id, "web", "me@here", 25)

    # They are expired, but the target is paused until somebody says otherwise.
    _, report = run(settings)
    assert report.targets[0].deleted == 0 and "undo of run" in report.targets[0].why
    assert rows(db) == before
    resume(instance, "web")
    again, report = run(settings)
    assert report.targets[0].deleted == 25
    # It is the run that removed them last whose undo brings them back.
    assert undo_run(settings, instance, result.run_id).targets[0].before == 25
    assert undo_run(settings, instance, again.run_id).targets[0].fates == {Fate.RESTORED: 25}


def test_the_jobs_in_the_ui(place: Place, run: Run, db: psycopg.Connection[Any], instance: dg.DagsterInstance) -> None:
    before, settings = rows(db), place.load()
    result, _ = run(settings)
    definitions = build_defs(settings)
    job = definitions.resolve_job_def("undo")

    def execute(**config: Any) -> dg.ExecuteInProcessResult:
        return job.execute_in_process(
            instance=instance,
            run_config={
                "ops": {"undo": {"config": {"run": result.run_id, **config}}},
                "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
            },
            raise_on_error=False,
        )

    assert execute().success and len(rows(db)) == 5
    done = execute(dry_run=False)
    [output] = [e for e in done.all_events if e.event_type_value == "STEP_OUTPUT"]
    assert output.step_output_data.metadata["restored"].value == 25
    assert rows(db) == before
    assert not execute(target="nobody", dry_run=False).success

    # Both are bounded, once a day.
    places = Places(settings.removals, settings.quarantine, Path(instance.root_directory))
    assert prune_kept(places).removal_entries == 0
    pruned = prune_kept(places, datetime.now(UTC) + timedelta(days=30))
    assert (pruned.quarantined_shards, pruned.quarantine_bytes_left, pruned.removal_entries) == (1, 0, 0)
    pruned = prune_kept(places, datetime.now(UTC) + timedelta(days=500))
    assert (pruned.removal_entries, pruned.faults) == (25, ())
    with pytest.raises(UndoError, match="has nothing that run"):
        undo_run(settings, instance, result.run_id)
    assert definitions.resolve_job_def("prune_kept").execute_in_process(instance=instance).success


def test_what_support_is_told(
    place: Place, run: Run, db: psycopg.Connection[Any], ledger: Ledger, instance: dg.DagsterInstance
) -> None:
    place.load(more="owner: owner")
    run(load_settings(place.folder / "cleanup.yaml"))
    db.execute(
        "INSERT INTO web VALUES ('token-99', 1, now() - interval '2 hours 5 s'), ('x-1', 2, now() - interval '1 min')"
    )
    place.load(more="removal_ledger: true, owner: owner, grace: 30s")
    result, _ = run(load_settings(place.folder / "cleanup.yaml"))
    said = command("why", "web", "--id", "token-99")
    assert f"by pass sessions, run {result.run_id}" in said
    assert "2h" in said and "30s of grace" in said
    found = json.loads(command("why", "web", "--owner", "2", "--json"))
    assert [each["run"] for each in found["removed"]] == [result.run_id]
    assert found["without_entry"]["records"] == 25
    nothing = command("why", "web", "--id", "token-3", code=1)
    assert "this record: not by this pipeline, as far back as" in nothing
    # Honest: it was, but when the removal ledger was off.
    assert "! 25 records went without an entry" in nothing
    assert "token" not in nothing
    assert "by pass" in command("why", "web", "--id", "-", stdin="token-99\n")


def test_the_commands_at_80_columns_and_an_owner_who_is_forgotten(
    place: Place, run: Run, db: psycopg.Connection[Any], ledger: Ledger
) -> None:
    place.load()
    assert command("undo") == "the quarantine is empty\n"
    result, _ = run(load_settings(place.folder / "cleanup.yaml"))
    assert result.run_id[:8] in command("undo")
    assert len(json.loads(command("why", "web", "--owner", "1", "--json"))["removed"]) == 9
    forgotten = json.loads(command("forget", "--owner", "1", "--json"))
    assert (forgotten["entries"], forgotten["quarantined"]) == (9, 9)
    command("why", "web", "--owner", "1", code=1)
    [row] = ledger.keepings.erased()
    assert (row.entries, row.quarantined, row.digest) == (9, 9, forgotten["digest"])
    db.execute("INSERT INTO web VALUES ('token-2', 5, now() + interval '1 day')")
    looked = command("undo", result.run_id[:8], "--dry-run")
    assert "15  would be put back" in looked and "1  there is one again" in looked
    said = command("undo", result.run_id)
    assert "15  put back" in said and "web is paused" in said
    assert "token" not in said and KEY not in said
    assert db.execute("SELECT count(*) FROM web WHERE owner = 1 AND expires_at < now()").fetchone() == (0,)
    command("undo", "0000000000", code=1)


def test_forget_says_what_it_could_not_search_and_enters_what_it_erased(
    place: Place, run: Run, db: psycopg.Connection[Any], instance: dg.DagsterInstance, ledger: Ledger
) -> None:
    place.load()
    run(load_settings(place.folder / "cleanup.yaml"))
    [kept] = Path(instance.root_directory).rglob("*.kept")
    data = bytearray(kept.read_bytes())
    data[data.index(b"}") + 20] ^= 1
    kept.write_bytes(data)
    said = command("forget", "--owner", "1", code=1)
    assert "not searched" in said and kept.name.partition(".kept")[0] in said
    [row] = ledger.keepings.erased()
    assert (row.entries, row.quarantined) == (9, 0)


def test_what_keeps_an_undo_from_its_work(
    place: Place, run: Run, db: psycopg.Connection[Any], instance: dg.DagsterInstance
) -> None:
    settings = place.load(quarantine=KEY)
    result, _ = run(settings)
    store: Any = open_store(settings.stores["main"])
    try:
        store.acquire(settings.targets[0], Lease("another", 0, "elsewhere"))
        held = undo_run(settings, instance, result.run_id)
    finally:
        store.close()
    # Somebody cleans it.
    assert held.red and "nothing was put back" in (held.targets[0].error or "")
    assert len(rows(db)) == 5 and paused(instance, "web") is None
    lost = undo_run(place.load(quarantine=OTHER), instance, result.run_id)
    assert (lost.red, lost.targets[0].unreadable, len(rows(db))) == (True, 25, 5)
    assert len(lost.targets[0].lost_keys) == 1 and paused(instance, "web") is None
    done = undo_run(place.load(quarantine=f"{OTHER}, {KEY}"), instance, result.run_id)
    assert (done.red, done.targets[0].fates) == (False, {Fate.RESTORED: 25})


@pytest.mark.parametrize(
    ("sections", "more", "says"),
    [
        ("quarantine: {at_most: 1kB}\n", "quarantine: true", "the quarantine has no room"),
        ("removals: {at_most: 0.05kB}\n", "removal_ledger: true", "the removal ledger is full"),
    ],
)
def test_no_room_stops_the_pass_red_and_says_what_is_left(
    place: Place, run: Run, db: psycopg.Connection[Any], sections: str, more: str, says: str
) -> None:
    result, report = run(place.load(more=more, sections=sections))
    [target] = report.targets
    assert not result.success and says in (target.error or ""), target.error
    # What could not be kept was not deleted; the removal ledger has its entries only after the fact.
    left = len(rows(db)) - 5
    assert left > 0 and target.deleted == 25 - left
    assert target.survivors in {left, None}


@pytest.mark.parametrize(
    ("section", "more", "says"),
    [
        ("quarantine: {keep_free: 1kB, place: ", "quarantine: true", "the quarantine cannot be written to (No space"),
        ("removals: {place: ", "removal_ledger: true", "the removal ledger cannot be written to (No space"),
    ],
)
def test_a_full_disk_stops_the_pass_red_and_what_was_kept_comes_back(
    place: Place,
    run: Run,
    db: psycopg.Connection[Any],
    instance: dg.DagsterInstance,
    small_disk: Path,
    monkeypatch: pytest.MonkeyPatch,
    section: str,
    more: str,
    says: str,
) -> None:
    # Room for one batch of 10 and not for two; somebody else takes it behind the look.
    monkeypatch.setattr(Folder, "free", lambda _: None)
    monkeypatch.setattr(removals, "LATEST_SECONDS", 0.0)
    db.execute("ALTER TABLE web ADD more text")
    db.execute("UPDATE web SET more = repeat('x', 3000)")
    left_free = 48 * 1024 if "quarantine" in section else 8 * 1024
    (small_disk / "somebody").write_bytes(b"x" * (256 * 1024 - left_free))
    before, settings = rows(db), place.load(more=more, sections=f"{section}{small_disk}/kept}}\n")
    result, report = run(settings)
    [target] = report.targets
    assert not result.success and says in (target.error or ""), target.error
    left = len(rows(db)) - 5
    assert 0 < left < 25 and (target.deleted, target.survivors) == (25 - left, left)
    assert not [file for file in small_disk.rglob("*") if file.suffix == HALF]
    if "quarantine" in section:
        # All that went is there, and what could not be kept was not deleted.
        done = undo_run(settings, instance, result.run_id)
        assert (done.red, done.targets[0].fates) == (False, {Fate.RESTORED: 25 - left})
        assert rows(db) == before


def test_without_a_key_it_cannot_be_switched_on(place: Place) -> None:
    with pytest.raises(SettingsError) as fault:
        place.load(removal="", quarantine="")
    assert "targets.web.removal_ledger: found nothing, expected a key in CLEANUP_REMOVAL_KEY" in str(fault.value)
    assert "targets.web.quarantine" in str(fault.value)
    with pytest.raises(SettingsError, match="a key of less than 32 characters") as fault:
        place.load(removal="too-short-to-show")
    assert "too-short" not in str(fault.value)
