"""An undo that meets trouble: what it says, what it leaves paused, and what it brings back."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest
from typer.testing import CliRunner

from cleanup_pipeline.cli.errors import UsageError
from cleanup_pipeline.cli.main import app
from cleanup_pipeline.dagster_defs.switches import ALL, Pause, pause, paused, resume, standing
from cleanup_pipeline.dagster_defs.undoing import UndoError, undo_metadata, undo_run
from cleanup_pipeline.keeping.forgetting import Forgotten, forget_owner
from cleanup_pipeline.keeping.opening import asking, reading
from cleanup_pipeline.keeping.places import Folder, PlaceError
from cleanup_pipeline.ledger import Ledger
from cleanup_pipeline.model.removed import Fate
from cleanup_pipeline.stores.base import UnavailableError
from cleanup_pipeline.stores.postgres.store import PostgresStore
from tests.dagster.conftest import Run
from tests.dagster.test_keeping import Place, command, rows
from tests.dagster.test_keeping import db as db
from tests.dagster.test_keeping import ledger as ledger
from tests.dagster.test_keeping import place as place

Losing = Callable[..., None]


@pytest.fixture
def losing(monkeypatch: pytest.MonkeyPatch) -> Losing:
    """Have the real store lose its answer to some attempts at putting back, once it has written."""
    real, attempts = PostgresStore.put_back, 0

    def lose(*which: int) -> None:
        def put_back(self: PostgresStore, *args: Any, **named: Any) -> Any:
            nonlocal attempts
            attempts += 1
            answer = real(self, *args, **named)
            if attempts in which:
                raise UnavailableError("the connection was lost", setting="stores.main.url", remedy="see to it")
            return answer

        monkeypatch.setattr(PostgresStore, "put_back", put_back)

    return lose


def test_an_answer_that_is_lost_is_not_taken_for_nothing_put_back(
    place: Place, run: Run, db: psycopg.Connection[Any], instance: dg.DagsterInstance, ledger: Ledger, losing: Losing
) -> None:
    # One batch.
    db.execute("DELETE FROM web WHERE expires_at < now() AND id > 'token-18'")
    before, settings = rows(db), place.load("quarantine: true")
    assert len(before) == 15
    result, _ = run(settings)
    losing(1)
    done = undo_run(settings, instance, result.run_id)
    [target] = done.targets
    assert rows(db) == before
    # They are back, and expired: a pass would take them away again.
    assert paused(instance, "web") is not None and done.paused == ("web",)
    assert (target.fates, target.in_doubt, done.red) == ({Fate.EXISTS: 10}, 10, False)
    says = "10 that exist may have been put back by an attempt whose answer was lost"
    assert [(row.existing, row.error) for row in ledger.keepings.undone()] == [(10, says)]
    assert says in str(undo_metadata(done)["targets"])


def test_an_undo_that_fails_behind_its_first_record_leaves_a_pause(
    place: Place, run: Run, db: psycopg.Connection[Any], instance: dg.DagsterInstance, ledger: Ledger, losing: Losing
) -> None:
    settings = place.load("quarantine: true")
    result, _ = run(settings)
    losing(1, 2, 3)
    said = command("undo", result.run_id, code=1)
    assert "5 may have been put back by an attempt that failed" in said and "web is paused" in said
    assert len(rows(db)) == 10 and paused(instance, "web") is not None
    [row] = ledger.keepings.undone()
    assert row.restored == 0 and "5 may have been put back" in (row.error or "")


def test_a_run_that_is_not_named_is_not_every_run(
    place: Place, run: Run, db: psycopg.Connection[Any], instance: dg.DagsterInstance
) -> None:
    settings = place.load("quarantine: true")
    result, _ = run(settings)
    for name, says in (("", "no run is named"), (" ", "no run is named"), (".", "that run . removed"), ("/", "run /")):
        with pytest.raises(UndoError, match=says):
            undo_run(settings, instance, name)
    with pytest.raises(UndoError, match="nothing of nobody"):
        undo_run(settings, instance, result.run_id, target="nobody")
    asked = CliRunner().invoke(app, ["undo", ""])
    assert isinstance(asked.exception, UsageError) and "RUN is empty" in str(asked.exception)
    assert len(rows(db)) == 5


def test_only_a_pause_of_its_own_without_an_end_keeps_what_came_back(
    place: Place, run: Run, db: psycopg.Connection[Any], instance: dg.DagsterInstance
) -> None:
    settings = place.load("quarantine: true")
    result, _ = run(settings)
    now = datetime.now(UTC)
    ends = Pause("web", now, now + timedelta(hours=1), "somebody")
    for order in (ends, Pause(ALL, now, None, "somebody")):
        pause(instance, order)
    assert undo_run(settings, instance, result.run_id).paused == ("web",)
    resume(instance, ALL)
    [own] = standing(instance, ["web"])
    assert own.until is None and own.by.startswith("undo of run")

    # One that has no end stays whose it is.
    stays = Pause("web", now, None, "somebody")
    pause(instance, stays)
    db.execute("DELETE FROM web WHERE id = 'token-1'")
    assert undo_run(settings, instance, result.run_id, again=True).paused == ()
    assert len(rows(db)) == 30 and paused(instance, "web") == stays

    # Nothing was put back: what held before holds again.
    pause(instance, ends)
    assert undo_run(settings, instance, result.run_id).paused == ()
    assert paused(instance, "web") == ends


def test_a_pause_that_somebody_asks_for_meanwhile_is_not_taken_back(
    place: Place, run: Run, db: psycopg.Connection[Any], instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = place.load("quarantine: true")
    result, _ = run(settings)
    undo_run(settings, instance, result.run_id)
    resume(instance, "web")
    theirs = Pause("web", datetime.now(UTC), None, "somebody")
    real = PostgresStore.put_back

    def put_back(self: PostgresStore, *args: Any, **named: Any) -> Any:
        pause(instance, theirs)
        return real(self, *args, **named)

    monkeypatch.setattr(PostgresStore, "put_back", put_back)
    assert undo_run(settings, instance, result.run_id, again=True).targets[0].fates == {Fate.EXISTS: 25}
    assert paused(instance, "web") == theirs


@pytest.mark.parametrize("step", [10, -10])
def test_rows_that_refer_to_rows_of_another_batch_come_back(
    place: Place, run: Run, db: psycopg.Connection[Any], instance: dg.DagsterInstance, step: int
) -> None:
    db.execute("ALTER TABLE web ADD other text")
    number = f"substr(id, 7)::int + {step}"
    db.execute(f"UPDATE web SET other = 'token-' || {number} WHERE {number} BETWEEN 1 AND 25 AND expires_at < now()")
    before, settings = rows(db), place.load("quarantine: true")
    result, _ = run(settings)
    db.execute("ALTER TABLE web ADD FOREIGN KEY (other) REFERENCES web (id)")
    done = undo_run(settings, instance, result.run_id)
    [target] = done.targets
    assert (target.fates, target.reasons, done.red) == ({Fate.RESTORED: 25}, (), False)
    assert rows(db) == before


def test_what_is_refused_for_good_is_counted_once(
    place: Place, run: Run, db: psycopg.Connection[Any], instance: dg.DagsterInstance
) -> None:
    settings = place.load("quarantine: true")
    result, _ = run(settings)
    # Of every batch some.
    db.execute("ALTER TABLE web ADD CONSTRAINT one_only CHECK (owner <> 1) NOT VALID")
    done = undo_run(settings, instance, result.run_id)
    [target] = done.targets
    assert (target.fates, target.reasons, done.red) == (
        {Fate.RESTORED: 16, Fate.REFUSED: 9},
        ("CheckViolation (one_only)",),
        True,
    )


def test_a_row_that_went_with_a_record_and_is_refused_is_red(
    place: Place, run: Run, db: psycopg.Connection[Any], instance: dg.DagsterInstance, ledger: Ledger
) -> None:
    db.execute("CREATE TABLE users (id int PRIMARY KEY)")
    db.execute("INSERT INTO users VALUES (1), (2)")
    db.execute("CREATE TABLE child (id int PRIMARY KEY, web text REFERENCES web, owner int REFERENCES users)")
    db.execute("INSERT INTO child VALUES (1, 'token-1', 1), (2, 'token-2', 2)")
    db.execute("CREATE INDEX ON child (web)")
    result, _ = run(place.load("quarantine: true, children: delete_first"))
    db.execute("DELETE FROM users WHERE id = 2")
    said = command("undo", result.run_id, code=1)
    assert "1 rows that went with records were refused" in said and "child_owner_fkey" in said
    assert len(rows(db)) == 30 and db.execute("SELECT id FROM child").fetchall() == [(1,)]
    [row] = ledger.keepings.undone()
    assert (row.restored, row.beside, row.refused) == (25, 1, 0) and "were refused" in (row.error or "")


def test_what_came_back_and_was_revoked_stays_revoked(
    place: Place, run: Run, db: psycopg.Connection[Any], instance: dg.DagsterInstance, ledger: Ledger
) -> None:
    before, settings = rows(db), place.load("quarantine: true")
    result, _ = run(settings)
    # One is there again before anything is undone, and one cannot come back yet.
    db.execute("INSERT INTO web VALUES ('token-1', 1, now())")
    db.execute("ALTER TABLE web ADD CONSTRAINT no_two CHECK (id <> 'token-2')")
    first = undo_run(settings, instance, result.run_id)
    assert first.targets[0].fates == {Fate.RESTORED: 23, Fate.EXISTS: 1, Fate.REFUSED: 1}
    # Their users log out.
    db.execute("DELETE FROM web WHERE id IN ('token-1', 'token-3')")
    db.execute("ALTER TABLE web DROP CONSTRAINT no_two")
    looked = undo_run(settings, instance, result.run_id, dry_run=True)
    assert (looked.targets[0].fates, looked.targets[0].before) == ({Fate.RESTORED: 1}, 24)
    said = command("undo", result.run_id)
    assert "1  put back" in said and "24  put back or found there by an earlier undo; left alone (--again)" in said
    assert {row.split(",")[0] for row in before} - {row.split(",")[0] for row in rows(db)} == {"(token-1", "(token-3"}
    assert [row.restored for row in ledger.keepings.undone()] == [1, 23]
    # Nothing is left to do: nothing is paused for it.
    resume(instance, "web")
    done = undo_run(settings, instance, result.run_id)
    assert (done.targets[0].fates, done.targets[0].before, done.red, done.paused) == ({}, 25, False, ())
    assert paused(instance, "web") is None
    assert "0  would be put back" in command("undo", result.run_id, "--dry-run")
    assert "2  would be put back" in command("undo", result.run_id, "--dry-run", "--again")
    assert json.loads(command("undo", result.run_id, "--again", "--json"))["targets"][0]["before"] == 0
    assert rows(db) == before


@pytest.mark.parametrize("url", [False, True])
def test_an_owner_who_is_forgotten_meanwhile_is_not_brought_back_later(
    place: Place,
    run: Run,
    db: psycopg.Connection[Any],
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
    url: bool,
) -> None:
    section = f"\nquarantine: {{place: memory://{instance.root_directory}}}\n" if url else ""
    settings = place.load("quarantine: true, owner: owner", sections=section)
    result, _ = run(settings)
    real, said = PostgresStore.put_back, list[Forgotten]()
    state = Path(instance.root_directory)
    reader = reading(settings.quarantine, state)

    def put_back(self: PostgresStore, *args: Any, **named: Any) -> Any:
        said.append(forget_owner(asking(settings.removals, state), reader, "1"))
        return real(self, *args, **named)

    with monkeypatch.context() as patched:
        patched.setattr(PostgresStore, "put_back", put_back)
        assert not undo_run(settings, instance, result.run_id).red
    # It would have given the records other places than those that undo is about to write down.
    assert {(done.quarantined, done.busy) for done in said} == {(0, (result.run_id,))}
    assert forget_owner(asking(settings.removals, state), reader, "1").quarantined == 9
    db.execute("DELETE FROM web WHERE expires_at < now()")
    done = undo_run(settings, instance, result.run_id)
    assert (done.targets[0].fates, done.targets[0].before) == ({}, 16)


@pytest.mark.parametrize("url", [False, True])
def test_an_undo_that_cannot_write_down_what_came_back_says_so_and_goes_on(
    place: Place,
    run: Run,
    db: psycopg.Connection[Any],
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
    url: bool,
) -> None:
    section = f"\nquarantine: {{place: memory://{instance.root_directory}}}\n" if url else ""
    before, settings = rows(db), place.load("quarantine: true", sections=section)
    result, _ = run(settings)

    def full(_: Folder, __: str, ___: bytes) -> None:
        raise PlaceError("the quarantine cannot be written to (No space left on device)")

    for name in ("append", "write"):
        monkeypatch.setattr(Folder, name, full)
    [target] = undo_run(settings, instance, result.run_id).targets
    assert rows(db) == before and not target.red
    assert target.remarks == (
        "another undo would bring back 25 of them, also where they are revoked by then:"
        " the quarantine cannot be written to (No space left on device)"
    )


def test_an_undo_at_a_url_that_met_a_fault_keeps_nobody_from_being_forgotten(
    place: Place, run: Run, db: psycopg.Connection[Any], instance: dg.DagsterInstance, losing: Losing
) -> None:
    section = f"\nquarantine: {{place: memory://{instance.root_directory}}}\n"
    settings = place.load("quarantine: true, owner: owner", sections=section)
    result, _ = run(settings)
    losing(1, 2, 3)
    assert undo_run(settings, instance, result.run_id).red
    state = Path(instance.root_directory)
    done = forget_owner(asking(settings.removals, state), reading(settings.quarantine, state), "1")
    assert (done.quarantined, done.busy) == (9, ())
