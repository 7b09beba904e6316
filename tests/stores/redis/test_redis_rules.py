"""Each expiry rule as a table: what is stored, with which TTL, and what becomes of it."""

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from redis import Redis
from redis_support import REVOKED, census, drain, snapshot, target

from cleanup_pipeline.model.target import HashFieldExpiry, JsonExpiry, NativeTtl, Target, ValueExpiry
from cleanup_pipeline.model.words import EpochUnit
from cleanup_pipeline.stores.base import StoreError
from cleanup_pipeline.stores.redis import RedisStore

GONE, LIVE, REPAIRED, WITHOUT, UNPARSABLE = "gone", "live", "repaired", "without expiry", "unparsable"
TTL = 7_000_000
"""Milliseconds; a TTL that is neither the records' own expiry nor going to end during a test."""


def judged(store: RedisStore, client: "Redis", cleaned: Target, key: bytes, cutoff: datetime) -> str:
    """What one sweep makes of the only key there is, with census and outcome agreeing about it."""
    before = snapshot(client)
    seen = census(store, cleaned, cutoff)
    assert snapshot(client) == before
    (outcome,) = drain(store, cleaned, cutoff)
    after = snapshot(client)
    counts = (outcome.deleted, outcome.live, outcome.without_expiry, outcome.unparsable)
    assert counts == (seen.expired, seen.live, seen.without_expiry, seen.unparsable)
    assert sum(counts) == outcome.scanned == 1
    if outcome.deleted:
        assert after == {}
        return GONE
    assert after[key][0] == before[key][0]
    if outcome.repaired:
        assert before[key][1] == -1
        assert after[key][1] != -1
        return REPAIRED
    assert after == before
    return LIVE if outcome.live else WITHOUT if outcome.without_expiry else UNPARSABLE


def epoch(seconds_from_now: int, unit: int = 1) -> int:
    return int((datetime.now(UTC) + timedelta(seconds=seconds_from_now)).timestamp()) * unit


NUMBERS = [
    ("past", lambda u: epoch(-90, u), None, GONE),
    ("past with TTL", lambda u: epoch(-90, u), TTL, GONE),
    ("future", lambda u: epoch(900, u), None, REPAIRED),
    ("future with TTL", lambda u: epoch(900, u), TTL, LIVE),
    ("fraction, past", lambda u: f"{epoch(-90, u)}.75", None, GONE),
    ("fraction, future", lambda u: f"{epoch(900, u)}.75", None, REPAIRED),
    ("leading zeros", lambda u: f"00{epoch(-90, u)}", None, GONE),
    ("zero", lambda u: "0", None, WITHOUT),
    ("zero with TTL", lambda u: "0", TTL, WITHOUT),
    ("0.0", lambda u: "0.0", None, WITHOUT),
    ("negative", lambda u: f"-{epoch(-90, u)}", None, WITHOUT),
    ("-1", lambda u: "-1", None, WITHOUT),
    ("a lifetime, not an epoch", lambda u: str(3600 * u), None, UNPARSABLE),
    ("before September 2001", lambda u: str(999_999_999 * u), None, UNPARSABLE),
    ("September 2001", lambda u: str(1_000_000_000 * u), None, GONE),
    ("year 9999", lambda u: str(253_402_300_799 * u), None, REPAIRED),
    ("year 10000", lambda u: str(253_402_300_800 * u), None, LIVE),
    ("forty digits", lambda u: "9" * 40, None, LIVE),
    ("empty", lambda u: "", None, UNPARSABLE),
    ("word", lambda u: "never", None, UNPARSABLE),
    ("nan", lambda u: "nan", None, UNPARSABLE),
    ("inf", lambda u: "inf", None, UNPARSABLE),
    ("hexadecimal", lambda u: hex(epoch(-90, u)), None, UNPARSABLE),
    ("exponent", lambda u: "1.2e9", None, UNPARSABLE),
    ("plus", lambda u: f"+{epoch(-90, u)}", None, UNPARSABLE),
    ("blank behind", lambda u: f"{epoch(-90, u)} ", None, UNPARSABLE),
    ("line behind", lambda u: f"{epoch(-90, u)}\n", None, UNPARSABLE),
    ("NUL behind", lambda u: f"{epoch(-90, u)}\0", None, UNPARSABLE),
    ("two points", lambda u: "1.2.3", None, UNPARSABLE),
    ("point at the end", lambda u: f"{epoch(-90, u)}.", None, UNPARSABLE),
    ("thousands", lambda u: "1,700,000,000", None, UNPARSABLE),
    ("Arabic digits", lambda u: "١٧٠٠٠٠٠٠٠٠", None, UNPARSABLE),
    ("ISO date", lambda u: "2020-01-01T00:00:00Z", None, UNPARSABLE),
    ("bytes", lambda u: b"\xff\xfe\x00", None, UNPARSABLE),
]
UNITS = [(EpochUnit.SECONDS, 1), (EpochUnit.MILLISECONDS, 1000), (EpochUnit.NANOSECONDS, 10**9)]


