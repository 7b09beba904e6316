"""`why` without an identifier: by the time of day, and by a hash, on the command line and as a job in the UI."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import psycopg
from typer.testing import CliRunner

from cleanup_pipeline.cli.errors import UsageError
from cleanup_pipeline.cli.main import app
from cleanup_pipeline.dagster_defs.build import build_defs
from tests.dagster.conftest import Run
from tests.dagster.test_keeping import Place, command
from tests.dagster.test_keeping import db as db
from tests.dagster.test_keeping import place as place


def test_what_went_at_14_03(place: Place, run: Run, db: psycopg.Connection[Any]) -> None:
    result, _ = run(place.load(more="removal_ledger: true, owner: owner"))
    now = datetime.now(UTC)
    said = command("why", "web", "--at", f"{now:%Y-%m-%dT%H:%M:%S}")
    assert said.startswith("25 removed ") and f"by pass sessions, run {result.run_id}" in said
    assert "  expired  since " in said and "session of rule" in said
    assert "token" not in said
    found = json.loads(command("why", "web", "--at", now.isoformat(), "--within", "10m", "--json"))
    assert (found["records"], len(found["removed"]), found["removed"][0]["run"]) == (25, 1, result.run_id)
    before = now - timedelta(days=2)
    nothing = command("why", "web", "--at", before.isoformat(), code=1)
    assert "nothing by this pipeline, as far back as" in nothing
    for wrong in (["--at", "noon"], ["--at", "2026-11-26", "--id", "x"], []):
        assert isinstance(CliRunner().invoke(app, ["why", "web", *wrong]).exception, UsageError)


def test_the_job_answers_by_time_and_by_hash(
    place: Place, run: Run, db: psycopg.Connection[Any], instance: dg.DagsterInstance
) -> None:
    settings = place.load(more="removal_ledger: true, owner: owner")
    result, _ = run(settings)
    job = build_defs(settings).resolve_job_def("why")

    def ask(**config: Any) -> tuple[bool, str, int]:
        done = job.execute_in_process(
            instance=instance,
            run_config={
                "ops": {"why": {"config": {"target": "web", **config}}},
                "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
            },
            raise_on_error=False,
        )
        for event in done.all_events:
            if event.event_type_value == "STEP_OUTPUT":
                metadata = event.step_output_data.metadata
                text = str(metadata["answer"].value)
                assert str(metadata["in_short"].value) in text
                return True, text, int(str(metadata["removed"].value))
        [failed] = [event for event in done.all_events if event.event_type_value == "STEP_FAILURE"]
        return False, str(failed.step_failure_data.user_failure_data.description), 0

    good, text, count = ask(at=datetime.now(UTC).isoformat())
    assert (good, count) == (True, 25) and "25 removed" in text and result.run_id in text
    hashed = command("why", "web", "--id", "-", "--hash", stdin="token-7\n").strip()
    assert "token" not in hashed
    good, text, count = ask(hash=hashed)
    assert (good, count) == (True, 1) and f"by pass sessions, run {result.run_id}" in text
    assert ask(hash=command("why", "web", "--owner", "2", "--hash").strip())[2] == 8
    good, text, count = ask(hash=command("why", "web", "--id", "token-30", "--hash").strip())
    assert (good, count) == (True, 0) and "not by this pipeline, as far back as" in text
    for config, says in (
        ({}, "give one of"),
        ({"at": "noon"}, "expected a time"),
        ({"hash": "token-7"}, "delete the run if that was an identifier"),
        ({"target": "nobody", "hash": hashed}, "there is no target nobody"),
    ):
        good, text, _ = ask(**config)
        assert not good and says in text
    # Nothing of anybody is in what Dagster keeps.
    stored = "".join(str(record.dagster_run.run_config) for record in instance.get_run_records(limit=20))
    assert hashed in stored
    assert stored.replace("nobody", "").count("token-") == 1, "only the one that was given as a hash by mistake"


def test_without_a_removal_ledger_it_says_so(place: Place, run: Run, db: psycopg.Connection[Any]) -> None:
    place.load(more="owner: owner")
    said = command("why", "web", "--at", "2026-11-26T12:00", code=1)
    assert "its removal ledger is empty" in said and "removal_ledger is off now" in said
