"""A pass through Dagster: what goes, what is recorded, and what happens to the rest when a part fails."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest

from cleanup_pipeline.dagster_defs.build import build_defs
from cleanup_pipeline.dagster_defs.closing import close_pass
from cleanup_pipeline.dagster_defs.resources import PassOptions
from cleanup_pipeline.ledger import Recorder
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.words import PassStatus, StopReason
from cleanup_pipeline.settings import Settings
from cleanup_pipeline.stores.base import Store, UnavailableError
from cleanup_pipeline.stores.open import open_store
from tests.dagster.conftest import SETTINGS, Run, ids, settings_from

Db = psycopg.Connection[Any]


def materializations(instance: dg.DagsterInstance, target: str) -> list[dict[str, Any]]:
    records = instance.fetch_materializations(dg.AssetKey(["cleanup", target]), limit=10).records
    return [
        {k: v.value for k, v in r.asset_materialization.metadata.items()} for r in records if r.asset_materialization
    ]


def test_expired_go_live_stay_and_the_run_says_so(
    db: Db, settings: Settings, run: Run, instance: dg.DagsterInstance
) -> None:
    result, report = run(settings)
    assert result.success
    assert ids(db, "web") == ids(db, "app") == set(range(26, 31))
    assert report.status is PassStatus.SUCCEEDED
    assert [(t.target, t.expired_found, t.deleted, t.kept_live, t.survivors) for t in report.targets] == [
        ("web_sessions", 25, 25, 5, 0),
        ("app_sessions", 25, 25, 5, 0),
    ]
    assert all(t.largest_batch == 10 and t.batches == 3 for t in report.targets)
    (metadata,) = materializations(instance, "web_sessions")
    assert {name: metadata[name] for name in ("deleted", "expired_found", "kept_live", "survivors", "batches")} == {
        "deleted": 25,
        "expired_found": 25,
        "kept_live": 5,
        "survivors": 0,
        "batches": 3,
    }
    assert "| deleted | 25 |" in metadata["summary"]
    tags = instance.get_run_by_id(result.run_id).tags  # type: ignore[union-attr]
    assert (tags["cleanup/status"], tags["cleanup/deleted"], tags["cleanup/survivors"]) == ("succeeded", "50", "0")


def test_steps_carry_the_users_names(db: Db, settings: Settings, run: Run) -> None:
    result, _ = run(settings)
    assert {event.step_key for event in result.get_step_success_events()} == {
        f"{target}.{step}"
        for target in ("web_sessions", "app_sessions")
        for step in ("scan", "batch", "delete[shard_0]", "report")
    } | {"summarize"}


def test_summary_is_a_table_on_the_run(db: Db, settings: Settings, run: Run) -> None:
    result, _ = run(settings)
    (output,) = result.filter_events(lambda e: e.is_successful_output and e.step_key == "summarize")
    metadata = output.step_output_data.metadata
    assert metadata["deleted"].value == 50
    assert "| web_sessions | main (postgres) | session | 25 | 25 | 0 | 5 |" in str(metadata["report"].value)


def test_dry_run_deletes_nothing_and_moves_no_figure(
    db: Db, settings: Settings, run: Run, instance: dg.DagsterInstance
) -> None:
    result, report = run(settings, dry_run=True)
    assert result.success and report.status is PassStatus.DRY_RUN
    assert len(ids(db, "web")) == 30
    assert [(t.expired_found, t.deleted, t.survivors, t.stop_reason) for t in report.targets] == [
        (25, 0, 25, StopReason.DRY_RUN)
    ] * 2
    assert materializations(instance, "web_sessions") == []


def test_a_target_that_does_not_say_delete_is_only_looked_at(
    db: Db, tmp_path: Path, postgres_url: str, run: Run
) -> None:
    text = SETTINGS.replace(
        "table: app, expires: {column: expires_at}, mode: delete", "table: app, expires: {column: expires_at}"
    )
    _, report = run(settings_from(text, tmp_path, postgres_url))
    assert report.status is PassStatus.SUCCEEDED
    assert (len(ids(db, "web")), len(ids(db, "app"))) == (5, 30)


def test_a_failing_target_does_not_stop_the_others(
    db: Db, tmp_path: Path, postgres_url: str, run: Run, instance: dg.DagsterInstance
) -> None:
    settings = settings_from(SETTINGS.replace("table: web", "table: wep"), tmp_path, postgres_url)
    result, report = run(settings)
    assert not result.success
    assert report.status is PassStatus.PARTIAL
    web, app = report.targets
    assert web.error == "targets.web_sessions.table: table wep does not exist; did you mean web?"
    assert (web.expired_found, web.survivors, web.deleted) == (None, None, 0)
    assert (app.deleted, app.error) == (25, None)
    assert ids(db, "app") == set(range(26, 31)) and len(ids(db, "web")) == 30
    tags = instance.get_run_by_id(result.run_id).tags  # type: ignore[union-attr]
    assert (tags["cleanup/status"], tags["cleanup/survivors"]) == ("partial", "unknown")


class Flaky:
    """A real store whose connection breaks for good after some batches."""

    def __init__(self, inner: Store, batches: int) -> None:
        self.inner, self.left, self.closed = inner, batches, False
        self.config = inner.config

    def delete_batch(self, target: Any, *rest: Any) -> Any:
        if target.name == "web_sessions":
            if self.left == 0:
                raise UnavailableError("the server went away", setting="stores.main.url", remedy="start it again")
            self.left -= 1
        return self.inner.delete_batch(target, *rest)

    def close(self) -> None:
        self.closed = True
        self.inner.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


@pytest.fixture
def flaky(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Flaky]]:
    from datetime import timedelta

    made: list[Flaky] = []
    monkeypatch.setattr("cleanup_pipeline.engine.limits.Limits.first_backoff", timedelta(0), raising=False)
    yield made


def test_a_store_that_goes_away_in_the_middle_leaves_an_account(db: Db, settings: Settings, run: Run) -> None:
    made: list[Flaky] = []

    def opener(config: StoreConfig) -> Store:
        made.append(Flaky(open_store(config), batches=2))
        return made[-1]

    _, report = run(settings, opener=opener)
    web, app = report.targets
    assert report.status is PassStatus.PARTIAL
    assert (web.deleted, web.stop_reason, web.survivors) == (20, StopReason.ERROR, 5)
    assert web.error == "stores.main.url: the server went away; start it again"
    assert len(ids(db, "web")) == 10
    assert (app.deleted, app.survivors) == (25, 0)
    assert [store.closed for store in made] == [True]


def test_everything_failed_is_failed(tmp_path: Path, run: Run) -> None:
    settings = settings_from(SETTINGS, tmp_path, "postgresql://joe:s3cret-Pw@127.0.0.1:9/db")
    _, report = run(settings)
    assert report.status is PassStatus.FAILED
    assert all(t.error and t.error.startswith("stores.main.url: cannot reach 127.0.0.1:9/db") for t in report.targets)


def test_no_secret_in_anything_that_dagster_keeps(tmp_path: Path, run: Run, instance: dg.DagsterInstance) -> None:
    settings = settings_from(SETTINGS, tmp_path, "postgresql://joe:s3cret-Pw@127.0.0.1:9/db")
    result, _ = run(settings)
    stored = instance.get_run_by_id(result.run_id)
    kept = [dg.serialize_value(entry) for entry in instance.all_logs(result.run_id)] + [dg.serialize_value(stored)]
    assert "s3cret" not in "".join(kept)
    assert "s3cret" not in repr(build_defs(settings)) + repr(settings)
    root = Path(instance.root_directory)
    files = [file for file in root.rglob("*") if file.is_file()]
    assert files and not [file for file in files if b"s3cret" in file.read_bytes()]


def test_shards_that_never_came_back_are_an_error(db: Db, settings: Settings) -> None:
    from cleanup_pipeline.dagster_defs.ops import target_ops
    from cleanup_pipeline.engine.scan import scan

    target = settings.targets[0]
    store = open_store(settings.stores["main"])
    plan = scan(store, target, dry_run=False)
    context = dg.build_op_context(resources={"store_main": store, "ledger": Recorder("sqlite://")})
    with pytest.raises(dg.Failure, match="1 shards were planned and 0 came back; re-execute all steps"):
        list(target_ops(target).report(context, plan=plan, outcomes=[]))
    store.close()


def test_survivors_make_the_pass_red(db: Db, settings: Settings, run: Run, postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as login:
        login.execute("SELECT * FROM web WHERE id = 1 FOR UPDATE")
        result, report = run(settings)
    assert not result.success and report.status is PassStatus.PARTIAL
    web = report.targets[0]
    assert (web.deleted, web.survivors) == (24, 1)
    assert web.error is not None and web.error.startswith("targets.web_sessions: 1 expired records are left")


def test_dagster_can_load_all_of_it(settings: Settings) -> None:
    dg.Definitions.validate_loadable(build_defs(settings))


def test_switched_off_means_off_whoever_starts_it(db: Db, tmp_path: Path, postgres_url: str, run: Run) -> None:
    settings = settings_from(SETTINGS.replace("pause: 0s", "pause: 0s, enabled: false"), tmp_path, postgres_url)
    result, report = run(settings)
    assert result.success and report.status is PassStatus.SKIPPED
    assert len(ids(db, "web")) == 30


class Broken:
    """A real store in which one method always fails."""

    def __init__(self, inner: Store, method: str, fault: Exception) -> None:
        self.inner, self.method, self.fault, self.config = inner, method, fault, inner.config

    def __getattr__(self, name: str) -> Any:
        if name == self.method:
            return self._fail
        return getattr(self.inner, name)

    def _fail(self, *_: Any) -> Any:
        raise self.fault


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (
            UnavailableError("it is gone", setting="stores.main.url", remedy="start it"),
            "could not recount what is left",
        ),
        (RuntimeError("a defect"), "the run ended before what is left was counted"),
    ],
)
def test_what_could_not_be_recounted_is_not_called_clean(
    db: Db, settings: Settings, run: Run, fault: Exception, says: str
) -> None:
    result, report = run(settings, opener=lambda config: Broken(open_store(config), "survivors", fault))  # type: ignore[arg-type,return-value]
    assert not result.success and report.status is PassStatus.PARTIAL
    assert all(target.error is not None and says in target.error for target in report.targets)
    assert [target.deleted for target in report.targets] == [25, 25]


def test_a_recount_that_gave_up_is_red(db: Db, settings: Settings, run: Run) -> None:
    class Slow(Broken):
        def _fail(self, *_: Any) -> None:
            return None

    result, report = run(settings, opener=lambda config: Slow(open_store(config), "survivors", RuntimeError()))  # type: ignore[arg-type,return-value]
    assert not result.success
    assert all(target.error is not None and "raise census_timeout" in target.error for target in report.targets)


def test_a_plan_is_not_carried_out_under_other_settings(
    db: Db, settings: Settings, tmp_path: Path, postgres_url: str
) -> None:
    """Re-executing "from failure" hands the delete step the plan of the first run."""
    from cleanup_pipeline.dagster_defs.ops import target_ops
    from cleanup_pipeline.engine.scan import scan
    from cleanup_pipeline.model.plan import ShardGroup

    store = open_store(settings.stores["main"])
    plan = scan(store, settings.targets[0], dry_run=False)
    for now in ("mode: dry_run", "mode: delete, grace: 2d"):
        text = SETTINGS.replace("mode: delete", now, 1)
        target = settings_from(text, tmp_path, postgres_url).targets[0]
        context = dg.build_op_context(
            resources={"store_main": store, "pass_options": PassOptions(), "ledger": Recorder("sqlite://")}
        )
        with pytest.raises(dg.Failure, match="re-execute all steps"):
            list(target_ops(target).delete(context, plan=plan, group=ShardGroup(plan.work.shards[:1])))
    store.close()
    assert len(ids(db, "web")) == 30


def test_a_re_execution_counts_what_it_did_and_remembers_the_rest(
    db: Db, settings: Settings, tmp_path: Path, postgres_url: str
) -> None:
    file = tmp_path / "cleanup.yaml"
    with (
        dg.instance_for_test() as instance,
        pytest.MonkeyPatch.context() as environment,
        psycopg.connect(postgres_url, autocommit=True) as admin,
    ):
        environment.setenv("CLEANUP_POSTGRES_URL", postgres_url)
        admin.execute("CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'no'; END$$")
        admin.execute("CREATE TRIGGER no BEFORE DELETE ON web FOR EACH ROW EXECUTE FUNCTION no()")
        job = dg.build_reconstructable_job("tests.dagster.jobs", "sessions_job", (str(file),))
        config = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        with dg.execute_job(job, instance, run_config=config, tags={"cleanup/pass": "sessions"}) as first:
            assert not first.success
        targets = settings.targets_of("sessions")
        report = close_pass(instance, first.run_id, "sessions", targets)
        assert [(t.deleted, t.red) for t in report.targets] == [(0, True), (25, False)]
        admin.execute("DROP TRIGGER no ON web")
        options = dg.ReexecutionOptions.from_failure(first.run_id, instance)
        with dg.execute_job(job, instance, run_config=config, reexecution_options=options) as second:
            assert second.success
        report = close_pass(instance, second.run_id, "sessions", targets)
        assert report.status is PassStatus.SUCCEEDED
        assert [(t.target, t.deleted, t.survivors) for t in report.targets] == [
            ("web_sessions", 25, 0),
            ("app_sessions", 25, 0),
        ]
        tags = instance.get_run_by_id(second.run_id).tags  # type: ignore[union-attr]
        assert tags["cleanup/deleted"] == "25"
        assert ids(db, "web") == set(range(26, 31))


def test_no_name_of_a_target_gets_in_dagsters_way(tmp_path: Path, postgres_url: str) -> None:
    names = [
        "tok",
        "clean_sessions",
        "delete_tok",
        "scan_tok",
        "summarize_sessions",
        "pass_sessions",
        "pass_options",
        "store_main",
    ]
    lines = [f"  {name}: {{store: main, table: t, expires: {{column: e}}}}" for name in names]
    text = SETTINGS.split("targets:")[0] + "targets:\n" + "\n".join(lines)
    dg.Definitions.validate_loadable(build_defs(settings_from(text, tmp_path, postgres_url)))
