"""What many targets cost: loading their definitions, the pages of Dagster's UI, and the events of a run.

    python -m benchmarks.many_targets [--targets 1000] [--passes 20] [--events-targets 50] [--shards 8] [--tenants 300]
        [--pages]

`load` is what a code location does before it answers: importing, reading the settings, building the definitions, and
the snapshot that it hands to the webserver. `--pages` also starts a webserver on it, asks it what its pages ask, and
loads four of them in headless Chromium (CHROMIUM names another program), each until all of it is there.
`events` is a pass of that many targets of `--shards` shards, with records to delete. Prints one JSON line each;
`cpu_seconds` is what loading takes on a machine that has nothing else to do.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from urllib.request import Request, urlopen

import psycopg

from cleanup_pipeline.embedded.servers import start_postgres

LOAD = """
import json, time
began = time.perf_counter()
import dagster as dg
from dagster._core.remote_representation.external_data import RepositorySnap
import cleanup_pipeline.dagster_defs.build
imported = time.perf_counter()
from cleanup_pipeline.definitions import defs
built = time.perf_counter()
snapshot = dg.serialize_value(RepositorySnap.from_def(defs.get_repository_def()))
ended = time.perf_counter()
print(json.dumps({"import": imported - began, "build": built - imported, "snapshot": ended - built,
                  "seconds": ended - began,
                  "cpu_seconds": time.process_time(),
                  "snapshot_bytes": len(snapshot)}))
