"""The files of deploy/, by the programs that will read them, as far as those do without an engine or a cluster."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from cleanup_pipeline import __version__
from cleanup_pipeline.settings import SettingsError, load_settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
UNITS = DEPLOY / "systemd"
TOOLS = os.environ.get("CLEANUP_DEPLOY")
needs_tools = pytest.mark.skipif(not TOOLS, reason="needs Docker Compose, hadolint and dagster-k8s: make deploy-check")


def tool(name: str) -> str:
    return str(Path(TOOLS or "") / "bin" / name)


def told(*command: str, cwd: Path = ROOT) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def compose(*arguments: str) -> dict[str, Any]:
    """What Docker Compose makes of the file."""
    text = told(tool("docker-compose"), "-f", "deploy/compose/compose.yaml", *arguments, "config", "--format", "json")
    services: dict[str, Any] = json.loads(text)["services"]
    return services


@needs_tools
def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    assert told(tool("hadolint"), "deploy/docker/Dockerfile") == ""


def test_the_dockerfile_copies_what_there_is_and_its_context_has_it() -> None:
    text = (DEPLOY / "docker" / "Dockerfile").read_text("utf-8")
    allowed = (DEPLOY / "docker" / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
    copied = [line.split()[1:-1] for line in text.splitlines() if line.startswith("COPY ") and "--from" not in line]
    for name in [name for names in copied for name in names]:
        assert (ROOT / name).exists(), name
        assert f"!{name}" in allowed, name
    assert "--require-hashes" in text and "USER 10001:10001" in text and "HEALTHCHECK" in text
    # By tag at least, and the same one for both stages.
    assert re.search(r"^ARG PYTHON=3\.\d+\.\d+-slim-\w+$", text, re.MULTILINE)
    assert len(re.findall(r"^FROM docker.io/library/python:\$\{PYTHON\}", text, re.MULTILINE)) == 2


@needs_tools
def test_compose_reads_it_and_nothing_is_open_to_others() -> None:
    plain, example = compose(), compose("--profile", "example")
    assert set(plain) == {"code", "webserver", "daemon", "history"}
    assert set(example) - set(plain) == {"example_postgres", "example_redis", "example_mongo"}
    published = [port for service in example.values() for port in service.get("ports", [])]
    assert {port["host_ip"] for port in published} == {"127.0.0.1"}
    for name, service in example.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"], name
        assert service["user"] not in {"0", "0:0", "root"}, name
        limits = service["deploy"]["resources"]["limits"]
        assert {"cpus", "memory", "pids"} <= set(limits), name
        # That of the image, for the code location.
        assert name == "code" or service["healthcheck"]["test"][0] == "CMD", name
        assert not any("PASSWORD" in key and not key.endswith("_FILE") for key in service.get("environment", {})), name
        tag = service["image"].rpartition(":")[2]
        assert tag == __version__ if name in {"code", "webserver", "daemon"} else re.match(r"\d+\.\d+", tag), name
    # Or runs are killed in the middle of a batch, and nobody knows it of them afterwards (decision 31).
    assert plain["code"]["environment"]["TINI_KILL_PROCESS_GROUP"] == "1" and plain["code"]["init"] is True
    assert plain["code"]["hostname"] == "code"
    # What reaches the stores is one container.
    assert [name for name, service in plain.items() if "stores" in service["networks"]] == ["code"]


def test_the_settings_of_the_example_are_right_but_for_the_files_of_secrets() -> None:
    with pytest.raises(SettingsError) as raised:
        load_settings(DEPLOY / "compose" / "cleanup.yaml", {})
    assert [fault.path for fault in raised.value.faults] == [
        f"stores.{one}.url_file" for one in ("main", "cache", "docs")
    ]


def test_only_the_settings_of_dagster_that_its_chart_knows_are_named() -> None:
    values = yaml.safe_load((DEPLOY / "helm" / "values.yaml").read_text("utf-8"))
    (deployment,) = values["dagster-user-deployments"]["deployments"]
    # Keys of the chart's own schema (helm/dagster/schema), as far as they are used here.
    known: list[tuple[dict[str, Any], str]] = [
        (
            values,
            """dagster-user-deployments runLauncher postgresql global generatePostgresqlPasswordSecret rabbitmq redis
            flower telemetry concurrency pythonLogs retention dagsterDaemon dagsterWebserver""",
        ),
        (
            deployment,
            """name image dagsterApiGrpcArgs includeConfigInLaunchedRuns port env volumes volumeMounts
            podSecurityContext securityContext resources startupProbe readinessProbe""",
        ),
        (
            values["runLauncher"]["config"]["k8sRunLauncher"],
            "imagePullPolicy loadInclusterConfig failPodOnRunFailure resources runK8sConfig",
        ),
        (
            values["postgresql"],
            "enabled postgresqlHost postgresqlUsername postgresqlDatabase postgresqlParams postgresqlScheme service",
        ),
        (values["concurrency"], "enabled runs pools"),
        (values["dagsterDaemon"], "enabled runMonitoring runRetries securityContext resources"),
        (values["dagsterWebserver"], "replicaCount service securityContext resources"),
    ]
    for section, keys in known:
        assert set(section) == set(keys.split())
    assert deployment["image"]["tag"] == __version__
    # dagster.yaml is where these are explained.
    own = yaml.safe_load((ROOT / "dagster.yaml").read_text("utf-8"))["concurrency"]
    runs = values["concurrency"]["runs"]
    assert runs["maxConcurrentRuns"] == own["runs"]["max_concurrent_runs"]
    assert runs["tagConcurrencyLimits"] == own["runs"]["tag_concurrency_limits"]


@needs_tools
def test_dagsters_own_classes_read_the_values() -> None:
    assert told(tool("python"), "-W", "ignore", "tests/deploy/k8s_values.py", "deploy/helm/values.yaml").endswith(
        "ok\n"
    )


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
def test_systemd_reads_the_units_and_finds_them_closed(tmp_path: Path) -> None:
    units = tmp_path / "etc" / "systemd" / "system"
    shutil.copytree("/lib/systemd/system", tmp_path / "lib" / "systemd" / "system", symlinks=True)
    shutil.copytree(UNITS, units)
    program = tmp_path / "opt" / "cleanup-pipeline" / "venv" / "bin" / "cleanup-pipeline"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    names = [each.name.replace("@.", "@sessions.") for each in UNITS.iterdir() if each.is_file()]
    assert len(names) == 5

    def verify() -> list[str]:
        """What systemd has to say of ours."""
        files = [f"/etc/systemd/system/{name}" for name in names]
        command = ["systemd-analyze", "verify", "--man=no", f"--root={tmp_path}", *files]
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        return [line for line in found.stderr.splitlines() if "cleanup-pipeline" in line]

    assert verify() == []
    wrong = units / "cleanup-pipeline.service"
    wrong.write_text(wrong.read_text().replace("ProtectHome=", "ProtectHouse="))
    assert "ProtectHouse" in verify()[0]
    for name in ("cleanup-pipeline.service", "cleanup-pipeline-upkeep.service"):
        told("systemd-analyze", "security", "--offline=true", "--threshold=25", "--no-pager", str(UNITS / name))


def test_every_unit_is_as_closed_as_the_others() -> None:
    def hardening(name: str) -> str:
        text = (UNITS / name).read_text("utf-8")
        return text[text.index("NoNewPrivileges") : text.index("Memory")]

    units = [each.name for each in UNITS.glob("*.service")]
    assert len(units) == 3 and len({hardening(name) for name in units}) == 1
