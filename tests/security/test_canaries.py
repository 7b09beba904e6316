"""Nothing that a pass, a command or a fault writes down anywhere holds a secret, or the identifier of a record."""

import base64
import logging
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import psycopg
import pymongo
import pytest
from redis import Redis
from typer.testing import CliRunner

from cleanup_pipeline.cli.main import app
from cleanup_pipeline.embedded.servers import start_redis
from tests.cli.conftest import COMMAND, clean_environment
from tests.observability.receiver import Receiver, running
from tests.security.canaries import found_in, spellings, written

# Each is a word of its own, so that what leaks is known by its name. Characters that URLs, JSON and SQL mind are in it.
NAMES = "pgpass redispass mongopass hook hooksecret veto ledger id token mail column member docid trigger kept"
SECRETS = {name: f"c4n4ry{number:02d}{name}/+%@'x" for number, name in enumerate(NAMES.split())}
NOW = datetime.now(UTC)
PAST, FUTURE = int((NOW - timedelta(days=9)).timestamp()), int((NOW + timedelta(days=9)).timestamp())
SETTINGS = """
cleanup: {batch_size: 5, pause: 0s, allow_networks: [127.0.0.1], operation_timeout: 5s, veto_url: "${VETO}"}
stores:
  main: {type: postgres, url: "${PG}", connect_timeout: 1s, statement_timeout: 500ms}
  cache: {type: redis, url: "${REDIS}", connect_timeout: 1s, statement_timeout: 2s}
  docs: {type: mongo, url: "${MONGO}", connect_timeout: 1s, statement_timeout: 2s}
passes: {broken: {every: 1h}, refused: {every: 1h}}
notifications:
  channels:
    hook: {type: webhook, url: "${HOOK}", secret: "${HOOKSECRET}"}
    team: {type: apprise, url: "${TEAM}"}
targets:
  web: {store: main, table: web, expires: {column: expires_at}, mode: delete}
  hashes: {store: cache, keys: "s:*", key_type: hash, expires: {hash_field: dies}, mode: delete}
  packed: {store: cache, keys: "m:*", key_type: string, expires: {msgpack: exp}, mode: delete}
  members: {store: cache, keys: "set:*", key_type: set, expires: {members_of: "s:{member}"}, mode: delete}
  documents: {store: docs, collection: sessions, expires: {field: expires_at}, mode: delete}
  rows: {store: main, pass: refused, table: web, expires: {column: expires_at}, mode: delete}
  keys: {store: cache, pass: refused, keys: "s:*", key_type: hash, expires: {hash_field: dies}, mode: delete}
  docs: {store: docs, pass: refused, collection: sessions, expires: {field: expires_at}, mode: delete}
  raising: {store: main, pass: broken, table: raising, expires: {column: expires_at}, mode: delete}
  referred: {store: main, pass: broken, table: referred, expires: {column: expires_at}, mode: delete}
  slow: {store: main, pass: broken, table: slow, expires: {column: expires_at}, mode: delete}
  typed: {store: main, pass: broken, table: typed, where: {kind: "c4n4ry"}, expires: {column: expires_at}, mode: delete}
  wrong_type: {store: cache, pass: broken, keys: "s:*", key_type: string, expires: {json: exp}, mode: delete}
  failing: {store: docs, pass: broken, collection: failing, expires: {field: expires_at}, mode: delete}
"""
TABLES = """
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN RAISE EXCEPTION 'no: % %', OLD.token, {trigger} USING DETAIL = OLD.mail, HINT = OLD.id; END $$;
CREATE FUNCTION doze() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(9); RETURN OLD; END $$;
CREATE TRIGGER t BEFORE DELETE ON raising FOR EACH ROW EXECUTE FUNCTION tell();
CREATE TRIGGER t BEFORE DELETE ON slow FOR EACH ROW EXECUTE FUNCTION doze();
CREATE TABLE referring (id text REFERENCES referred (id)); INSERT INTO referring SELECT id FROM referred;
CREATE DOMAIN odd AS text; ALTER TABLE typed ADD kind xml;
"""


