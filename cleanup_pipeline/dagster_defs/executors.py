"""Settings -> the executor of passes. Does not belong here: what Celery needs besides (celery_executor.py)."""

import dagster as dg

from cleanup_pipeline.settings import Settings
from cleanup_pipeline.settings.execution import CELERY, IN_PROCESS, K8S


def executor_of(settings: Settings) -> dg.ExecutorDefinition:
    """In which processes the steps of a pass run. Connects to nothing.

    A process a step costs seconds (docs/benchmarks.md): only who asks for parallel steps pays for them.
    """
    executor, parallel = settings.execution.executor, settings.parallel
    if executor == IN_PROCESS:
        return dg.in_process_executor
    if executor == CELERY:
        # Of an extra, as the next one is.
        from cleanup_pipeline.dagster_defs.celery_executor import celery_executor

        return celery_executor(settings.execution)
    if executor == K8S:
        from dagster_k8s import k8s_job_executor

        # The rest (image, namespace, secrets) it takes from the instance's K8sRunLauncher.
        made: dg.ExecutorDefinition = k8s_job_executor
        return made.configured({"max_concurrent": parallel} if parallel > 1 else {})
    return dg.multiprocess_executor.configured({"max_concurrent": parallel})