@pytest.mark.parametrize(("unit", "factor"), UNITS, ids=["s", "ms", "ns"])
@pytest.mark.parametrize(("value", "ttl", "expected"), [n[1:] for n in NUMBERS], ids=[n[0] for n in NUMBERS])
def test_numbers_in_hash_and_string(store, client, now, unit, factor, value, ttl, expected):
    text = value(factor)
    client.hset("s:h", "expires_at", text)
    if ttl:
        client.pexpire("s:h", ttl)
    assert (
        judged(store, client, target("s:*", "hash", HashFieldExpiry("expires_at", unit, repair_ttl=True)), b"s:h", now)
        == expected
    )

    client.flushall()
    client.set("s:v", text, px=ttl)
    assert judged(store, client, target("s:*", "string", ValueExpiry(unit)), b"s:v", now) == expected


def test_hash_without_the_field(store, client, now):
    client.hset("s:1", "expires", epoch(-90))
    assert judged(store, client, target("s:*", "hash", HashFieldExpiry("expires_at")), b"s:1", now) == WITHOUT


def test_expired_means_strictly_before_the_cutoff(store, client):
    cutoff = datetime(2024, 5, 1, 12, 0, 0, 123_000, tzinfo=UTC)
    at = 1_714_564_800_123
    values = {"s": f"{at // 1000}.123", "ms": str(at), "ns": f"{at}000000", "ms+": f"{at}.9"}
    early = {"s": f"{at // 1000}.122999999", "ms": str(at - 1), "ns": f"{at - 1}999999", "ms+": f"{at - 1}.9"}
    for name, unit in (("s", "s"), ("ms", "ms"), ("ns", "ns"), ("ms+", "ms")):
        client.set("v:at", values[name])
        client.set("v:before", early[name])
        drain(store, target("v:*", "string", ValueExpiry(EpochUnit(unit))), cutoff)
        assert client.keys() == [b"v:at"], name


ISO = [
    ("Z", "2020-02-29T23:59:59Z", GONE),
    ("milliseconds", "2020-02-29T23:59:59.999Z", GONE),
    ("nanoseconds", "2020-02-29T23:59:59.123456789Z", GONE),
    ("offset", "2020-02-29T23:59:59+05:30", GONE),
    ("offset without colon", "2020-02-29 23:59:59-0800", GONE),
    ("future", "2399-12-31T23:59:59Z", REPAIRED),
    ("future by a century's leap day", "2400-02-29T00:00:00Z", REPAIRED),
    ("year one", "0001-01-01T00:00:00Z", WITHOUT),
    ("epoch", "1970-01-01T00:00:00.000Z", WITHOUT),
    ("year one, west of Greenwich", "0001-01-01T00:00:00-08:00", WITHOUT),
    ("no zone", "2020-01-01T00:00:00", UNPARSABLE),
    ("date only", "2020-01-01", UNPARSABLE),
    ("no such day", "2021-02-29T00:00:00Z", UNPARSABLE),
    ("no such day in 1900's like", "2100-02-29T00:00:00Z", UNPARSABLE),
    ("month 13", "2020-13-01T00:00:00Z", UNPARSABLE),
    ("hour 24", "2020-01-01T24:00:00Z", UNPARSABLE),
    ("zone name", "2020-01-01T00:00:00 UTC", UNPARSABLE),
    ("behind", "2020-01-01T00:00:00Zx", UNPARSABLE),
    ("HTTP date", "Wed, 01 Jan 2020 00:00:00 GMT", UNPARSABLE),
    ("number", 1_577_836_800, UNPARSABLE),
    ("null", None, WITHOUT),
    ("false", False, UNPARSABLE),
    ("list", [], UNPARSABLE),
]


@pytest.mark.parametrize(("value", "expected"), [i[1:] for i in ISO], ids=[i[0] for i in ISO])
def test_json_with_iso_instants(store, client, now, value, expected):
    client.set("sess:1", json.dumps({"cookie": {"expires": value}, "user": "ü"}))
    cleaned = target("sess:*", "string", JsonExpiry(("cookie", "expires")))
    assert judged(store, client, cleaned, b"sess:1", now) == expected