@dataclass
class World:
    """Three stores full of secrets, a folder in which everything is written, and what was said."""

    folder: Path
    variables: dict[str, str]
    said: list[tuple[str, bytes]]
    redis: Redis

    def command(self, *arguments: str, **variables: str) -> int:
        """A command in this process."""
        with pytest.MonkeyPatch.context() as patch:
            for name in [each for each in os.environ if each.startswith(("CLEANUP_", "DAGSTER_"))]:
                patch.delenv(name)
            for name, value in {**self.variables, **variables}.items():
                patch.setenv(name, value)
            patch.chdir(self.folder / "work")
            ran = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "300"})
        text = ran.output + repr(ran.exception) + (str(ran.exception) if ran.exception else "")
        self.said.append((" ".join(arguments), text.encode(errors="replace")))
        return ran.exit_code

    def program(self, *arguments: str, **variables: str) -> None:
        """A command in a process of its own, whose output nobody catches."""
        ran = subprocess.run(
            [*COMMAND, *arguments],
            cwd=self.folder / "work",
            env=clean_environment(**{**self.variables, **variables}),
            capture_output=True,
            timeout=100,
            check=False,
        )
        assert ran.returncode == 1, ran
        self.said += [("its stdout", ran.stdout), ("its stderr", ran.stderr)]


def url(server: str, user: str, secret: str) -> str:
    """A URL with a login, whose password is percent-encoded as a URL wants it."""
    scheme, _, rest = server.partition("://")
    return f"{scheme}://{user}:{quote(secret, safe='')}@{rest.rpartition('@')[2]}"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running() as made:
        yield made


@pytest.fixture
def world(tmp_path: Path, postgres_url: str, mongo_url: str, receiver: Receiver) -> Iterator[World]:
    work = tmp_path / "work"
    work.mkdir()
    (work / "cleanup.yaml").write_text(SETTINGS)
    password = SECRETS["redispass"]
    server = start_redis(tmp_path / "redis")
    client = Redis(port=int(server.url.rpartition(":")[2].partition("/")[0]))
    client.config_set("requirepass", password)
    client.auth(password)
    hook = f"{receiver.url}&key={quote(SECRETS['hook'], safe='')}"
    variables = {
        "PG": url(postgres_url, "postgres", SECRETS["pgpass"]),
        "REDIS": url(f"redis://127.0.0.1:{client.connection_pool.connection_kwargs['port']}/0", "", password),
        "MONGO": mongo_url,
        "HOOK": hook,
        "HOOKSECRET": SECRETS["hooksecret"],
        "TEAM": f"json://u:{quote(SECRETS['hook'], safe='')}@127.0.0.1:{receiver.port}/x",
        "VETO": "off",
        "ASKED": f"http://127.0.0.1:{receiver.port}/go?token={quote(SECRETS['veto'], safe='')}",
    }
    fill(postgres_url, mongo_url, client)
    yield World(tmp_path, variables, [], client)
    client.close()
    server.stop()


def fill(postgres_url: str, mongo_url: str, client: Redis) -> None:
    """Dead and live records whose identifiers, values and other columns are secrets."""
    with psycopg.connect(postgres_url, autocommit=True) as db:
        for table in ("web", "raising", "referred", "slow", "typed"):
            db.execute(
                f"CREATE TABLE {table} (id text PRIMARY KEY, token text, mail text, other text, expires_at timestamptz)"  # type: ignore[call-overload]
            )
            for n in range(12):
                values = [SECRETS[name] + str(n) for name in ("id", "token", "mail", "column")]
                dies = NOW + timedelta(days=-9 if n < 10 else 9)
                db.execute(f"INSERT INTO {table} VALUES (%s, %s, %s, %s, %s)", [*values, dies])  # type: ignore[call-overload]
        db.execute(TABLES.format(trigger=psycopg.sql.Literal(SECRETS["trigger"]).as_string()))  # type: ignore[call-overload]
    for n in range(12):
        dies = PAST if n < 10 else FUTURE
        client.hset(f"s:{SECRETS['id']}{n}", mapping={"dies": dies, "token": SECRETS["token"], "mail": SECRETS["mail"]})
        packed = {"exp": datetime.fromtimestamp(dies, UTC), "token": SECRETS["token"]}
        client.set(f"m:{SECRETS['id']}{n}", msgspec.msgpack.encode(packed))
        client.sadd(f"set:{SECRETS['mail']}", f"{SECRETS['member']}{n}", f"{SECRETS['id']}{n}")
    with pymongo.MongoClient[dict[str, Any]](mongo_url) as mongo:
        for name in ("sessions", "failing"):
            mongo.get_default_database()[name].insert_many(
                {
                    "_id": f"{SECRETS['docid']}{n}",
                    "mail": SECRETS["mail"],
                    "expires_at": NOW + timedelta(days=-9 if n < 10 else 9),
                }
                for n in range(12)
            )


