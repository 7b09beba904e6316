"""Hostile settings files and hostile records: refused or kept, never a traceback, never a live record gone.

`make fuzz` runs the full numbers: CLEANUP_FUZZ_FILES and CLEANUP_FUZZ_RECORDS. The seed is printed, and
CLEANUP_FUZZ_SEED repeats it; hypothesis prints the smallest example that fails.
"""

import json
import os
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pymongo
import pytest
from bson import BSON, Int64
from bson.errors import BSONError
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from psycopg import sql
from redis import Redis

from cleanup_pipeline.model.outcome import BatchOutcome
from cleanup_pipeline.model.plan import Census
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.target import (
    CollectionSource,
    ColumnExpiry,
    Expiry,
    FieldExpiry,
    HashFieldExpiry,
    JsonExpiry,
    KeySource,
    Mode,
    MsgpackExpiry,
    Source,
    TableSource,
    Target,
    ValueExpiry,
)
from cleanup_pipeline.model.words import EpochUnit, StoreType
from cleanup_pipeline.settings import SettingsError, load_settings
from cleanup_pipeline.stores.base import Store
from cleanup_pipeline.stores.open import open_store
from tests.unit.settings.test_any_input import DOCUMENTS, ENVIRON

FILES = int(os.environ.get("CLEANUP_FUZZ_FILES", "60"))
RECORDS = int(os.environ.get("CLEANUP_FUZZ_RECORDS", "600"))
SEED = int(os.environ.get("CLEANUP_FUZZ_SEED") or random.SystemRandom().randrange(2**32))
A_ROUND = 100
"""Records that one example plants: each of its values with each of its names."""
NOW = datetime.now(UTC)
PAST, FUTURE = int(NOW.timestamp()) - 10**6, int(NOW.timestamp()) + 10**6

_QUIET = [
    HealthCheck.function_scoped_fixture,
    HealthCheck.too_slow,
    HealthCheck.data_too_large,
    HealthCheck.large_base_example,
]


def rounds(examples: int) -> Callable[[Any], Any]:
    """This many examples, from the seed that is printed."""

    def wrap(test: Any) -> Any:
        made = settings(
            max_examples=max(1, examples), deadline=None, database=None, suppress_health_check=_QUIET, print_blob=True
        )  # fmt: skip
        return seed(SEED)(made(test))

    return wrap


@pytest.fixture(scope="module", autouse=True)
def told(request: pytest.FixtureRequest) -> None:
    reporter = request.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        reporter.write_line(f"fuzz: CLEANUP_FUZZ_SEED={SEED}, {FILES} files, {RECORDS} records")


HOSTILE = [
    *("", " ", "*", "?", "[", "]", "\\", "[^a]*", "{}", "{member}", "%s", "%(a)s", "%%", "';--", '"; DROP TABLE x; --'),
    *("$$", "$1", "a.b", "..", "/../", "\x00", "\r\nFLUSHALL\r\n", "\ud800", "\U0001f512", "${PATH}", "{{7*7}}"),
    *("\u202e\u0645\u0631\u062d\u0628\u0627", "null", "NaN", "1e999", "0x10", "-0", "9" * 400, "A" * 5000, "<script>"),
    *("\x1b[31m", "\u0661\u0662\u0663", "1600000000", "1600000000.5", " 1600000000", "+1600000000", "0x5f5e1000"),
]
TEXT = st.sampled_from(HOSTILE) | st.text(max_size=20)


# --- settings ---


@rounds(FILES)
@given(DOCUMENTS, st.lists(st.tuples(st.integers(0, 10**6), TEXT), max_size=3))
def test_any_settings_file(tmp_path: Path, document: Any, damage: list[tuple[int, str]]) -> None:
    """A document with the right keys, a few hostile texts thrown into the middle of it."""
    text = json.dumps(document, default=str)
    for place, hostile in damage:
        at = place % (len(text) + 1)
        text = text[:at] + hostile + text[at:]
    file = tmp_path / "cleanup.yaml"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        load_settings(file, ENVIRON)
    except SettingsError as error:
        assert error.faults and "hunter2" not in str(error)


