"""Cases of MongoDB and Redis presets: what a framework writes, each part of it that has to go marked as !dead.

One YAML file for each preset, in mongo_cases/ and redis_cases/. A document or key goes as a whole when it stands under
`goes`. Instants are written from the start of the test: `!ago 1h` and `!ahead 1h` are dates, `!ms_ago`, `!s_ago` and
`!ns_ago` are numbers, `!iso_ago` is text, `!jwt_ago` is a token with that `exp`; `ahead` of each likewise, and
`ago_dead` for one that has to go. A case says, too, what a naive command does to the same records.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from bson import Int64, ObjectId

from cleanup_pipeline.embedded.sso_ids import jwt
from cleanup_pipeline.model.durations import parse_duration
from cleanup_pipeline.model.words import StoreType

FOLDERS = {StoreType.MONGO: "mongo_cases", StoreType.REDIS: "redis_cases"}
PLACE = Path(__file__).parent


@dataclass(frozen=True)
class Dead:
    """What has to be gone after a pass."""

    value: Any


@dataclass(frozen=True)
class Record:
    place: str
    """The collection; for Redis the key."""
    why: str
    written: Any
    """As it is written, with what has to go marked as dead; dead as a whole when all of it has to go."""


@dataclass(frozen=True)
class Naive:
    command: Mapping[str, Any]
    kills: tuple[str, ...]
    misses: tuple[str, ...]
    traps: tuple[str, ...] = ()
    """Those of traps.yaml that it falls into."""


@dataclass(frozen=True)
class KeyCase:
    name: str
    store_type: StoreType
    params: Mapping[str, Any]
    columns: Mapping[str, str]
    records: tuple[Record, ...]
    naive: tuple[Naive, ...]
    counts: Mapping[str, int] = field(default_factory=dict[str, int])
    """Of the reports over all steps: without_expiry, unparsable, repaired."""


def case_names(store_type: StoreType) -> list[str]:
    return sorted(file.stem for file in (PLACE / FOLDERS[store_type]).glob("*.yaml"))


def read_key_case(store_type: StoreType, name: str, now: datetime) -> KeyCase:
    text = (PLACE / FOLDERS[store_type] / f"{name}.yaml").read_text(encoding="utf-8")
    raw = yaml.load(text, _loader(now))  # noqa: S506 - a SafeLoader with tags of our own
    places = raw["documents"].items() if store_type is StoreType.MONGO else [("", raw["keys"])]
    records = tuple(
        Record(place or value["key"], why, Dead(value) if fate == "goes" else value)
        for place, fates in places
        for fate, of_fate in fates.items()
        for why, value in of_fate.items()
    )
    naive = tuple(
        Naive(one["do"], tuple(one.get("kills", ())), tuple(one.get("misses", ())), tuple(one.get("traps", ())))
        for one in raw["naive"]
    )
    return KeyCase(
        name, store_type, raw.get("params", {}), raw.get("columns", {}), records, naive, raw.get("counts", {})
    )


def _loader(now: datetime) -> type[yaml.SafeLoader]:
    class Loader(yaml.SafeLoader):
        pass

    def instant(sign: int, write: Callable[[datetime], Any]) -> Callable[[Any, Any], Any]:
        return lambda loader, node: write(now + sign * parse_duration(loader.construct_scalar(node)))

    ways: dict[str, Callable[[datetime], Any]] = {
        "": lambda at: at,
        "s_": lambda at: int(at.timestamp()),
        "ms_": lambda at: Int64(int(at.timestamp() * 1000)),
        "ns_": lambda at: Int64(int(at.timestamp()) * 10**9),
        "iso_": lambda at: at.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        "jwt_": lambda at: jwt("u", at, int(at.timestamp())),
    }
    for prefix, write in ways.items():
        Loader.add_constructor(f"!{prefix}ago", instant(-1, write))
        Loader.add_constructor(f"!{prefix}ahead", instant(1, write))
        Loader.add_constructor(f"!{prefix}ago_dead", instant(-1, lambda at, write=write: Dead(write(at))))  # type: ignore[misc]
    Loader.add_constructor("!dead", lambda loader, node: Dead(_plain(loader, node)))
    Loader.add_constructor("!join", lambda loader, node: "".join(loader.construct_sequence(node, deep=True)))
    Loader.add_constructor("!bin", lambda loader, node: str(loader.construct_scalar(node)).encode())
    Loader.add_constructor("!oid", lambda loader, node: ObjectId(str(loader.construct_scalar(node)).rjust(24, "0")))
    Loader.add_constructor("!json", lambda loader, node: json.dumps(_plain(loader, node), separators=(",", ":")))
    return Loader


def _plain(loader: Any, node: Any) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_object(
        yaml.ScalarNode(loader.resolve(yaml.ScalarNode, node.value, (True, False)), node.value)
    )


GONE = object()


def before(written: Any) -> Any:
    """What is written, without the marks."""
    match written:
        case Dead(value=value):
            return before(value)
        case dict():
            return {key: before(value) for key, value in written.items()}
        case list():
            return [before(value) for value in written]
        case _:
            return written


def after(written: Any) -> Any:
    """What has to be left of it."""
    match written:
        case Dead():
            return GONE
        case dict():
            left = {key: after(value) for key, value in written.items()}
            return {key: value for key, value in left.items() if value is not GONE}
        case list():
            return [value for value in map(after, written) if value is not GONE]
        case _:
            return written


Found = Mapping[tuple[str, Any], Any]
"""Documents by collection and `_id`; what Redis holds, by key and None."""


def in_redis(value: Any) -> Any:
    """What is left of a record, as `read` gives it."""
    encode = encoder(value.get("codec"))
    if "string" in value:
        return str(value["string"]).encode()
    if "hash" in value:
        return {name.encode(): str(content).encode() for name, content in value["hash"].items()}
    if "elements" in value:
        # A list without elements is no key.
        return json.dumps(value["elements"], separators=(",", ":")).encode() if value["elements"] else GONE
    if "zset" in value:
        return {encode(member): float(score) for member, score in value["zset"].items()}
    if "list" in value:
        return [encode(member) for member in value["list"]]
    return {encode(member) for member in value["set"]}


def encoder(codec: str | None) -> Callable[[Any], bytes]:
    def jdk(member: Any) -> bytes:
        return b"\xac\xed\x00\x05t" + len(str(member)).to_bytes(2, "big") + str(member).encode()

    ways: dict[str | None, Callable[[Any], bytes]] = {"jdk": jdk, "json": lambda member: json.dumps(member).encode()}
    return ways.get(codec, lambda member: str(member).encode())


def fates(case: KeyCase, written: Mapping[tuple[str, Any], Record], found: Found) -> tuple[set[str], set[str]]:
    """Records of which something is gone that should be there, and those of which something is left that should not."""
    killed, missed = set[str](), set[str]()
    for key, record in written.items():
        wanted, had, have = after(record.written), before(record.written), found.get(key, GONE)
        if case.store_type is StoreType.REDIS:
            had = in_redis(had)
            wanted = wanted if wanted is GONE else in_redis(wanted)
            # A set without members is no key.
            wanted = wanted if wanted or wanted is GONE or isinstance(wanted, bytes) else GONE
        if have == wanted:
            continue
        if isinstance(before(record.written), dict) and "elements" in before(record.written):
            # Byte for byte above; here it is about which element is missing.
            had, wanted, have = (one if one is GONE else json.loads(one) for one in (had, wanted, have))
        name = f"{record.place}: {record.why}" if "missing" in record.why else record.why
        lacking = _lacks(wanted, have)
        if lacking:
            killed.add(name)
        if not lacking or _holds_more(wanted, have):
            missed.add(name)
        assert have is GONE or _lacks(had, have) or have == had, f"{name}: changed into {have}"
    return killed, missed


def _lacks(wanted: Any, have: Any) -> bool:
    """Whether something of what is wanted is not there."""
    if wanted is GONE:
        return False
    if have is GONE:
        return True
    match wanted:
        case dict():
            return not isinstance(have, dict) or any(
                _lacks(value, have.get(key, GONE)) for key, value in wanted.items()
            )
        case list():
            return not isinstance(have, list) or any(value not in have for value in wanted)
        case set():
            return not isinstance(have, set) or not wanted <= have
        case _:
            return bool(wanted != have)


def _holds_more(wanted: Any, have: Any) -> bool:
    """Whether something is there that is not wanted."""
    if have is GONE:
        return False
    if wanted is GONE:
        return True
    match have:
        case dict():
            return any(_holds_more(wanted.get(key, GONE), value) for key, value in have.items())
        case list() | set():
            return any(value not in wanted for value in have)
        case _:
            return False
