"""What a Dagster run costs around the deleting: targets, shards, executors.

    python -m benchmarks.dagster_overhead [--repeat 3] [--targets 0,3,10] [--shards 8] [--executors in_process]

Every table is empty, so that all of the time is Dagster's and the few statements of a look. Prints a table and one JSON
line a result. The time is that of `execute_job`, after import.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

import dagster as dg
import psycopg

from cleanup_pipeline.dagster_defs.build import build_defs
from cleanup_pipeline.embedded.servers import start_postgres
from cleanup_pipeline.settings import load_settings


def bench_job(settings: str, executor: str) -> dg.JobDefinition:
    """The pass of a settings file; found again by name in the processes of the multiprocess executor."""
    chosen = dg.multiprocess_executor if executor == "multiprocess" else dg.in_process_executor
    return build_defs(load_settings(Path(settings)), executor=chosen).resolve_job_def("clean_sessions")


def write_settings(folder: Path, targets: int, shards: int) -> Path:
    lines = [
        "stores:",
        "  main: {type: postgres, url: '${CLEANUP_POSTGRES_URL}'}",
        "targets:" if targets else "targets: {}",
    ]
    for number in range(targets):
        table = "parted" if shards > 1 else f"t{number}"
        rule = f"table: {table}, expires: {{column: e}}, mode: delete, max_shards: {shards}"
        lines.append(f"  target_{number}: {{store: main, {rule}}}")
    file = folder / f"cleanup-{targets}-{shards}.yaml"
    file.write_text("\n".join(lines))
    return file


def measure(instance: dg.DagsterInstance, settings: Path, executor: str) -> tuple[float, int]:
    job = dg.build_reconstructable_job("benchmarks.dagster_overhead", "bench_job", (str(settings), executor))
    config = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    began = time.perf_counter()
    with dg.execute_job(job, instance=instance, run_config=config) as result:
        if not result.success:
            raise SystemExit("the run failed")
        seconds = time.perf_counter() - began
        return seconds, len(instance.all_logs(result.run_id))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--repeat", type=int, default=3)
    arguments.add_argument("--targets", default="0,3,10")
    arguments.add_argument("--shards", type=int, default=8)
    arguments.add_argument("--executors", default="in_process,multiprocess")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        server = start_postgres(home / "postgres")
        os.environ["CLEANUP_POSTGRES_URL"] = server.url
        try:
            prepare(server.url, given.shards)
            (home / "dagster.yaml").write_text("telemetry: {enabled: false}\npython_logs: {python_log_level: INFO}\n")
            cases = [(int(n), 1) for n in given.targets.split(",")] + [(1, given.shards)]
            print(f"{'case':<22}{'executor':<14}{'median s':>9}{'events':>8}")
            with dg.DagsterInstance.from_config(str(home)) as instance:
                for executor in given.executors.split(","):
                    for targets, shards in cases:
                        report(instance, write_settings(home, targets, shards), executor, targets, shards, given.repeat)
        finally:
            server.stop()


def prepare(url: str, shards: int) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for number in range(10):
            connection.execute(f"CREATE TABLE t{number} (e timestamptz)")
        connection.execute("CREATE TABLE parted (e timestamptz, k int) PARTITION BY LIST (k)")
        for number in range(shards):
            connection.execute(f"CREATE TABLE parted{number} PARTITION OF parted FOR VALUES IN ({number})")


def report(instance: dg.DagsterInstance, settings: Path, executor: str, targets: int, shards: int, repeat: int) -> None:
    # The first run pays for what is imported on the way.
    measure(instance, settings, executor)
    runs = [measure(instance, settings, executor) for _ in range(repeat)]
    seconds, events = statistics.median(run[0] for run in runs), runs[0][1]
    case = f"{targets} targets" if shards == 1 else f"1 target, {shards} shards"
    print(f"{case:<22}{executor:<14}{seconds:>9.2f}{events:>8}")
    line = {"bench": "dagster_overhead", "targets": targets, "shards": shards, "executor": executor}
    print(json.dumps(line | {"seconds": round(seconds, 3), "events": events, "repeat": repeat}))


if __name__ == "__main__":
    main()