LETTERS = "abcdefghijklm"
LAUGHS = [f"{b}: &{b} [{','.join(['*' + a] * 9)}]" for a, b in pairwise(LETTERS)]
BOMBS = {
    "laughs": "a: &a [x]\n" + "\n".join(LAUGHS),
    "itself": "a: &a {b: *a}",
    "deep": "[" * 100_000,
    "deep mapping": "{a: " * 50_000,
    "large": "a: " + "x" * 2**21,
    "python": "a: !!python/object/apply:os.system [id]",
    "binary": "a: !!binary aGk=",
    "set": "a: !!set {b}",
    "again": "stores: {}\nstores: {}",
    "merge": "a: &a {b: 1}\nc: {<<: [*a, *a]}",
    "many": "a: [" + "1," * 50_000 + "]",
    "key": "? [1, 2]\n: 3",
    "nul": "a: \x00",
    "two": "a: 1\n---\nb: 2",
}  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_file_that_is_made_to_hurt_is_refused(tmp_path: Path, bomb: str) -> None:
    file = tmp_path / "cleanup.yaml"
    file.write_text(BOMBS[bomb])
    with pytest.raises(SettingsError) as caught:
        load_settings(file, {})
    assert caught.value.faults[0].expected and len(str(caught.value)) < 20_000


# --- records ---


def drained(store: Store, target: Target) -> int:
    """Every batch of a target; how many went. Raises whatever the store raises: there is nothing that it may raise."""
    cutoff = store.clock()
    store.census(target, cutoff, timedelta(seconds=60))
    work = store.plan(target, cutoff, Census())
    gone = 0
    for shard in work.shards:
        cursor: Any = None
        for _ in range(10_000):
            outcome: BatchOutcome = store.delete_batch(target, work, shard, cursor, 1000, cutoff)
            gone += outcome.deleted
            cursor = outcome.cursor
            if cursor is None:
                break
    return gone


def target_of(store_type: StoreType, source: Source, expiry: Expiry) -> Target:
    return Target("fuzzed", "s", store_type, "sessions", "session", source, expiry, mode=Mode.DELETE)


EXPIRIES = st.sampled_from([PAST, FUTURE, 0, -1, None]) | st.integers() | st.floats() | TEXT | st.booleans()
DEPTHS = st.recursive(
    EXPIRIES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=6
)
VALUES = st.lists(st.fixed_dictionaries({"exp": EXPIRIES, "more": DEPTHS}) | DEPTHS, min_size=8, max_size=8)
NAMED = st.lists(TEXT, min_size=13, max_size=13)


def readable(value: Any) -> bool:
    """Whether an epoch in seconds is one that died: the only thing that may go. Written without any code of ours."""
    if isinstance(value, bool):
        return False
    if isinstance(value, int | float):
        return 10**9 <= value < NOW.timestamp() + 600
    if isinstance(value, str) and value.isascii() and value.replace(".", "", 1).isdigit():
        return 10**9 <= float(value) < NOW.timestamp() + 600
    return False


REDIS_RULES: dict[str, tuple[Expiry, Callable[[Any], bytes | None]]] = {
    "json": (JsonExpiry(("exp",), EpochUnit.SECONDS), lambda v: json.dumps(v).encode()),
    "msgpack": (MsgpackExpiry(("exp",), EpochUnit.SECONDS), lambda v: packed(v)),
    "value": (ValueExpiry(), lambda v: str(expiry_in(v)).encode("utf-8", "surrogatepass")),
    "hash": (HashFieldExpiry("exp"), lambda v: str(expiry_in(v)).encode("utf-8", "surrogatepass")),
}


def expiry_in(value: Any) -> Any:
    return value.get("exp") if isinstance(value, dict) else None


def packed(value: Any) -> bytes | None:
    try:
        return msgspec.msgpack.encode(value)
    except (ValueError, OverflowError, UnicodeError):
        return None


