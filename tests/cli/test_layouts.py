"""`cleanup-pipeline layouts`: what is known, what is done for it, and the statements that are sent."""

from itertools import pairwise

import psycopg
import pytest
from rich.console import Console
from typer.testing import CliRunner

from cleanup_pipeline.cli.errors import UsageError
from cleanup_pipeline.cli.main import app
from cleanup_pipeline.layouts import layouts


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["layouts", *arguments], catch_exceptions=False, env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    return result.output


def test_list_is_a_line_each() -> None:
    text = run("list")
    rows = {line.split()[0]: line for line in text.split("\n\n")[0].splitlines()}
    assert list(rows) == list(layouts())
    assert rows["django-sessions"].split()[1] == "postgres"
    assert "only reports: " in rows["authentik"]


def test_long_says_what_proves_each() -> None:
    lines = run("list", "--long").splitlines()
    below = {line.split()[0]: after for line, after in pairwise(lines) if line and line[0] != " "}
    assert below["django-sessions"].startswith("    differential test; Django")
    assert below["laravel-sessions"].startswith("    must-keep test; Laravel")


@pytest.mark.parametrize("arguments", [("list",), ("show", "doorkeeper"), ("show", "better-auth")])
def test_it_fits_a_terminal(arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    out = Console(width=80, soft_wrap=False, highlight=False)
    monkeypatch.setattr("cleanup_pipeline.cli.layouts.console", lambda: out)
    lines = run(*arguments).splitlines()
    assert 60 < max(map(len, lines)) <= 80


def test_steps_that_are_asked_for_say_so() -> None:
    for preset in layouts().values():
        for step in preset.raw_steps:
            if step.get("when"):
                said = (
                    "not with the parameter {}: false"
                    if preset.params[step["when"]].default
                    else "only with the parameter {}"
                )
                assert said.format(step["when"]) in run("show", preset.name), preset.name


def test_show_says_what_goes_and_what_stays() -> None:
    text = run("show", "doorkeeper")
    assert "only where refresh_token is null" in text
    assert "Access tokens that have a refresh token" in text


def test_sql_takes_parameters_and_quotes_names() -> None:
    text = run("show", "laravel-sessions", "--sql", "--param", "lifetime=2h", "--param", 'table=we"b')
    assert 'DELETE FROM ONLY "we""b" AS record' in text
    assert 'record."last_activity" <' in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("show", "laravel-session"), "did you mean laravel-sessions?"),
        (("show", "laravel-sessions", "--sql"), "--sql needs --param lifetime=..."),
        (("show", "laravel-sessions", "--param", "lifetim=2h"), "did you mean lifetime?"),
        (("show", "laravel-sessions", "--param", "lifetime=soon"), "--param lifetime: expected a duration"),
        (("show", "laravel-sessions", "--param", "lifetime"), "expected KEY=VALUE"),
    ],
)
def test_wrong_usage_is_told(arguments: tuple[str, ...], said: str) -> None:
    with pytest.raises(UsageError) as raised:
        run(*arguments)
    assert said in str(raised.value)


def test_every_statement_that_is_shown_is_one(postgres_url: str) -> None:
    """Each is sent to a server, which finds nothing wrong with it but that the tables are not there."""
    given = {"duration": "1d", "zone": "UTC", "grace": "1d", "table": "nowhere"}
    with psycopg.connect(postgres_url, autocommit=True) as db:
        for preset in layouts().values():
            if preset.store_type.value != "postgres":
                continue
            params = [f"--param={k}={given[s.type]}" for k, s in preset.params.items() if s.type in given]
            for statement in _statements(run("show", preset.name, "--sql", *params)):
                with pytest.raises((psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName)):
                    db.execute(statement)  # type: ignore[call-overload]


def _statements(text: str) -> list[str]:
    import re

    body = text[text.index("\n-- ") :]
    plain = "\n".join(line for line in body.splitlines() if not line.startswith("--"))
    return [re.sub(r"%\(\w+\)s", "NULL", one).replace("%%", "%") for one in plain.split(";\n") if one.strip()]
