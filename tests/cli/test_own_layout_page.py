"""docs/own-layout.md: the three walks as they stand there, on real servers, and every example of the rule language."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import psycopg
import pymongo
import pytest
import redis
from bson import json_util

from cleanup_pipeline.layouts.expiry_spec import EXPIRY_SPECS, spec_keys
from cleanup_pipeline.layouts.sentence import sentence
from cleanup_pipeline.layouts.table_spec import GuardSpec, LifetimeBySpec, LifetimeColumnSpec, RelatedSpec
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.settings import load_settings
from tests.cli.pages import blocks, type_in

PAGE = (Path(__file__).parents[2] / "docs" / "own-layout.md").read_text(encoding="utf-8")
WALKS, REFERENCE = PAGE.split("## The rule language")
RULES, EDITOR = REFERENCE.split("## In your editor")
STORES = (
    "stores: {table: {type: postgres, url: $P}, collection: {type: mongo, url: $M}, keys: {type: redis, url: $R}}\n"
)
URLS = {"P": "postgresql://db/app", "M": "mongodb://docs/app", "R": "redis://cache"}
DESCRIBED = "layouts new"


@pytest.fixture
def stores(
    postgres_url: str, redis_url: str, mongo_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    monkeypatch.chdir(tmp_path)
    urls = {"CLEANUP_POSTGRES_URL": postgres_url, "CLEANUP_REDIS_URL": redis_url, "CLEANUP_MONGO_URL": mongo_url}
    for name in ("DAGSTER_HOME", "CLEANUP_SETTINGS", "CLEANUP_LEDGER_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, url in urls.items():
        monkeypatch.setenv(name, url)
    monkeypatch.setenv("DAGSTER_DISABLE_TELEMETRY", "1")
    return urls


def insert(database: Any, block: str) -> None:
    """What mongosh does with db.NAME.insertMany([...])."""
    found = re.fullmatch(r"db\.(\w+)\.insertMany\((\[.*\])\)\n", block, re.DOTALL)
    assert found, block
    documents = re.sub(r'ISODate\(("[^"]+")\)', r'{"$date": \1}', found[2])
    database[found[1]].insert_many(json_util.loads(documents))


def test_the_walks_as_they_stand_on_the_page(stores: dict[str, str], tmp_path: Path) -> None:
    postgres = psycopg.connect(stores["CLEANUP_POSTGRES_URL"], autocommit=True)
    cache = redis.Redis.from_url(stores["CLEANUP_REDIS_URL"], decode_responses=True)
    client: pymongo.MongoClient[Any] = pymongo.MongoClient(stores["CLEANUP_MONGO_URL"])
    with postgres, cache, client:
        documents = client.get_default_database()
        walk(postgres, documents, cache, tmp_path)
        rows = postgres.execute("SELECT count(*), count(*) FILTER (WHERE expires_at IS NULL) FROM login_sessions")
        assert rows.fetchone() == (1001 - int(re.search(r"(\d+) rows", WALKS)[1]), 1)  # type: ignore[index]
        assert sorted(each["email"] for each in documents.login_links.find()) == ["b@example.com", "c@example.com"]
        assert sorted(cache.keys("*session*")) == ["api:session:91bc", "api:session:by-user:2"]


def walk(postgres: Any, documents: Any, cache: Any, folder: Path) -> None:
    printed = ""
    for language, block in blocks(WALKS):
        match language:
            case "sql":
                postgres.execute(block)
            case "javascript":
                insert(documents, block)
            case "redis":
                for line in block.splitlines():
                    cache.execute_command(*shlex.split(line))
            case "yaml":
                (folder / "cleanup.yaml").write_text(block, encoding="utf-8")
            case "bash":
                settings = str(folder / "cleanup.yaml") if "cleanup-pipeline run" in block else None
                printed = "".join(type_in(line, settings=settings) for line in block.splitlines())
            case "text":
                assert printed.strip() == block.strip()
            case _:
                raise AssertionError(language)
    # What the walks wrote is what the page puts together.
    together = load_settings(folder / "cleanup.yaml").targets
    alone = [load_settings(file).targets[0] for file in sorted(folder.glob("[!c]*.yaml"))]
    alone += load_settings(folder / "collection.yaml").targets
    assert {(t.name, t.fingerprint, t.pass_name, t.kind) for t in together} == {
        (t.name, t.fingerprint, t.pass_name, t.kind) for t in alone
    }


def examples() -> list[str]:
    return [content for _, content in blocks(RULES, "yaml")]


@pytest.fixture
def loaded(tmp_path: Path) -> list[Target]:
    targets: list[Target] = []
    for example in examples():
        kind = example.split(":")[0]
        body = "".join(f"    {line}\n" for line in [f"store: {kind}", *example.splitlines()])
        file = tmp_path / "one.yaml"
        file.write_text(re.sub(r"\$([PMR])", r'"${\1}"', STORES) + f"targets:\n  one:\n{body}", encoding="utf-8")
        targets += load_settings(file, URLS).targets
    return targets


def test_every_example_is_a_target_that_can_be_said_in_a_sentence(loaded: list[Target]) -> None:
    assert len(loaded) == len(examples()) > 40
    for target in loaded:
        words = sentence(target)
        assert words.startswith(("A ", "An ")) and words.endswith("."), words
        assert target.source_name in words
    assert all(len(example.splitlines()) <= 4 for example in examples())


def test_every_rule_guard_and_action_has_an_example() -> None:
    text = "\n".join(examples())
    numbered = re.findall(r"^#### (\d+)\. .+\n\n(?:[^#`].*\n+)*```yaml", RULES, re.MULTILINE)
    assert numbered == [str(number) for number in range(1, 18)]
    said = re.findall(r"^\| \[(\d+)\]\(#\1-([a-z0-9-]+)\)", RULES, re.MULTILINE)
    headings = dict(re.findall(r"^#### (\d+)\. (.+)$", RULES, re.MULTILINE))
    assert {number: heading.lower().replace(" ", "-") for number, heading in headings.items()} == dict(said)
    rules = {key for specs in EXPIRY_SPECS.values() for spec in specs for key in spec_keys(spec)}
    inner = {key for spec in (GuardSpec, RelatedSpec, LifetimeColumnSpec, LifetimeBySpec) for key in spec_keys(spec)}
    actions = {"set_null", "unset", "children", "detach", "cascade", "where", "types", "exclude", "grace", "mode"}
    for key in sorted(rules | inner | actions):
        assert re.search(rf"\b{key}: ", text), f"no example has {key}"


def test_the_editor_s_part_is_true(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ((_, command),) = blocks(EDITOR, "bash")
    ((_, modeline),) = blocks(EDITOR, "text")
    name = modeline.strip().rpartition("=")[2]
    assert json.loads(type_in(command))["title"] == "cleanup.yaml"
    assert (Path(__file__).parents[2] / "docs" / name).exists()
