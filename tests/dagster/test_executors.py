"""Which executor a pass has by its settings, and that Dagster builds it with each."""

from dataclasses import replace
from datetime import timedelta

import dagster as dg
import pytest

from cleanup_pipeline.dagster_defs.build import build_defs
from cleanup_pipeline.dagster_defs.executors import executor_of
from cleanup_pipeline.dagster_defs.jobs import longest_run
from cleanup_pipeline.settings import Settings
from cleanup_pipeline.settings.execution import Execution


@pytest.mark.parametrize(("executor", "parallel"), [("in_process", 1), ("multiprocess", 4), ("celery", 1), ("k8s", 8)])
def test_each_is_built_and_shows_no_url(
    executor: str, parallel: int, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLEANUP_CELERY_BROKER_URL", "redis://:hush@broker/0")
    storage = "postgres" if executor in {"celery", "k8s"} else "local"
    chosen = replace(settings, parallel=parallel, execution=Execution(executor, storage))
    defs = build_defs(chosen)
    job = defs.resolve_job_def("clean_sessions")
    # Dagster's word for one process is another one.
    assert job.executor_def.name == executor_of(chosen).name == executor
    assert ("io_manager" in job.resource_defs) is True
    assert "step_storage" not in repr(job.get_job_snapshot()) and "hush" not in repr(job.get_job_snapshot())
    # The jobs that look after the product itself stay in the process of their run.
    assert defs.resolve_job_def("prune_history").executor_def.name == dg.in_process_executor.name


def test_a_job_says_itself_what_an_instance_of_others_would_do_otherwise(settings: Settings) -> None:
    """Dagster repeats red steps by default, and an instance's limit does not know how many shards a pass has."""
    tags = build_defs(settings).resolve_job_def("clean_sessions").tags
    assert tags["dagster/retry_on_asset_or_op_failure"] == "false"
    targets = [replace(each, max_shards=3, operation_timeout=timedelta(minutes=5)) for each in settings.targets[:2]]
    assert longest_run(targets) == timedelta(hours=2, minutes=30)
    assert longest_run(targets * 500) == timedelta(days=1)
    assert int(tags["dagster/max_runtime"]) == longest_run(settings.targets).total_seconds() > 7200


def test_delete_steps_share_the_pool_of_their_store(settings: Settings) -> None:
    job = build_defs(settings).resolve_job_def("clean_sessions")
    pools = {op.name: op.pool for op in job.all_node_defs if isinstance(op, dg.OpDefinition) and op.pool}
    assert pools == {"Delete_web_sessions": "cleanup_main", "Delete_app_sessions": "cleanup_main"}
