"""`layouts new`, by options and by question and answer, on real servers."""

import os
import pty
import re
import shlex
import subprocess
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pymongo
import pytest
import redis
import yaml
from typer.testing import CliRunner, Result

from cleanup_pipeline.cli.errors import UsageError
from cleanup_pipeline.cli.main import app
from cleanup_pipeline.cli.own import asking
from cleanup_pipeline.model.words import Mode
from cleanup_pipeline.settings import load_settings
from tests.cli.conftest import COMMAND, Program, clean_environment

VARIABLES = ("CLEANUP_POSTGRES_URL", "CLEANUP_REDIS_URL", "CLEANUP_MONGO_URL")
TABLES = """
CREATE TABLE login_sessions (id bigint PRIMARY KEY, created_at timestamptz, expires_at timestamptz, status text,
                             tenant_id bigint);
CREATE TABLE session_events (id bigint, session_id bigint REFERENCES login_sessions);
CREATE TABLE reset_links (id bigint, user_id bigint, valid_until timestamp, payload jsonb);
CREATE TABLE api_tokens (id bigint, exp bigint, refresh_exp bigint);
CREATE TABLE django_session (session_key varchar(40) PRIMARY KEY, session_data text, expire_date timestamptz);
INSERT INTO api_tokens SELECT n, 1790000000000 + n, 0 FROM generate_series(1, 20) n;
"""
New = Callable[..., Result]