LOOKING = [
    ("check", "--json"), ("plan", "sessions"), ("roles", "main"), ("roles", "cache"), ("history",), ("report",),
    ("report", "-o", "report.html"), ("report", "-o", "report.json"), ("metrics", "--once"), ("witness", "--json"),
    ("leases",), ("alerts", "--all"), ("notifications", "--test"), ("notifications",),
]  # fmt: skip


@pytest.mark.timeout(900)  # twenty commands, one after the other
def test_nothing_that_is_written_holds_a_secret(
    world: World, receiver: Receiver, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    run = world.command
    with caplog.at_level(logging.DEBUG):
        assert run("run", "sessions", "--dry-run") == 0
        world.program("run", "broken", "--json")
        run("run", "sessions", VETO=world.variables["ASKED"], CLEANUP_OPERATION_TIMEOUT="300ms")
        assert run("run", "sessions", "--json") == 0
        for arguments in LOOKING:
            run(*arguments)
        receiver.answers = [500] * 20
        run("notifications", "--test")
        # Wrong passwords, refused connections, a name that is no host, a ledger that is not there.
        refused = {
            "PG": url("postgresql://127.0.0.1:1/app", "postgres", SECRETS["pgpass"]),
            "REDIS": world.variables["REDIS"].replace("c4n4ry", "wrong-c4n4ry"),
            "MONGO": url("mongodb://127.0.0.1:1/app", "u", SECRETS["mongopass"]),
        }
        world.program("run", "refused", "--json", **refused)
        run("check", **refused)
        run("plan", "refused", "--json", **refused)
        ledger = url("postgresql://127.0.0.1:1/ledger", "u", SECRETS["ledger"])
        run("report", CLEANUP_LEDGER_URL=ledger)
        # Passwords as people write them, not percent-encoded.
        raw = {
            "PG": f"postgresql://u:{SECRETS['pgpass']}@nohost.invalid/app",
            "REDIS": f"redis://:{SECRETS['redispass']}@x:y",
        }
        run("check", **raw)
        run("run", "sessions", CLEANUP__TARGETS__WEB__EXPIRES__COLUMN=SECRETS["kept"])
    out = capfd.readouterr()
    said = [*world.said, ("stdout", out.out.encode()), ("stderr", out.err.encode())]
    said += [(f"log {each.name}", each.getMessage().encode()) for each in caplog.records if not is_ours_to_send(each)]
    said += [("webhook", asked.body) for asked in receiver.asked]
    assert_clean(world, said)
    # What was searched is what a pass writes, and those words that may be there are found.
    everything = b"".join(data for _, data in written(world.folder / "work"))
    assert all(word in everything for word in (b"STEP_FAILURE", b"hashes", b"raised an exception, SQLSTATE P0001"))


def is_ours_to_send(record: logging.LogRecord) -> bool:
    """PyMongo logs commands and replies at DEBUG, which nobody but this test turns on (docs/security.md)."""
    return record.name.startswith("pymongo") and record.levelno == logging.DEBUG


def assert_clean(world: World, said: list[tuple[str, bytes]]) -> None:
    files = [(str(path.relative_to(world.folder)), data) for path, data in written(world.folder / "work")]
    leaks = {
        f"{secret} in {where}: {context!r}"
        for where, data in [*said, *files]
        for secret, context in found_in(data, SECRETS.values())
    }
    assert not leaks, "\n".join(sorted(leaks)[:20])


def hexed(text: str) -> str:
    return text.encode().hex()


@pytest.mark.parametrize("wrap", [str, quote, hexed, lambda text: hexed(text).upper()])
def test_the_search_finds_what_it_is_to_find(wrap: Callable[[str], str]) -> None:
    secret = SECRETS["token"]
    assert found_in(b"before " + wrap(secret).encode() + b" after", [secret])
    for before in ("", "a", "ab", "abc"):
        assert found_in(base64.b64encode(f"{before}{secret}after".encode()), [secret])
        assert found_in(base64.urlsafe_b64encode(f"{before}{secret}after".encode()), [secret])
    assert not found_in(b"nothing of it", [secret])
    assert all(len(form) > 10 for form in spellings(secret))