def test_iso_instants_agree_with_python_to_the_millisecond(store, client):
    cleaned = target("sess:*", "string", JsonExpiry(("e",)))
    for text in ("2004-02-29T12:00:00.500Z", "2023-12-31T23:59:59+14:00", "2100-03-01T00:00:00-12:00"):
        at = datetime.fromisoformat(text)
        client.set("sess:1", json.dumps({"e": text}))
        assert census(store, cleaned, at).expired == 0, text
        assert census(store, cleaned, at + timedelta(milliseconds=1)).expired == 1, text


DOCUMENTS = [
    ("past", lambda: json.dumps({"exp": epoch(-90)}), GONE),
    ("past, fraction", lambda: json.dumps({"exp": epoch(-90) + 0.5}), GONE),
    ("past, as text", lambda: json.dumps({"exp": str(epoch(-90))}), GONE),
    ("future", lambda: json.dumps({"exp": epoch(900)}), REPAIRED),
    ("zero", lambda: '{"exp":0}', WITHOUT),
    ("negative", lambda: '{"exp":-5}', WITHOUT),
    ("lifetime", lambda: '{"exp":3600}', UNPARSABLE),
    ("huge", lambda: '{"exp":1e308}', LIVE),
    ("overflow", lambda: '{"exp":1e999}', LIVE),
    ("missing", lambda: '{"iat":1}', WITHOUT),
    ("null", lambda: '{"exp":null}', WITHOUT),
    ("ISO", lambda: '{"exp":"2020-01-01T00:00:00Z"}', UNPARSABLE),
    ("true", lambda: '{"exp":true}', UNPARSABLE),
    ("object", lambda: '{"exp":{}}', UNPARSABLE),
    ("NaN", lambda: '{"exp":NaN}', UNPARSABLE),
    ("Infinity", lambda: '{"exp":-Infinity}', UNPARSABLE),
    ("hexadecimal", lambda: '{"exp":0x5f000000}', UNPARSABLE),
    ("not an object", lambda: "1577836800", UNPARSABLE),
    ("list", lambda: "[1577836800]", WITHOUT),
    ("broken", lambda: '{"exp":1577836800', UNPARSABLE),
    ("empty", lambda: "", UNPARSABLE),
    ("pickle", lambda: b"\x80\x04\x95\x00", UNPARSABLE),
    ("nested without end", lambda: "[" * 5000, UNPARSABLE),
]


@pytest.mark.parametrize(("value", "expected"), [d[1:] for d in DOCUMENTS], ids=[d[0] for d in DOCUMENTS])
def test_json_with_numbers(store, client, now, value, expected):
    client.set("sess:1", value())
    assert judged(
        store, client, target("sess:*", "string", JsonExpiry(("exp",), EpochUnit.SECONDS)), b"sess:1", now
    ) == (expected)


def test_a_prolonged_ttl_wins_where_the_rule_says_so(store, client, now):
    stale = json.dumps({"cookie": {"expires": "2020-01-01T00:00:00Z"}})
    client.set("sess:touched", stale, px=TTL)
    client.set("sess:lost its TTL", stale)
    before = snapshot(client)
    cleaned = target("sess:*", "string", JsonExpiry(("cookie", "expires"), ttl_wins=True))
    assert census(store, cleaned, now).details["ttl_later_than_value"] == 1
    drain(store, cleaned, now)
    assert snapshot(client) == {b"sess:touched": before[b"sess:touched"]}


def jwt(claims: object) -> str:
    parts = [json.dumps(part, ensure_ascii=False).encode() for part in ({"alg": "HS256", "typ": "JWT"}, claims)]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in [*parts, b"\xff\xfe signature"])


TOKENS = [
    ("past", lambda: jwt({"exp": epoch(-90)}), GONE),
    ("past, every length of padding 1", lambda: jwt({"exp": epoch(-90), "sub": "a"}), GONE),
    ("past, every length of padding 2", lambda: jwt({"exp": epoch(-90), "sub": "ab"}), GONE),
    ("past, other scripts", lambda: jwt({"sub": "ÿ߿ÿ߾??>>", "exp": epoch(-90)}), GONE),
    ("future", lambda: jwt({"exp": epoch(900)}), REPAIRED),
    ("fraction", lambda: jwt({"exp": epoch(900) + 0.25}), REPAIRED),
    ("no exp", lambda: jwt({"sub": "x"}), WITHOUT),
    ("exp null", lambda: jwt({"exp": None}), WITHOUT),
    ("exp zero", lambda: jwt({"exp": 0}), WITHOUT),
    ("exp text", lambda: jwt({"exp": str(epoch(-90))}), UNPARSABLE),
    ("a list", lambda: jwt([epoch(-90)]), WITHOUT),
    ("a number", lambda: jwt(5), UNPARSABLE),
    ("two parts", lambda: jwt({"exp": epoch(-90)}).rpartition(".")[0], UNPARSABLE),
    ("five parts", lambda: jwt({"exp": epoch(-90)}) + ".a.b", UNPARSABLE),
    ("padded", lambda: jwt({"exp": epoch(-90)}).replace(".", "==.", 2), UNPARSABLE),
    ("not base64", lambda: "a.%%%.c", UNPARSABLE),
    ("length 1", lambda: "a.b.c", UNPARSABLE),
    ("opaque", lambda: "0123456789abcdef", UNPARSABLE),
    ("nothing", lambda: "", UNPARSABLE),
]