@pytest.fixture
def new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> New:
    """`layouts new` in a folder of its own, with answers if somebody sits at the terminal."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.startswith("CLEANUP_"):
            monkeypatch.delenv(name)

    def _run(*arguments: str, answers: Sequence[str] | None = None, **variables: str) -> Result:
        monkeypatch.setattr(asking, "on_terminal", lambda: answers is not None)
        typed = "".join(f"{answer}\n" for answer in answers or ())
        return CliRunner().invoke(app, ["layouts", "new", *arguments], input=typed, env=variables)

    return _run


def done(result: Result) -> str:
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


def refused(result: Result) -> str:
    """What was wrong with the usage; nothing was written."""
    assert isinstance(result.exception, UsageError), (result.output, result.exception)
    return str(result.exception)


def target_in(file: Path, name: str | None = None) -> dict[str, Any]:
    """The target as it is written, less what every one has."""
    ((written, keys),) = yaml.safe_load(file.read_text(encoding="utf-8"))["targets"].items()
    assert name in {None, written}
    assert keys.pop("mode") == "dry_run"
    return {key: value for key, value in keys.items() if key not in {"store", "pass", "kind"}}


@pytest.fixture
def tables(postgres_url: str) -> dict[str, str]:
    with psycopg.connect(postgres_url, autocommit=True) as db:
        db.execute(TABLES)
    # It reads only: on such a connection anything else is a fault.
    return {"CLEANUP_POSTGRES_URL": f"{postgres_url}?options=-c%20default_transaction_read_only%3Don"}


def test_by_options_it_writes_what_was_said_and_loads_it(new: New, tables: dict[str, str], tmp_path: Path) -> None:
    text = done(
        new("--table", "login_sessions", "--expires", "expires_at", "--grace", "7d", "--where", "tenant_id=3",
            "--guard", "{column: status, in: [revoked]}", "--children", "delete_first", "--name", "old_logins",
            **tables)
    )  # fmt: skip
    sentence = "A row of login_sessions is dead once expires_at (timestamptz) lies before now - 7d; NULL never expires."
    assert sentence in " ".join(text.split())
    assert "It goes only where tenant_id is 3, and only where status is revoked." in " ".join(text.split())
    assert "cleanup-pipeline check\n  cleanup-pipeline plan sessions\n" in text
    file = tmp_path / "cleanup.yaml"
    written = file.read_text()
    assert written.startswith("# yaml-language-server: $schema=.cleanup/cleanup.schema.json\n")
    assert (tmp_path / ".cleanup" / "cleanup.schema.json").exists()
    assert tables["CLEANUP_POSTGRES_URL"] not in written + text
    (target,) = load_settings(file, tables).targets
    assert (target.name, target.mode, target.children_first) == ("old_logins", Mode.DRY_RUN, True)
    assert (target.grace, dict(target.where), len(target.guards)) == (timedelta(days=7), {"tenant_id": 3}, 1)
    assert not list(tmp_path.glob(".*trial*"))


def test_what_init_says_comes_next_can_be_run(
    new: New, tables: dict[str, str], redis_url: str, mongo_url: str, tmp_path: Path
) -> None:
    variables = {**tables, "CLEANUP_REDIS_URL": redis_url, "CLEANUP_MONGO_URL": mongo_url}
    said = done(CliRunner().invoke(app, ["init"], env=variables))
    written = (tmp_path / "cleanup.yaml").read_text()
    [command] = [line.strip() for line in said.splitlines() if "--table login_sessions" in line]
    assert f"#   {command}\n" in written
    program, *arguments = shlex.split(command)
    assert (program, arguments[:2]) == ("cleanup-pipeline", ["layouts", "new"])
    text = done(new(*arguments[2:], **variables))
    assert "copy its target to cleanup.yaml" in text
    assert target_in(tmp_path / "login_sessions.yaml")["table"] == "login_sessions"
    other = done(CliRunner().invoke(app, ["init", "-o", "my other.yaml"], env=variables))
    assert f"{command} --settings 'my other.yaml'\n" in other + "\n"


def test_beside_a_settings_file_it_takes_its_store_and_writes_another(
    new: New, tables: dict[str, str], tmp_path: Path
) -> None:
    passes = "passes: {nightly: {every: 24h, start: 2026-11-01}}"
    mine = f'stores: {{main: {{type: postgres, url: "${{DB}}"}}}}\n{passes}\ntargets: {{}}\n'
    (tmp_path / "cleanup.yaml").write_text(mine)
    url = {"DB": tables["CLEANUP_POSTGRES_URL"]}
    text = done(new("--table", "api_tokens", "--expires", "exp", "--unit", "ms", "--pass", "nightly", **url))
    assert "copy its target to cleanup.yaml" in text
    assert (tmp_path / "cleanup.yaml").read_text() == mine
    file = tmp_path / "api_tokens.yaml"
    assert 'main: {type: postgres, url: "${DB}"}' in file.read_text()
    assert target_in(file) == {"table": "api_tokens", "expires": {"column": "exp", "unit": "ms"}}
    (target,) = load_settings(file, url).targets
    assert target.pass_name == "nightly"
    before = file.read_text()
    assert "is there already" in refused(new("--table", "api_tokens", "--expires", "exp", "--unit", "s", **url))
    said = refused(new("--table", "api_tokens", "--expires", "exp", "--unit", "s", "-o", str(file), **url))
    assert "is not written over" in said and file.read_text() == before
    printed = done(new("--table", "api_tokens", "--expires", "exp", "--unit", "ms", "--print", **url))
    assert yaml.safe_load(printed[printed.index("  api_tokens:") :])["api_tokens"]["mode"] == "dry_run"


LACKS = {
    (): ["--table, --collection or --keys", "--expires"],
    ("--table", "login_sessions"): ["--expires"],
    ("--table", "reset_links", "--expires", "valid_until"): ["--zone"],
    ("--table", "api_tokens", "--expires", "exp"): ["--unit", "would make sense as ms"],
    ("--table", "login_sesions", "--expires", "x"): ["did you mean login_sessions?"],
    ("--table", "login_sessions", "--expires", "expire_at"): ["no such column", "did you mean expires_at?"],
    ("--table", "login_sessions", "--expires", "expires_at", "--unit", "s"): ["a timestamptz"],
    ("--table", "reset_links", "--expires", "valid_until", "--zone", "Berlin"): ["--zone", "an IANA name"],
    ("--table", "reset_links", "--expires", "payload"): ["jsonb"],
    ("--table", "login_sessions", "--expires", "created_at", "--lifetime", "a month"): ["--lifetime", "a duration"],
    ("--table", "login_sessions", "--expires", "{colum: x}"): ["--expires", "{column: ...}"],
    ("--table", "login_sessions", "--expires", "{column: x"): ["--expires", "as YAML"],
    ("--table", "login_sessions", "--expires", "{column: expires_at, unti: s}"): ["expires.unti", "unit"],
    ("--table", "login_sessions", "--expires", "{column: expires_at}", "--zone", "utc"): ["--zone", "mapping"],
    ("--table", "login_sessions", "--expires", "expires_at", "--guard", "{column: status}"): ["--guard"],
    ("--table", "login_sessions", "--expires", "expires_at", "--where", "status"): ["--where", "COLUMN=VALUE"],
    ("--table", "login_sessions", "--expires", "expires_at", "--pass", "nightly"): ["--pass", "verification_tokens"],
    ("--table", "login_sessions", "--expires", "expires_at", "--name", "Logins"): ["--name", "small letters"],
    ("--table", "login_sessions", "--expires", "created_at", "--lifetime", "1d", "--null-means", "dead"): ["mapping"],
    ("--type", "mongo", "--no-look", "--collection", "c", "--expires", "e", "--zone", "utc"): ["--zone", "mongo"],
    ("--type", "redis", "--no-look", "--keys", "a:*", "--expires", "e", "--lifetime", "1d"): ["--lifetime", "redis"],
    ("--type", "redis", "--no-look", "--keys", "a:*", "--expires", "{ttl: native}", "--grace", "1d"): ["--grace"],
    ("--type", "redis", "--no-look", "--keys", "a:*", "--expires", "{ttl: native}", "--where", "a=1"): ["no where"],
    ("--type", "postgres", "--keys", "a:*", "--expires", "x"): ["--keys", "give --table"],
    ("--type", "mysql", "--table", "t", "--expires", "x"): ["--type", "postgres"],
}


def test_without_a_terminal_it_says_what_lacks_and_writes_nothing(
    new: New, tables: dict[str, str], tmp_path: Path
) -> None:
    for arguments, words in LACKS.items():
        said = refused(new(*arguments, **tables))
        assert all(word in said for word in words), (arguments, said)
    # A URL given where the name of its variable belongs is not repeated.
    secret = "postgresql://me:hush@db/app"
    said = refused(new("--table", "t", "--expires", "x", "--url-variable", secret, **tables))
    assert "name of an environment variable" in said and "hush" not in said
    assert not list(tmp_path.iterdir())


def test_a_store_that_cannot_be_looked_at(new: New, tmp_path: Path) -> None:
    nowhere = {"CLEANUP_POSTGRES_URL": "postgresql://nobody:hush@127.0.0.1:9/x"}
    arguments = ("--table", "t", "--expires", "expires_at")
    result = new(*arguments, **nowhere)
    assert result.exit_code == 1 and "cannot reach" in result.output and "hush" not in result.output
    assert not list(tmp_path.iterdir())
    done(new(*arguments, "--no-look", "-o", "one.yaml", **nowhere))
    text = done(new(*arguments, "--zone", "utc", "-o", "two.yaml"))
    assert "set CLEANUP_POSTGRES_URL, which the file refers to" in text
    assert target_in(tmp_path / "two.yaml")["expires"] == {"column": "expires_at", "zone": "UTC".lower()}


def test_what_the_store_has_against_it_is_told_before_it_is_written(new: New, tables: dict[str, str]) -> None:
    naive = ("--table", "reset_links", "--expires", "{column: valid_until}")
    text = done(new(*naive, **tables))
    assert "no pass can clean it" in text and "zone" in text
    assert "no pass can clean it" not in done(new("--table", "login_sessions", "--expires", "expires_at", **tables))
    text = done(new("--table", "login_sessions", "--expires", "expires_at", "--set-null", "gone", "-o", "b", **tables))
    assert "table login_sessions has no column gone" in text


def test_a_known_layout_is_named(new: New, tables: dict[str, str]) -> None:
    text = done(new("--table", "django_session", "--expires", "expire_date", **tables))
    assert "layout django-sessions" in text


TABLE, NEXT = ["postgres", "", ""], ["", "", "", "", ""]
"""The store; and at the end: grace, kind, pass, name, and yes."""
RULES: Mapping[str, tuple[list[str], Any]] = {
    "at": (["reset_links", "at", "valid_until", "Mars", "Europe/Berlin", "dead"],
           {"column": "valid_until", "zone": "Europe/Berlin", "null_means": "dead"}),
    "at a number": (["api_tokens", "at", "exp", "", "", "-1, 9223372036854775807"],
                    {"column": "exp", "unit": "ms", "never_values": [-1, 9223372036854775807]}),
    "after": (["login_sessions", "after", "", "soon", "30d"], {"start": "created_at", "lifetime": "30d"}),
    "latest": (["api_tokens", "latest", "exp", "exp, refresh_exp", "ms", "ms"],
               {"latest": [{"column": "exp", "unit": "ms"}, {"column": "refresh_exp", "unit": "ms"}]}),
    "other": (["reset_links", "other", "login_sessions", "id", "user_id", "expires_at", "timestamptz"],
              {"column": "expires_at", "of": {"table": "login_sessions", "key": "id", "by": "user_id"}}),
    "written": (["login_sessions", "written", "{colum: x}", "{column: expires_at}"], {"column": "expires_at"}),
}  # fmt: skip


@pytest.mark.parametrize("form", RULES)
def test_a_dialogue_about_a_table(new: New, tables: dict[str, str], tmp_path: Path, form: str) -> None:
    answers, rule = RULES[form]
    children = [""] if answers[0] == "login_sessions" else []
    text = done(new(answers=[*TABLE, *answers, "none", "", *children, *NEXT], **tables))
    assert target_in(tmp_path / "cleanup.yaml", answers[0])["expires"] == rule
    assert f"A row of {answers[0]} is dead once" in " ".join(text.split())


def test_a_dialogue_asks_for_guards_and_what_becomes_of_it(new: New, tables: dict[str, str], tmp_path: Path) -> None:
    guards = ["in", "status", "revoked, 3", "null", "tenant_id", "older", "14d", "", "unreferenced", "session_events",
              "session_id", "id", "gone", "reset_links", "id", "tenant_id", "none"]  # fmt: skip
    answers = [*TABLE, "login_sessions", "", "", "", *guards, "", "delete_first", "7d", "login", "", "", "y"]
    text = done(new(answers=answers, **tables))
    assert "Rows of session_events may refer to a record" in text
    assert target_in(tmp_path / "cleanup.yaml") == {
        "table": "login_sessions",
        "expires": {"column": "expires_at"},
        "guards": [
            {"column": "status", "in": ["revoked", 3]},
            {"column": "tenant_id", "is_null": True},
            {"older_than": "14d", "since": "created_at"},
            {"not_referenced_by": "session_events", "key": "session_id", "by": "id"},
            {"gone": "reset_links", "key": "id", "by": "tenant_id"},
        ],
        "children": "delete_first",
        "grace": "7d",
    }
    (tmp_path / "cleanup.yaml").unlink()
    answers = [*TABLE, "login_sessions", "", "", "", "none", "status, tenant_id", *NEXT[:-1], "n"]
    assert "Nothing is written." in done(new(answers=answers, **tables))
    assert not (tmp_path / "cleanup.yaml").exists()


def test_dialogues_about_documents(new: New, mongo_url: str, tmp_path: Path) -> None:
    now, url = datetime.now(UTC), {"CLEANUP_MONGO_URL": mongo_url}
    with pymongo.MongoClient[Any](mongo_url) as client:
        database = client.get_default_database()
        database.login_links.insert_many([{"until": now}, {"until": int(now.timestamp() * 1000)}])
        database.people.insert_one({"name": "x", "resume": {"tokens": [{"when": now, "hash": "secret-hash"}]}})
        database.codes.insert_one({"created": now, "exp": int(now.timestamp())})
    # `mongo` is the only variable that is set, and so the suggestion.
    text = done(new(answers=["", "", "", "people", "1", "90d", "none", *NEXT], **url))
    assert "resume.tokens.when" in text and "secret-hash" not in text
    wanted = {"field": "resume.tokens.when", "lifetime": "90d", "pull": "resume.tokens"}
    assert target_in(tmp_path / "cleanup.yaml", "people")["expires"] == wanted
    more = ("--url-variable", "CLEANUP_MONGO_URL", "--type", "mongo")
    done(new(*more, "--collection", "login_links", "--expires", "until", "-o", "mixed.yaml", **url))
    assert target_in(tmp_path / "mixed.yaml")["expires"] == {"field": "until", "or_unit": "ms"}
    assert "would make sense as s" in refused(
        new(*more, "--collection", "codes", "--expires", "exp", "-o", "n.yaml", **url)
    )
    answers = ["", "codes", "exp", "", "there", "created", "none", "exp", *NEXT]
    done(new(*more[:3], "mongo", "-o", "codes.yaml", answers=answers, **url))
    assert target_in(tmp_path / "codes.yaml") == {
        "collection": "codes",
        "expires": {"field": "exp", "unit": "s"},
        "guards": [{"field": "created", "exists": True}],
        "unset": ["exp"],
    }


def test_dialogues_about_keys(new: New, redis_url: str, tmp_path: Path) -> None:
    now, url = datetime.now(UTC), {"CLEANUP_REDIS_URL": redis_url}
    with redis.Redis.from_url(redis_url) as client:
        for number in range(4):
            client.set(f"session:{number:08x}", f'{{"cookie": {{"expires": "{now.isoformat()}"}}}}', ex=None)
            client.sadd(f"session:by-user:{number}", f"{number:08x}")
            client.hset(f"refresh:{number:08x}", "ends", int(now.timestamp()))
            client.zadd(f"tags:{number}:entries", {"a": now.timestamp(), "for ever": -1})
    text = done(new(answers=["", "", "", "session:*", "y", "", "", "", *NEXT], **url))
    assert "session:by-user:*" in text and "00000001" not in text
    assert target_in(tmp_path / "cleanup.yaml") == {
        "keys": "session:*",
        "exclude": ["session:by-user:*"],
        "expires": {"json": "cookie.expires"},
    }
    more = ("--type", "redis", "--url-variable", "CLEANUP_REDIS_URL")

    def rule(*answers: str) -> Any:
        file = tmp_path / "next.yaml"
        file.unlink(missing_ok=True)
        done(new(*more, "-o", str(file), answers=["", *answers], **url))
        return target_in(file)["expires"]

    assert rule("refresh:*", "", "", "", *NEXT) == {"hash_field": "ends", "unit": "s"}
    assert rule("tags:*:*", "score", "s", *NEXT) == {"score": "s"}
    gone = {"members_of": "session:{member}"}
    assert rule("session:by-user:*", "members_of", "session:*", "session:{member}", "raw", *NEXT[1:]) == gone
    assert rule("other:*", "ttl", *NEXT[1:]) == {"ttl": "native"}
    assert rule("jwt:*", "written", '{jwt_key: "jwt:"}', *NEXT) == {"jwt_key": "jwt:"}
    done(new(*more, "--keys", "session:*", "--expires", "cookie.expires", "-o", "safe.yaml", **url))
    assert target_in(tmp_path / "safe.yaml")["expires"] == {"json": "cookie.expires", "ttl_wins": True}
    said = refused(new(*more, "--keys", "refresh:*", "--expires", "ends", "-o", "no.yaml", **url))
    assert "--unit" in said and "would make sense as s" in said


def test_on_a_real_terminal(tables: dict[str, str], tmp_path: Path) -> None:
    answers = ["", "", "", "login_sessions", "", "", "", "", "", "", "1d", "", "", "", "y"]
    ours, theirs = pty.openpty()
    environ = clean_environment(**tables)
    command = [*COMMAND, "layouts", "new"]
    with subprocess.Popen(command, cwd=tmp_path, env=environ, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        text = ""
        # What a terminal is sent before it is asked for waits there.
        os.write(ours, "".join(f"{answer}\n" for answer in answers).encode())
        while chunk := _read(ours):
            text += chunk
        process.wait(timeout=60)
    os.close(ours)
    assert process.returncode == 0, text
    questions = re.findall(r"(Which table|When does a record die|Which column|Name of the target)", text)
    assert questions == ["Which table", "When does a record die", "Which column", "Name of the target"]
    (target,) = load_settings(tmp_path / "cleanup.yaml", tables).targets
    assert (target.name, target.grace, target.mode) == ("login_sessions", timedelta(days=1), Mode.DRY_RUN)


def _read(terminal: int) -> str:
    try:
        return os.read(terminal, 65536).decode(errors="replace")
    except OSError:  # the program has ended
        return ""


def test_a_pipe_is_no_terminal(program: Program, tmp_path: Path) -> None:
    ran = program("layouts", "new")
    assert ran.returncode == 2
    assert "there is no terminal to ask on; give --table, --collection or --keys" in ran.stderr
    assert not list(tmp_path.iterdir())
