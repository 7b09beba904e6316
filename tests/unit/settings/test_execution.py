"""`execution:` and what it does not go together with."""

import re
from datetime import timedelta
from pathlib import Path

import pytest

from cleanup_pipeline.settings import SettingsError, load_settings
from cleanup_pipeline.settings.execution import Execution, celery_urls

BROKER = {"CLEANUP_CELERY_BROKER_URL": "redis://:hush@broker/0"}
DATABASE = {"CLEANUP_DAGSTER_POSTGRES_URL": "postgresql://u:hush@h/d"}


def execution(folder: Path, text: str = "", **variables: str) -> Execution:
    (folder / "cleanup.yaml").write_text(f"stores: {{}}\n{text}\n")
    return load_settings(folder / "cleanup.yaml", variables).execution


@pytest.mark.parametrize(
    ("text", "variables", "expected"),
    [
        ("", {}, Execution()),
        ("execution: {}", {}, Execution()),
        ("cleanup: {parallel: 3}", {}, Execution("multiprocess")),
        ("execution: {executor: multiprocess}", {}, Execution("multiprocess")),
        ("", {"CLEANUP_EXECUTOR": "multiprocess"}, Execution("multiprocess")),
        ("", DATABASE, Execution(step_storage="postgres")),
        ("", {"CLEANUP_DAGSTER_POSTGRES_URL_FILE": "/run/url"}, Execution(step_storage="postgres")),
        ("execution: {step_storage: local}", DATABASE, Execution()),
        ("", {"CLEANUP_STEP_STORAGE": "s3://bucket/cleanup"}, Execution(step_storage="s3://bucket/cleanup")),
        ("execution: {executor: celery}", BROKER, Execution("celery", "postgres")),
        ("execution: {executor: k8s, step_storage: 'gs://b'}", {}, Execution("k8s", "gs://b")),
        ("cleanup: {parallel: 9}\nexecution: {executor: k8s}", {}, Execution("k8s", "postgres")),
        (
            "execution: {executor: celery, queue: q, lost_after: 1m, broker_retries: 9}",
            BROKER,
            Execution("celery", "postgres", "q", timedelta(minutes=1), 9),
        ),
    ],
)
def test_what_is_said_and_what_follows(
    text: str, variables: dict[str, str], expected: Execution, tmp_path: Path
) -> None:
    assert execution(tmp_path, text, **variables) == expected


@pytest.mark.parametrize(
    ("text", "variables", "words"),
    [
        ("execution: {executor: dask}", {}, "execution.executor: found 'dask', expected in_process, multiprocess"),
        ("execution: {executor: celery}", {}, "found celery without a broker, expected CLEANUP_CELERY_BROKER_URL"),
        ("execution: {executor: celery, step_storage: local}", BROKER, "found local, and executor is celery"),
        ("execution: {executor: k8s, step_storage: 'file:///x'}", {}, "found file:///x, and executor is k8s"),
        ("cleanup: {parallel: 2}\nexecution: {executor: celery}", BROKER, "celery, and cleanup.parallel is 2"),
        ("cleanup: {parallel: 2}\nexecution: {executor: in_process}", {}, "in_process, and cleanup.parallel is 2"),
        ("execution: {step_storage: /a/path}", {}, "expected local, postgres, or a URL such as"),
        ("execution: {step_storage: 's3://key:hush@bucket'}", {}, "found a URL (not shown)"),
        ("execution: {workers: 2}", {}, "execution.workers"),
    ],
)
def test_what_cannot_be_is_a_fault_that_shows_no_secret(
    text: str, variables: dict[str, str], words: str, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match=re.escape(words)) as fault:
        execution(tmp_path, text, **variables)
    assert "hush" not in str(fault.value)


KEPT = """
cleanup: {batch_size: 10}
stores: {main: {type: postgres, url: "postgresql://h/d"}}
targets: {web: {store: main, table: web, expires: {column: e}, mode: delete, quarantine: true}}
"""


def test_what_is_kept_of_removed_records_has_a_place_that_every_worker_reaches(tmp_path: Path) -> None:
    key = {"CLEANUP_QUARANTINE_KEY": "AGE" * 20}
    file = tmp_path / "cleanup.yaml"

    def faults(text: str) -> str:
        file.write_text(KEPT + text)
        try:
            load_settings(file, {**BROKER, **key})
        except SettingsError as fault:
            return str(fault)
        return ""

    celery = "execution: {executor: celery}\n"
    assert "quarantine.place: found nothing, and executor is celery, expected a URL" in faults(celery)
    assert "quarantine.place" not in faults("") and "quarantine.place" not in faults(
        f"{celery}quarantine: {{place: 's3://bucket/kept'}}\n"
    )


def test_an_executor_that_is_not_installed_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cleanup_pipeline.settings.execution.find_spec", lambda _: None)
    with pytest.raises(SettingsError, match=r"celery, which is not installed.*install cleanup-pipeline\[celery\]"):
        execution(tmp_path, "execution: {executor: celery}", **BROKER)
    assert execution(tmp_path) == Execution()


def test_urls_of_celery_come_from_variables_or_files(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("redis://elsewhere/1\n")
    file = str(tmp_path / "url")
    assert celery_urls(BROKER) == ("redis://:hush@broker/0",) * 2
    both = {**BROKER, "CLEANUP_CELERY_BACKEND_URL_FILE": file}
    assert celery_urls(both) == ("redis://:hush@broker/0", "redis://elsewhere/1")
    assert celery_urls({"CLEANUP_CELERY_BROKER_URL_FILE": file})[0] == "redis://elsewhere/1"
    with pytest.raises(LookupError, match="CLEANUP_CELERY_BROKER_URL: not set"):
        celery_urls({})
    with pytest.raises(LookupError, match="CLEANUP_CELERY_BROKER_URL_FILE"):
        celery_urls({"CLEANUP_CELERY_BROKER_URL_FILE": "/no/such/file"})