"""
_LOADED = "{workspaceOrError{... on Workspace{locationEntries{loadStatus locationOrLoadError{__typename}}}}}"
_REPOSITORY = 'repositoryName: "__repository__", repositoryLocationName: "cleanup_pipeline"'
QUERIES = {
    "workspace": (
        "{workspaceOrError{... on Workspace{locationEntries{locationOrLoadError{... on RepositoryLocation{repositories"
        "{name pipelines{name isJob pipelineSnapshotId} schedules{name scheduleState{status}}"
        " sensors{name sensorState{status}}}}}}}}}"
    ),
    "assets": "{assetNodes{id groupName jobNames assetKey{path} dependencyKeys{path} description kinds}}",
    "job": (
        '{pipelineOrError(params: {pipelineName: "clean_p0", '
        + _REPOSITORY
        + '}){... on Pipeline{name solidHandles(parentHandleID: ""){handleID solid{name definition{name description}'
        " inputs{definition{name} dependsOn{solid{name}}}}}}}}"
    ),
    "schedules": "{schedulesOrError(repositorySelector: {"
    + _REPOSITORY
    + "}){... on Schedules{results{name cronSchedule}}}}",
}
PAGES = {
    "overview": "/overview/activity/jobs",
    "jobs": "/jobs",
    "assets": "/assets",
    "job": "/locations/__repository__@cleanup_pipeline/jobs/clean_p0",
}


def write_settings(file: Path, targets: int, passes: int, shards: int = 4) -> Path:
    """Targets over that many passes, one in ten by a layout, the others each with its own table."""
    lines = ["stores:", "  main: {type: postgres, url: '${CLEANUP_POSTGRES_URL}'}", "passes:"]
    lines += [f"  p{number}: {{every: 1h}}" for number in range(passes)]
    lines.append("targets:")
    for number in range(targets):
        of = f"layout: django-sessions, schema: s{number}" if number % 10 == 9 else f"table: t{number}"
        rule = "" if number % 10 == 9 else ", expires: {column: e}"
        lines.append(
            f"  t{number}: {{store: main, pass: p{number % passes}, {of}{rule}, mode: delete, max_shards: {shards}}}"
        )
    file.write_text("\n".join(lines) + "\n")
    return file


def measure_load(settings: Path) -> dict[str, float]:
    """Seconds by part, in a process of its own, as a code location has one. Raises CalledProcessError."""
    environment = {**os.environ, "CLEANUP_SETTINGS": str(settings)}
    done = subprocess.run([sys.executable, "-c", LOAD], check=True, capture_output=True, text=True, env=environment)
    figures: dict[str, float] = json.loads(done.stdout)
    return {name: round(value, 2) for name, value in figures.items()}


def measure_pages(home: Path, settings: Path, port: int) -> dict[str, float]:
    """Seconds until a webserver has loaded the settings, of each query (the second time), and of each page."""
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\nnux: {enabled: false}\n")
    environment = {**os.environ, "DAGSTER_HOME": str(home), "CLEANUP_SETTINGS": str(settings)}
    command = [sys.executable, "-m", "dagster_webserver", "--port", str(port), "-w", "workspace.yaml"]
    url, figures = f"http://127.0.0.1:{port}", {}
    with (home / "webserver.log").open("w") as log:
        began = time.perf_counter()
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            while not _loaded(url):
                if server.poll() is not None or time.perf_counter() - began > 180:
                    raise SystemExit((home / "webserver.log").read_text()[-2000:])
                time.sleep(0.1)
            figures["webserver"] = time.perf_counter() - began
            for name, query in QUERIES.items():
                _ask(url, query)
                began = time.perf_counter()
                figures[f"query_{name}"] = (_ask(url, query), time.perf_counter() - began)[1]
            for name, path in PAGES.items():
                figures[f"page_{name}"] = _open_page(url + path, home / f"{name}.png")
        finally:
            server.terminate()
            server.wait()
    return {name: round(value, 2) for name, value in figures.items()}


def _loaded(url: str) -> bool:
    try:
        entries = _ask(url, _LOADED)["workspaceOrError"]["locationEntries"]
    except OSError:
        return False
    return bool(entries) and all(
        (entry["locationOrLoadError"] or {}).get("__typename") == "RepositoryLocation" for entry in entries
    )


def _ask(url: str, query: str):  # type: ignore[no-untyped-def]
    # Our own loopback address.
    body = json.dumps({"query": query}).encode()
    request = Request(f"{url}/graphql", body, {"Content-Type": "application/json"})  # noqa: S310
    with urlopen(request, timeout=120) as answer:  # noqa: S310
        said = json.load(answer)
    if said.get("errors"):
        raise SystemExit(f"the query was refused: {said['errors'][0]['message']}")
    return said["data"]


def _open_page(url: str, picture: Path) -> float:
    browser = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        raise SystemExit("no chromium here: set CHROMIUM")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000", "--window-size=1600,1000"]
    began = time.perf_counter()
    subprocess.run([browser, *options, f"--screenshot={picture}", url], check=True, capture_output=True, timeout=180)
    return time.perf_counter() - began


def measure_events(home: Path, targets: int, shards: int) -> dict[str, float]:
    """A pass that deletes from each target, in this process, with the rows that it leaves in the event log."""
    import dagster as dg

    from cleanup_pipeline.dagster_defs.build import build_defs
    from cleanup_pipeline.settings import load_settings

    server = start_postgres(home / "postgres")
    os.environ["CLEANUP_POSTGRES_URL"] = server.url
    try:
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("CREATE TABLE parted (e timestamptz, k int) PARTITION BY LIST (k)")
            for number in range(shards):
                connection.execute(f"CREATE TABLE parted{number} PARTITION OF parted FOR VALUES IN ({number})")
            rows = "SELECT now() - interval '1 day', n %% %s FROM generate_series(1, 8000) n"
            connection.execute(f"INSERT INTO parted {rows}", [shards])
        settings = home / "events.yaml"
        rule = f"table: parted, expires: {{column: e}}, mode: delete, max_shards: {shards}"
        lines = ["stores:", "  main: {type: postgres, url: '${CLEANUP_POSTGRES_URL}'}", "targets:"]
        settings.write_text("\n".join([*lines, *(f"  t{n}: {{store: main, {rule}}}" for n in range(targets))]))
        (home / "dagster.yaml").write_text("telemetry: {enabled: false}\npython_logs: {python_log_level: INFO}\n")
        with dg.DagsterInstance.from_config(str(home)) as instance:
            job = build_defs(load_settings(settings)).resolve_job_def("clean_sessions")
            quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
            began = time.perf_counter()
            result = job.execute_in_process(instance=instance, run_config=quiet)
            seconds = time.perf_counter() - began
            steps = len(instance.get_run_step_stats(result.run_id))
            events = len(instance.all_logs(result.run_id))
        return {"targets": targets, "shards": shards, "steps": steps, "events": events, "seconds": round(seconds, 1)}
    finally:
        server.stop()


def measure_tenants(home: Path, tenants: int) -> dict[str, float]:
    """One target for so many schemas, the first with 100,000 expired rows, the others with 20: seconds of the scan, of
    deleting and of the recount, and the processor time of this process in the three."""
    from cleanup_pipeline.engine.limits import limits_of
    from cleanup_pipeline.engine.loop import Watch, clean_shard
    from cleanup_pipeline.engine.scan import scan
    from cleanup_pipeline.model.outcome import ShardOutcome
    from cleanup_pipeline.settings import load_settings
    from cleanup_pipeline.stores.open import open_store, store_for

    server = start_postgres(home / "postgres-of-tenants")
    try:
        with psycopg.connect(server.url, autocommit=True) as connection:
            for number in range(tenants):
                schema, rows = f"tenant_{number}", 20 if number else 100_000
                connection.execute(f"CREATE SCHEMA {schema}")
                connection.execute(f"CREATE TABLE {schema}.sessions (id int, e timestamptz)")
                connection.execute(f"CREATE INDEX ON {schema}.sessions (e)")
                dead = "SELECT n, now() - interval '1 day' FROM generate_series(1, %s) n"
                connection.execute(f"INSERT INTO {schema}.sessions {dead}", [rows])
        settings = home / "tenants.yaml"
        settings.write_text(
            "cleanup: {pause: 0s}\nstores: {main: {type: postgres, url: '${CLEANUP_POSTGRES_URL}'}}\n"
            "targets: {t: {store: main, table: sessions, schemas: tenant_*, expires: {column: e}, mode: delete}}\n"
        )
        read = load_settings(settings, {"CLEANUP_POSTGRES_URL": server.url})
        [target] = read.targets
        store = open_store(read.stores["main"])
        outcomes: list[ShardOutcome] = []
        marks, busy = [time.perf_counter()], time.process_time()
        plan = scan(store, target, dry_run=False)
        marks.append(time.perf_counter())
        for shard in plan.work.shards:
            clean_shard(store, target, plan.work, shard, plan.cutoff, limits_of(target), Watch(outcomes.append))
        marks.append(time.perf_counter())
        left = store_for(store, target).survivors(target, plan.cutoff, timedelta(minutes=1))
        marks.append(time.perf_counter())
        busy = time.process_time() - busy
        store.close()
        if left != 0:
            raise SystemExit(f"{left} expired records are left")
        parts = dict(zip(("scan", "delete", "recount"), (b - a for a, b in pairwise(marks)), strict=True))
        deleted = sum(outcome.tally.deleted for outcome in outcomes)
        seconds = {name: round(value, 1) for name, value in {**parts, "cpu_seconds": busy}.items()}
        return {"tenants": tenants, "deleted": deleted, **seconds}
    finally:
        server.stop()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--targets", type=int, default=1000)
    arguments.add_argument("--passes", type=int, default=20)
    arguments.add_argument("--events-targets", type=int, default=50, help="0: leave out")
    arguments.add_argument("--shards", type=int, default=8)
    arguments.add_argument("--tenants", type=int, default=300, help="0: leave out")
    arguments.add_argument("--pages", action="store_true")
    arguments.add_argument("--port", type=int, default=3997)
    arguments.add_argument("--keep", type=Path, help="a folder for the pictures of the pages")
    given = arguments.parse_args()
    os.environ.setdefault("CLEANUP_POSTGRES_URL", "postgresql://localhost/nobody_connects")
    with tempfile.TemporaryDirectory() as folder:
        home = given.keep or Path(folder)
        home.mkdir(exist_ok=True)
        if given.targets:
            settings = write_settings(home.resolve() / "cleanup.yaml", given.targets, given.passes)
            size = {"targets": given.targets, "passes": given.passes}
            print(json.dumps({"bench": "many_targets.load", **size, **measure_load(settings)}))
            if given.pages:
                print(
                    json.dumps({"bench": "many_targets.pages", **measure_pages(home.resolve(), settings, given.port)})
                )
        if given.events_targets:
            events = measure_events(Path(folder), given.events_targets, given.shards)
            print(json.dumps({"bench": "many_targets.events", **events}))
        if given.tenants:
            print(json.dumps({"bench": "many_targets.tenants", **measure_tenants(Path(folder), given.tenants)}))


if __name__ == "__main__":
    main()