@pytest.mark.parametrize(("token", "expected"), [t[1:] for t in TOKENS], ids=[t[0] for t in TOKENS])
def test_jwt_in_the_key(store, client, now, token, expected):
    key = f"revoked_token:{token()}"
    client.set(key, "revoked")
    assert judged(store, client, REVOKED, key.encode(), now) == expected


def test_native_ttl_is_only_counted(store, client, now):
    client.set("session:a", "x", px=TTL)
    client.set("session:b", "x")
    client.sadd("session:c", "x")
    before = snapshot(client)
    cleaned = target("session:*", "string", NativeTtl())
    seen = census(store, cleaned, now)
    assert (seen.live, seen.expired, seen.without_expiry, seen.unparsable) == (1, 0, 1, 0)
    (outcome,) = drain(store, cleaned, now)
    assert (outcome.deleted, outcome.repaired, outcome.live, outcome.without_expiry) == (0, 0, 1, 1)
    assert snapshot(client) == before


def test_grace_keeps_the_dead_and_repair_respects_it(store, client, now):
    cleaned = target("s:*", "hash", HashFieldExpiry("e", repair_ttl=True), grace=timedelta(hours=1))
    client.hset("s:dead", "e", epoch(-3700))
    client.hset("s:in grace", "e", epoch(-1800))
    client.hset("s:live", "e", epoch(600))
    outcomes = drain(store, cleaned, now - cleaned.grace)
    assert sorted(client.keys()) == [b"s:in grace", b"s:live"]
    assert sum(o.repaired for o in outcomes) == 2
    # Each keeps its TTL of expiry plus grace: about 1800 s and about 4200 s are left.
    assert 1500 < client.ttl("s:in grace") < 2000
    assert 3900 < client.ttl("s:live") < 4400


def test_repair_never_deletes_what_died_after_the_cutoff(store, client, now):
    client.hset("s:1", "e", epoch(-5))
    before = snapshot(client)
    (outcome,) = drain(store, target("s:*", "hash", HashFieldExpiry("e")), now - timedelta(minutes=1))
    assert (outcome.live, outcome.repaired, outcome.deleted) == (1, 0, 0)
    assert snapshot(client) == before


@pytest.mark.parametrize(
    ("key_type", "expiry", "named"),
    [
        ("string", HashFieldExpiry("e"), "type: hash"),
        ("hash", ValueExpiry(), "type: string"),
        ("hash", JsonExpiry(("e",)), "type: string"),
    ],
)
def test_a_rule_that_cannot_read_the_type_is_refused(store, now, key_type, expiry, named):
    with pytest.raises(StoreError, match=named):
        drain(store, target("s:*", key_type, expiry), now)


def test_where_is_refused_rather_than_ignored(store, now):
    with pytest.raises(StoreError, match=r"targets\.sessions\.where"):
        drain(store, target("s:*", "hash", HashFieldExpiry("e"), where={"tenant": 1}), now)


def test_hashes_of_another_application_stay(store, client, now):
    """The service's own have a user, a device and a refresh token; another's may share the pattern and the field."""
    dead = epoch(-10)
    client.hset("s:u:d", mapping={"user_id": "u", "device_id": "d", "refresh_token": "t", "expires_at": dead})
    client.hset("s:42:web", mapping={"user": "42", "expires_at": dead})
    cleaned = target("s:*", "hash", HashFieldExpiry("expires_at"))
    cleaned = replace(cleaned, source=replace(cleaned.source, required_fields=("user_id", "refresh_token")))
    seen = census(store, cleaned, now)
    assert (seen.expired, seen.unparsable, seen.without_expiry) == (1, 0, 0)
    assert seen.details["of_another_application"] == 1
    drain(store, cleaned, now)
    assert client.keys("*") == [b"s:42:web"]
