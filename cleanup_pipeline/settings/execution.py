"""`execution:` -> Execution: in which processes the steps of a pass run, and where they leave what they hand on."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path as FilePath
from typing import Annotated, Any

from cleanup_pipeline.layouts.field_types import Section, duration, one_of, reads, refuse, text, whole_number
from cleanup_pipeline.settings.faults import Fault, Path, dotted
from cleanup_pipeline.settings.outside import has_literal_password, read_outside

IN_PROCESS, MULTIPROCESS, CELERY, K8S = EXECUTORS = ("in_process", "multiprocess", "celery", "k8s")
ELSEWHERE = (CELERY, K8S)
"""Executors whose steps may run on other machines than the run."""
LOCAL, POSTGRES = "local", "postgres"
BROKER, BACKEND = "CLEANUP_CELERY_BROKER_URL", "CLEANUP_CELERY_BACKEND_URL"
DATABASE = "CLEANUP_DAGSTER_POSTGRES_URL"
QUEUE, LOST_AFTER, BROKER_RETRIES = "cleanup", timedelta(seconds=30), 3
_PACKAGES = {CELERY: "dagster_celery", K8S: "dagster_k8s"}
_OF_ONE_MACHINE = re.compile(r"(file|local|memory)://")


@dataclass(frozen=True, slots=True)
class Execution:
    """How the steps of a pass are run."""

    executor: str = IN_PROCESS
    """One of EXECUTORS."""
    step_storage: str = LOCAL
    """LOCAL: Dagster's own files on this machine. POSTGRES: Dagster's database. Else a URL that fsspec understands."""
    queue: str = QUEUE
    """Celery's."""
    lost_after: timedelta = LOST_AFTER
    """How long no worker of Celery may know of a step that it began, before the step has failed."""
    broker_retries: int = BROKER_RETRIES
    """How often handing a step to Celery's broker is tried again."""


def _step_storage(value: Any) -> str:
    wanted = "local, postgres, or a URL such as s3://bucket/cleanup"
    if not isinstance(value, str) or not re.fullmatch(rf"{LOCAL}|{POSTGRES}|[a-z][a-z0-9+.-]*://[^\s\0]+", value):
        raise refuse(wanted, found="no such text" if isinstance(value, str) and "@" in value else repr(value)[:80])
    if has_literal_password(value) or "@" in value.partition("://")[2]:
        raise refuse(f"{wanted}; who logs in is said by variables of the library", found="a URL (not shown)")
    return value


class ExecutionSection(Section):
    """`execution:`."""

    executor: Annotated[str | None, one_of(*EXECUTORS)] = None
    step_storage: Annotated[str | None, reads(_step_storage, {"type": "string", "minLength": 1})] = None
    queue: Annotated[str, text("the name of a queue")] = QUEUE
    lost_after: Annotated[timedelta, duration(timedelta(seconds=5), timedelta(minutes=10))] = LOST_AFTER
    broker_retries: Annotated[int, whole_number(0, 100)] = BROKER_RETRIES

    def execution(self, parallel: int, environ: Mapping[str, str], faults: list[Fault]) -> Execution:
        """The settings that this section is, `cleanup.parallel` considered."""
        executor = self.executor or (IN_PROCESS if parallel == 1 else MULTIPROCESS)
        database = any(environ.get(name) for name in (DATABASE, f"{DATABASE}_FILE"))
        storage = self.step_storage or (POSTGRES if database or executor in ELSEWHERE else LOCAL)
        path: Path = ("execution", "executor")

        def fault(found: str, expected: str, remedy: str, where: Path = path) -> None:
            faults.append(Fault(dotted(where), found, expected, remedy=remedy))

        if executor in (IN_PROCESS, CELERY) and parallel > 1:
            said = "multiprocess or k8s" if executor == IN_PROCESS else "no cleanup.parallel"
            how = "leave one of the two out" if executor == IN_PROCESS else "say it of each worker, with --concurrency"
            fault(f"{executor}, and cleanup.parallel is {parallel}", said, how)
        package = _PACKAGES.get(executor)
        if package is not None and find_spec(package) is None:
            fault(f"{executor}, which is not installed", "an installed one", f"install cleanup-pipeline[{executor}]")
        if executor == CELERY and not any(environ.get(name) for name in (BROKER, f"{BROKER}_FILE")):
            fault("celery without a broker", f"{BROKER}, such as redis://HOST:6379/0", f"set it, or {BROKER}_FILE")
        if executor in ELSEWHERE and (storage == LOCAL or _OF_ONE_MACHINE.match(storage)):
            fault(
                f"{storage}, and executor is {executor}",
                "postgres, or a URL that every worker reaches",
                "a file of one machine is not there for a step on another one",
                ("execution", "step_storage"),
            )
        return Execution(executor, storage, self.queue, self.lost_after, self.broker_retries)


def check_places(execution: Execution, needed: Mapping[str, str | None], faults: list[Fault]) -> None:
    """A fault for each section whose `place` is needed and left to the default, where steps run on other machines."""
    if execution.executor not in ELSEWHERE:
        return
    faults += [
        Fault(
            f"{section}.place",
            f"nothing, and executor is {execution.executor}",
            "a URL, or a folder that every worker has mounted",
            remedy="by default each worker would keep them on a disk of its own",
        )
        for section, place in needed.items()
        if place is None
    ]


def celery_urls(environ: Mapping[str, str]) -> tuple[str, str]:
    """Celery's broker and result backend, which is the broker unless it is named. Raises LookupError: there is none."""
    broker = _secret(BROKER, environ)
    if broker is None:
        raise LookupError(f"{BROKER}: not set, and executor is celery")
    return broker, _secret(BACKEND, environ) or broker


def _secret(variable: str, environ: Mapping[str, str]) -> str | None:
    if file := environ.get(f"{variable}_FILE", "").strip():
        faults: list[Fault] = []
        found = read_outside(file, (f"{variable}_FILE",), FilePath(), faults)
        if found is None:
            raise LookupError(str(faults[0]))
        return str(found)
    return environ.get(variable, "").strip() or None
