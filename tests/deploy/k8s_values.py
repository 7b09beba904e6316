"""Reads deploy/helm/values.yaml as Dagster's chart hands it on, with Dagster's own classes: for the Python of
.venv-deploy, which has dagster-k8s. Raises what they raise.
"""

import sys
from pathlib import Path
from typing import Any

import yaml
from dagster._config import process_config, resolve_to_config_type
from dagster._core.instance.config import dagster_instance_config_schema
from dagster_k8s import K8sRunLauncher
from dagster_k8s.container_context import K8sContainerContext

values: dict[str, Any] = yaml.safe_load(Path(sys.argv[1]).read_text("utf-8"))


def checked(schema: Any, config: dict[str, Any]) -> None:
    """Raises SystemExit for what the schema does not know."""
    result = process_config(resolve_to_config_type(schema), config)
    if not result.success:
        raise SystemExit("\n".join(error.message for error in result.errors or []))


# The helper `dagsterYaml.runLauncher.k8s` of the chart.
launcher = values["runLauncher"]["config"]["k8sRunLauncher"]
checked(
    K8sRunLauncher.config_type(),
    {
        "load_incluster_config": launcher["loadInclusterConfig"],
        "image_pull_policy": launcher["imagePullPolicy"],
        "service_account_name": "dagster",
        "dagster_home": "/opt/dagster/dagster_home",
        "instance_config_map": "instance",
        "postgres_password_secret": values["global"]["postgresqlSecretName"],
        "resources": launcher["resources"],
        "fail_pod_on_run_failure": launcher["failPodOnRunFailure"],
        "run_k8s_config": {
            {
                "podSpecConfig": "pod_spec_config",
                "containerConfig": "container_config",
                "jobSpecConfig": "job_spec_config",
            }[key]: value
            for key, value in launcher["runK8sConfig"].items()
        },
    },
)

# What the code location says its runs need, with `includeConfigInLaunchedRuns`.
for each in values["dagster-user-deployments"]["deployments"]:
    context = K8sContainerContext.create_from_config(
        {
            "k8s": {
                "env": each["env"],
                "volumes": each["volumes"],
                "volume_mounts": each["volumeMounts"],
                "resources": each["resources"],
                "security_context": each["securityContext"],
            }
        }
    )
    mounted = {mount["name"] for mount in each["volumeMounts"]}
    assert mounted == {volume["name"] for volume in each["volumes"]}
    assert context.run_k8s_config.container_config["volume_mounts"]

# The rest of dagster.yaml, as `configmap-instance.yaml` writes it.
runs, pools = values["concurrency"]["runs"], values["concurrency"]["pools"]
monitoring, retention = values["dagsterDaemon"]["runMonitoring"], values["retention"]
checked(
    dagster_instance_config_schema(),
    {
        "concurrency": {
            "runs": {
                "max_concurrent_runs": runs["maxConcurrentRuns"],
                "tag_concurrency_limits": runs["tagConcurrencyLimits"],
            },
            "pools": {"default_limit": pools["defaultLimit"], "granularity": pools["granularity"]},
        },
        "run_monitoring": {
            "enabled": monitoring["enabled"],
            "start_timeout_seconds": monitoring["startTimeoutSeconds"],
            "cancel_timeout_seconds": monitoring["cancelTimeoutSeconds"],
            "max_resume_run_attempts": monitoring["maxResumeRunAttempts"],
            "poll_interval_seconds": monitoring["pollIntervalSeconds"],
            "free_slots_after_run_end_seconds": monitoring["freeSlotsAfterRunEndSeconds"],
        },
        "retention": {
            "schedule": {"purge_after_days": retention["schedule"]["purgeAfterDays"]},
            "sensor": {"purge_after_days": retention["sensor"]["purgeAfterDays"]},
        },
        "python_logs": {"python_log_level": values["pythonLogs"]["pythonLogLevel"]},
    },
)
print("ok")