@pytest.mark.parametrize("rule", REDIS_RULES)
@rounds(RECORDS * 2 // 5 // A_ROUND // len(REDIS_RULES))
@given(prefix=TEXT.filter(str.isprintable), values=VALUES, names=NAMED)
def test_any_redis_keys(redis_url: str, rule: str, prefix: str, values: list[Any], names: list[str]) -> None:
    """Keys of any name and value under a prefix of any characters, quoted as a glob; neighbours outside it stay."""
    expiry, encode = REDIS_RULES[rule]
    head = "p" + prefix
    pattern = "".join(f"\\{char}" if char in "*?[]\\" else char for char in head)
    planted: dict[bytes, Any] = {}
    hashes = rule == "hash"
    neighbour = json.dumps({"exp": PAST}) if rule == "json" else PAST
    with Redis.from_url(redis_url) as client:
        client.flushall()
        with client.pipeline(transaction=False) as pipe:
            for n, (value, name) in enumerate(product(values, names)):
                data = encode(value)
                if data is None:
                    continue
                key = f"{head}:{name}{n}".encode("utf-8", "surrogatepass")
                planted[key] = expiry_in(value)
                for place, content in ((key, data), (b"q" + key, neighbour)):
                    pipe.hset(place, "exp", content) if hashes else pipe.set(place, content)
            pipe.execute()
        store = open_store(StoreConfig("s", StoreType.REDIS, redis_url))
        try:
            drained(
                store, target_of(StoreType.REDIS, KeySource(f"{pattern}:*", "hash" if hashes else "string"), expiry)
            )
        finally:
            store.close()
        left = set(client.scan_iter(count=1000))
    assert {key for key in planted if key not in left} <= {key for key, dies in planted.items() if readable(dies)}
    assert {b"q" + key for key in planted} <= left
    assert not {key for key, dies in planted.items() if dies == PAST and not isinstance(dies, bool)} & left


NAMES = TEXT.map(lambda text: text.replace("\0", "").encode("utf-8", "ignore").decode()[:20] or "x")


DAYS = timedelta(days=9)
OF_TYPE: dict[str, list[Any]] = {
    "timestamptz": [NOW - DAYS, NOW + DAYS, None],
    "bigint": [PAST, FUTURE, 0, -1, None, 2**53],
    "double precision": [float(PAST), float(FUTURE), 0.0, -1.0, None, 1e300],
}


@pytest.mark.parametrize("kind", ["text", *OF_TYPE])
@rounds(RECORDS * 3 // 10 // A_ROUND // 4)
@given(table=NAMES, column=NAMES, other=NAMES, texts=st.lists(TEXT, min_size=20, max_size=20))
def test_any_postgres_names_and_values(
    postgres_url: str, kind: str, table: str, column: str, other: str, texts: list[str]
) -> None:
    """Tables and columns of any name, expiries of any text."""
    other = other + "2" if other == column else other
    plain = [text.replace("\0", "").encode("utf-8", "ignore").decode() for text in texts]
    values = OF_TYPE.get(kind, [*plain[:3], str(PAST), str(FUTURE), None])
    rows = list(enumerate(product(values, plain)))
    name = sql.Identifier(table)
    with psycopg.connect(postgres_url, autocommit=True) as db:
        made = sql.SQL('DROP TABLE IF EXISTS {0}; CREATE TABLE {0} ({1} {2}, {3} text, "id of it" int)')
        db.execute(made.format(name, sql.Identifier(column), sql.SQL(kind), sql.Identifier(other)))  # type: ignore[arg-type]
        # psycopg takes a percent sign in a statement with parameters for one of its own.
        quoted = [sql.Identifier(each.replace("%", "%%")) for each in (table, column, other)]
        insert = sql.SQL('INSERT INTO {} ({}, {}, "id of it") VALUES (%s, %s, %s)').format(*quoted)
        db.cursor().executemany(insert, [(value, text, n) for n, (value, text) in rows])
        store = open_store(StoreConfig("s", StoreType.POSTGRES, postgres_url))
        unit = None if kind == "timestamptz" else EpochUnit.SECONDS
        target = target_of(StoreType.POSTGRES, TableSource(table), ColumnExpiry(column, unit=unit))
        try:
            store.preflight(target)
            drained(store, target)
        finally:
            store.close()
        left = {row[0] for row in db.execute(sql.SQL('SELECT "id of it" FROM {}').format(name))}
        db.execute(sql.SQL("DROP TABLE {}").format(name))
    dead = {n for n, (value, _) in rows if value in (PAST, str(PAST), NOW - DAYS)}
    assert not dead & left
    assert {n for n, _ in rows} - left <= dead | {n for n, (value, _) in rows if readable(value)}


FIELDS = TEXT.map(
    lambda text: text.replace("\0", "").replace(".", "").replace("$", "").encode("utf-8", "ignore").decode() or "x"
)
BSON_VALUES = (
    st.sampled_from([NOW - timedelta(days=9), NOW + timedelta(days=9), None, Int64(PAST), PAST, 0, "", [], {}])
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=8)
    | st.lists(st.sampled_from([NOW - timedelta(days=9), PAST, None]), max_size=2)
)


@rounds(RECORDS * 3 // 10 // A_ROUND)
@given(collection=FIELDS, field=FIELDS, values=st.lists(BSON_VALUES, min_size=25, max_size=25))
def test_any_mongo_names_and_values(mongo_url: str, collection: str, field: str, values: list[Any]) -> None:
    """Collections and fields of any name, expiries of any BSON type."""
    name, field = f"c{collection}"[:40], f"f{field}"[:40]
    documents = [{"_id": n, field: value} for n, (value, _) in enumerate(product(values, range(4)))]
    documents = [each for each in documents if encodable(each)]
    goes = {each["_id"] for each in documents if isinstance(each[field], datetime) and each[field] < NOW}
    with pymongo.MongoClient[dict[str, Any]](mongo_url) as client:
        place = client.get_default_database()[name]
        place.drop()
        place.insert_many([*documents, {"_id": "live", field: NOW + timedelta(days=9)}])
        store = open_store(StoreConfig("s", StoreType.MONGO, mongo_url))
        target = target_of(StoreType.MONGO, CollectionSource(name), FieldExpiry(field))
        try:
            drained(store, target)
        finally:
            store.close()
        left = {each["_id"] for each in place.find({}, {"_id": 1})}
        place.drop()
    assert left == {each["_id"] for each in documents} - goes | {"live"}


def encodable(document: dict[str, Any]) -> bool:
    try:
        BSON.encode(document)
    except (BSONError, OverflowError, UnicodeError):
        return False
    return True


BIG = 10 * 2**20


def test_values_of_ten_megabytes(redis_url: str, postgres_url: str, mongo_url: str) -> None:
    """Beside the expiry they are no trouble; as the expiry they are not read, and stay."""
    dead = NOW - timedelta(days=9)
    with Redis.from_url(redis_url) as client:
        client.hset("s:1", mapping={"exp": PAST, "data": b"x" * BIG})
        client.hset("s:2", mapping={"exp": b"1" * BIG})
        store = open_store(StoreConfig("s", StoreType.REDIS, redis_url))
        assert drained(store, target_of(StoreType.REDIS, KeySource("s:*", "hash"), HashFieldExpiry("exp"))) == 1
        store.close()
        assert client.keys() == [b"s:2"]
    with psycopg.connect(postgres_url, autocommit=True) as db:
        db.execute("CREATE TABLE s (id int, exp text, data text)")
        db.execute("INSERT INTO s VALUES (1, %s, repeat('x', %s)), (2, repeat('1', %s), '')", (str(PAST), BIG, BIG))
        store = open_store(StoreConfig("s", StoreType.POSTGRES, postgres_url))
        target = target_of(StoreType.POSTGRES, TableSource("s"), ColumnExpiry("exp", unit=EpochUnit.SECONDS))
        assert drained(store, target) == 1
        store.close()
        assert db.execute("SELECT id FROM s").fetchall() == [(2,)]
    with pymongo.MongoClient[dict[str, Any]](mongo_url) as client_:
        place = client_.get_default_database()["s"]
        place.insert_many([{"_id": 1, "exp": dead, "data": "x" * BIG}, {"_id": 2, "exp": "x" * BIG}])
        store = open_store(StoreConfig("s", StoreType.MONGO, mongo_url))
        assert drained(store, target_of(StoreType.MONGO, CollectionSource("s"), FieldExpiry("exp"))) == 1
        store.close()
        assert [each["_id"] for each in place.find({}, {"_id": 1})] == [2]
