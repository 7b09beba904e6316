"""The passes in another project's Definitions, executed in this process on a real store."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest
import yaml
from dagster.components.testing import create_defs_folder_sandbox

from cleanup_pipeline import CleanupComponent, build_cleanup_definitions
from cleanup_pipeline.settings import SettingsError, load_settings
from cleanup_pipeline.settings.given import ATTRIBUTES, COMPONENT
from cleanup_pipeline.settings.load import ENVIRONMENT
from tests.dagster.conftest import ids
from tests.embedding.doc import files

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
LIVE = set(range(26, 31))
DEFS = files()["src/shop/defs/my_cleanup/defs.yaml"]
GIVEN: dict[str, Any] = yaml.safe_load(DEFS)["attributes"]


@pytest.fixture
def web(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator["psycopg.Connection[Any]"]:
    monkeypatch.setenv("CLEANUP_POSTGRES_URL", postgres_url)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE web (id int, expires_at timestamptz)")
        connection.execute(
            "INSERT INTO web SELECT n, now() + CASE WHEN n <= 25 THEN -1 ELSE 1 END * interval '1 day'"
            " FROM generate_series(1, 30) n"
        )
        yield connection


def project() -> dg.Definitions:
    """Somebody's, with every name that the passes might want, and an IO manager that keeps text only."""

    class TextOnly(dg.IOManager):
        def handle_output(self, context: dg.OutputContext, obj: object) -> None:
            raise TypeError(f"somebody's IO manager got {type(obj).__name__}")

        def load_input(self, context: dg.InputContext) -> object:
            raise TypeError

    @dg.op(name="web_sessions")
    def theirs() -> None: ...

    @dg.op(name="Report")
    def written() -> None: ...

    @dg.job(name="report")
    def report() -> None:
        theirs()
        written()

    @dg.op
    def look() -> None: ...

    @dg.job
    def prune_history() -> None:
        look()

    @dg.asset
    def summarize() -> int:
        return 1

    @dg.sensor(job=report, name="alerts")
    def alerts(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        return dg.SkipReason("none")

    taken = {
        key: dg.ResourceDefinition.hardcoded_resource("theirs") for key in ("ledger", "store_main", "pass_options")
    }
    return dg.Definitions(
        assets=[summarize],
        jobs=[report, prune_history],
        sensors=[alerts],
        resources={**taken, "io_manager": TextOnly()},
        executor=dg.multiprocess_executor,
    )


def clean(definitions: dg.Definitions) -> dg.ExecuteInProcessResult:
    with dg.instance_for_test() as instance:
        job = definitions.resolve_job_def("clean_sessions")
        return job.execute_in_process(instance=instance, run_config=QUIET)


def test_a_component_of_a_dg_project_cleans(web: "psycopg.Connection[Any]") -> None:
    with create_defs_folder_sandbox() as sandbox:
        path = sandbox.scaffold_component(CleanupComponent, "my_cleanup")
        with sandbox.build_all_defs() as off:
            # As it is scaffolded: it loads, and nothing is on.
            assert (
                off.resolve_schedule_def("clean_sessions_schedule").default_status is dg.DefaultScheduleStatus.STOPPED
            )
        (path / "defs.yaml").write_text(DEFS)
        with sandbox.build_all_defs() as definitions:
            dg.Definitions.validate_loadable(definitions)
            assert clean(definitions).success
    assert ids(web, "web") == LIVE


def test_a_component_that_names_a_file_cleans_by_it(web: "psycopg.Connection[Any]") -> None:
    with create_defs_folder_sandbox() as sandbox:
        path = sandbox.scaffold_component(CleanupComponent, "c", scaffold_params={"file": "of_it.yaml"})
        (path / "of_it.yaml").write_text(yaml.safe_dump(GIVEN))
        with sandbox.build_all_defs() as definitions:
            assert clean(definitions).success
        # The command line takes either for settings.
        assert load_settings(path / "defs.yaml").targets == load_settings(path / "of_it.yaml").targets
    assert ids(web, "web") == LIVE


@pytest.mark.parametrize("given", ["mapping", "path", "settings"])
def test_among_the_names_of_a_project_that_has_taken_them_all(
    web: "psycopg.Connection[Any]", tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    (tmp_path / "cleanup.yaml").write_text(yaml.safe_dump(GIVEN))
    monkeypatch.chdir(tmp_path)
    what = {"mapping": GIVEN, "path": "cleanup.yaml", "settings": load_settings(Path("cleanup.yaml"))}[given]
    merged = dg.Definitions.merge(project(), build_cleanup_definitions(what))
    dg.Definitions.validate_loadable(merged)
    # A run has a working folder of its own.
    monkeypatch.chdir("/")
    assert clean(merged).success
    assert ids(web, "web") == LIVE
    if given != "mapping":
        return
    with dg.instance_for_test() as instance:
        for job in ("cleanup_report", "witness_sessions", "cleanup_prune_history"):
            assert merged.resolve_job_def(job).execute_in_process(instance=instance, run_config=QUIET).success


def test_twice_in_one_location_is_refused(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEANUP_POSTGRES_URL", postgres_url)
    with pytest.raises(dg.DagsterInvalidDefinitionError, match="Duplicate"):
        dg.Definitions.validate_loadable(
            dg.Definitions.merge(build_cleanup_definitions(GIVEN), build_cleanup_definitions(GIVEN))
        )


@pytest.mark.parametrize(
    ("attributes", "fault"),
    [
        ({}, r"attributes: found nothing, expected file, or sections of cleanup.yaml"),
        ({"file": "a.yaml", "stores": {}}, r"file: found a file besides stores, expected one of the two"),
        ({"file": 3}, r"file: found 3, expected the name of a settings file"),
        ({"targets": {"web": {"stor": "main"}}}, r"targets.web.stor: found an unknown key.*did you mean store\?"),
        (
            {"stores": {"main": {"type": "postgres", "url": "{{ env.PG }}"}}},
            r"stores.main.url: found a template .*, expected a value, or \$\{NAME\}",
        ),
        (
            {"stores": {"main": {"type": "postgres", "url": "postgresql://u:hunter2@h/d"}}},
            r"stores.main.url: found a password written in the settings file",
        ),
        ({"stores": {"main": {"type": "postgres", "url": "${NOT_SET}"}}}, r"stores.main.url: found \$\{NOT_SET\}"),
    ],
)
def test_what_is_wrong_with_attributes_is_said_and_nothing_loads(
    tmp_path: Path, attributes: dict[str, Any], fault: str
) -> None:
    component = CleanupComponent.from_attributes_dict(attributes=attributes)
    (tmp_path / "defs.yaml").write_text("")
    with pytest.raises(SettingsError, match=fault) as raised:
        component.settings(tmp_path)
    assert raised.value.source == str(tmp_path / "defs.yaml")
    assert "hunter2" not in str(raised.value)
    # The same from the command line, which reads the file itself.
    (tmp_path / "defs.yaml").write_text(yaml.safe_dump({"type": COMPONENT, "attributes": attributes}))
    if "file" not in attributes:
        with pytest.raises(SettingsError, match=fault.replace("found nothing", "found an empty mapping")):
            load_settings(tmp_path / "defs.yaml")


def test_a_mapping_that_no_file_could_hold_is_a_fault() -> None:
    with pytest.raises(SettingsError, match="a value that is no text, number"):
        build_cleanup_definitions({"targets": {"web": object()}})


def test_the_attributes_and_their_schema_are_those_of_a_settings_file() -> None:
    schema = CleanupComponent.get_model_cls().model_json_schema()
    assert set(schema["properties"]) == set(ATTRIBUTES) == set(CleanupComponent.model_fields)
    from jsonschema import Draft202012Validator

    look = Draft202012Validator(schema)
    assert list(look.iter_errors(GIVEN)) == []
    assert [list(each.path) for each in look.iter_errors({"stores": {"main": {"typ": "x"}}})] == [["stores", "main"]]


def test_importing_the_package_does_not_import_dagster() -> None:
    look = "import sys, json, cleanup_pipeline; print(json.dumps([m in sys.modules for m in ('dagster', 'pydantic')]))"
    told = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True).stdout
    assert json.loads(told) == [False, False]
    assert ENVIRONMENT not in ATTRIBUTES
