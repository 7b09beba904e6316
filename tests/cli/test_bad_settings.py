"""Settings and usage that are wrong: every fault named, exit code 2, and nothing started."""

from pathlib import Path

import pytest

from tests.cli.conftest import Program

PG = "stores: {main: {type: postgres, url: 'postgresql://127.0.0.1:9/db'}}\n"
RULE = "table: web, expires: {column: expires_at}"


def target(text: str) -> str:
    return f"{PG}targets: {{web: {{{text}}}}}\n"


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (target(f"store: main, {RULE}, graec: 7d"), ["targets.web.graec", "unknown key", "did you mean grace?"]),
        (target(f"store: main, {RULE}, pause: [1]"), ["targets.web.pause", "found a list", "a duration"]),
        (target(f"store: main, {RULE}, batch_size: 0"), ["targets.web.batch_size", "found 0", "from 1 to 1000"]),
        (f"cleanup: {{batch_size: 5000}}\n{PG}", ["cleanup.batch_size", "found 5000", "from 1 to 1000"]),
        (target(f"store: main, {RULE}, grace: -1h"), ["targets.web.grace", "found '-1h'", "a duration"]),
        (target(f"store: mian, {RULE}"), ["targets.web.store", "'mian'", "did you mean main?"]),
        ("stores: {main: {type: postgres, url: '${NOT_SET_ANYWHERE}'}}", ["stores.main.url", "NOT_SET_ANYWHERE"]),
        (
            "stores: {c: {type: redis, url: 'redis://h'}}\ntargets: {all: {store: c, keys: '*', expires: {value: s}}}",
            ["targets.all.keys", "'*'", "at least 2 literal characters"],
        ),
        ("stores: {main: {type: postgres, url: 'postgresql://joe:s3cret-Pw@h/db'}}", ["stores.main.url", "${"]),
    ],
    ids=["key", "type", "batch_0", "batch_5000", "grace", "store", "unset", "every_key", "password"],
)
def test_a_fault_is_named(program: Program, tmp_path: Path, settings: str, says: list[str]) -> None:
    ran = program("run", "sessions", settings=settings)
    assert (ran.returncode, ran.stdout) == (2, "")
    first, *faults = ran.stderr.splitlines()
    assert first == "cleanup.yaml: 1 fault, nothing is cleaned:"
    assert len(faults) == 1 and all(words in faults[0] for words in says), faults
    assert "s3cret" not in ran.stderr
    assert not (tmp_path / ".cleanup").exists()


def test_an_empty_file_and_no_file(program: Program) -> None:
    nothing = program("run", "sessions")
    empty = program("run", "sessions", settings="")
    named = program("run", "sessions", "--settings", "other.yaml")
    assert [r.returncode for r in (nothing, empty, named)] == [2, 2, 2]
    assert "there is no cleanup.yaml in this folder" in nothing.stderr
    assert "CLEANUP_POSTGRES_URL" in nothing.stderr and "cleanup-pipeline demo" in nothing.stderr
    assert "cleanup.yaml" in empty.stderr and "there is no cleanup.yaml" not in empty.stderr
    assert "no such file" in named.stderr and "other.yaml" in named.stderr


@pytest.mark.parametrize("command", ["run", "plan"])
def test_an_unknown_pass(program: Program, command: str) -> None:
    ran = program(command, "sesions", settings=PG)
    assert (ran.returncode, ran.stdout) == (2, "")
    what = {"run": "pass sesions, the passes are sessions, verification_tokens", "plan": "pass and no target sesions"}
    assert ran.stderr == f"there is no {what[command]}; did you mean sessions?\n"


def test_a_dagster_home_that_is_not_there(program: Program) -> None:
    settings = target(f"store: main, {RULE}, mode: delete")
    for command in (("run", "sessions"), ("up",)):
        ran = program(*command, settings=settings, DAGSTER_HOME="/no/such/place")
        assert ran.returncode == 2
        assert ran.stderr == (
            "DAGSTER_HOME: found /no/such/place, which is no folder; make it, or unset the variable\n"
        )


@pytest.mark.parametrize("port", ["0", "100000", "http"])
def test_a_port_that_is_none(program: Program, port: str) -> None:
    ran = program("up", "--port", port, settings=PG)
    assert ran.returncode == 2 and "'--port'" in ran.stderr
