"""JSON arrays in strings: what is over is cut out, everything else stays as it was written, byte for byte."""

import json
from datetime import timedelta

import pytest
from redis_support import census, drain, target

from cleanup_pipeline.model.target import ElementsExpiry, MembersExpiry
from cleanup_pipeline.model.words import EpochUnit
from cleanup_pipeline.stores.base import StoreError
from cleanup_pipeline.stores.redis import elements
from cleanup_pipeline.stores.redis.elements import elements_of, without

BY_TIME = target("active:*", "string", ElementsExpiry(("expiresAt",), EpochUnit.MILLISECONDS))
BY_KEY = target("list:*", "string", ElementsExpiry(members=MembersExpiry(("key:{member}",))))
BY_BOTH = target(
    "active:*",
    "string",
    ElementsExpiry(("expiresAt",), EpochUnit.MILLISECONDS, ("token",), MembersExpiry(("session:{member}",))),
)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(elements, "SETTLE_SECONDS", 0)


def ms(now, **offset):
    return int((now + timedelta(**offset)).timestamp() * 1000)


def test_what_stays_is_the_same_text(store, client, now):
    odd = '{ "token":"a\\u00e9" , "id": 12345678901234567890, "e": 1.50e+3, "tags":[], "expiresAt": ' + str(
        ms(now, hours=1)
    )
    client.set("active:u", f'[ {{"expiresAt": {ms(now, hours=-1)}}},\n {odd} }}\t]', ex=500)
    drain(store, BY_TIME, now)
    assert client.get("active:u").decode() == f"[{odd} }}]"
    assert 400 < client.ttl("active:u") <= 500
    client.set("active:v", json.dumps([{"expiresAt": ms(now, hours=-1)}] * 3))
    drain(store, BY_TIME, now)
    assert not client.exists("active:v")


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_long_list_goes_in_bounds(store, client, now, size):
    many = 40 if size == 1 else 700
    client.set("active:u", json.dumps([{"n": n, "expiresAt": ms(now, hours=n % 2 * 2 - 1)} for n in range(many)]))
    assert census(store, BY_TIME, now).expired == many // 2
    outcomes = drain(store, BY_TIME, now, size=size)
    assert sum(o.deleted for o in outcomes) == many // 2
    assert max(o.deleted for o in outcomes) <= size and max(o.largest for o in outcomes) <= 250
    assert [one["n"] for one in json.loads(client.get("active:u"))] == list(range(1, many, 2))
    assert store.survivors(BY_TIME, now, timedelta(seconds=9)) == 0


def test_what_does_not_say_when_it_ends_stays_and_is_counted(store, client, now):
    values = [{"expiresAt": None}, {}, {"expiresAt": 0}, {"expiresAt": 5}, {"expiresAt": "x"}, 7, "x", None, []]
    client.set("active:u", json.dumps(values))
    client.set("active:no-array", '{"expiresAt": 1}')
    client.set("active:broken", "[1,")
    client.set("active:more", "[] []")
    client.set("active:binary", b"\xff\xfe")
    client.set("active:empty", " [ ] ")
    client.set("active:late", json.dumps([{"expiresAt": 10**15}]))
    before = {key: client.get(key) for key in client.keys("active:*")}
    counted = census(store, BY_TIME, now)
    assert (counted.live, counted.expired, counted.without_expiry, counted.unparsable) == (1, 0, 3, 10)
    assert sum(o.deleted for o in drain(store, BY_TIME, now)) == 0
    assert {key: client.get(key) for key in before} == before


def test_a_list_that_is_too_long_to_read_is_counted_and_left(store, client, now, monkeypatch):
    monkeypatch.setattr(elements, "MOST_BYTES", 40)
    client.set("active:u", json.dumps([{"expiresAt": ms(now, hours=-1)}] * 3))
    assert census(store, BY_TIME, now).unparsable == 1
    assert sum(o.deleted for o in drain(store, BY_TIME, now)) == 0


def test_an_element_dies_with_its_key(store, client, now):
    client.set("key:a", 1)
    client.set("list:u", '["a","b","a","c"]')
    drain(store, BY_KEY, now)
    assert client.get("list:u") == b'["a","a"]'
    client.set("list:v", json.dumps([{"id": n} for n in range(20)]))
    with pytest.raises(StoreError, match=r"20 of 2[0-9] elements"):
        drain(store, BY_KEY, now)


def test_both_have_to_be_over(store, client, now):
    client.set("session:prolonged", 1)
    past, ahead = ms(now, hours=-1), ms(now, hours=1)
    listed = [("prolonged", past), ("gone", past), ("new", ahead)]
    client.set("active:u", json.dumps([{"token": token, "expiresAt": at} for token, at in listed]))
    drain(store, BY_BOTH, now)
    assert [one["token"] for one in json.loads(client.get("active:u"))] == ["prolonged", "new"]


def test_what_is_written_meanwhile_is_not_lost(store, client, now, monkeypatch):
    past = {"expiresAt": ms(now, hours=-1)}
    client.set("active:u", json.dumps([past]))
    read = elements._look
    written = iter([json.dumps([past, {"expiresAt": ms(now, hours=1), "n": 1}])])

    def and_then_a_login(walk, lists):
        read(walk, lists)
        for value in written:
            client.set("active:u", value)

    monkeypatch.setattr(elements, "_look", and_then_a_login)
    assert sum(o.deleted for o in drain(store, BY_TIME, now)) == 1
    assert [one["n"] for one in json.loads(client.get("active:u"))] == [1]


def test_a_key_that_comes_back_meanwhile_keeps_its_element(store, client, now, monkeypatch):
    client.set("list:u", '["a"]')
    read = elements._look

    def and_then_its_key(walk, lists):
        read(walk, lists)
        client.set("key:a", 1)

    monkeypatch.setattr(elements, "_look", and_then_its_key)
    assert sum(o.deleted for o in drain(store, BY_KEY, now)) == 0
    assert client.get("list:u") == b'["a"]'


def test_a_list_that_never_stands_still_is_left_to_the_next_pass(store, client, now, monkeypatch):
    client.set("active:u", json.dumps([{"expiresAt": ms(now, hours=-1)}]))
    read, count = elements._look, iter(range(10**6))

    def and_then_another(walk, lists):
        read(walk, lists)
        client.set("active:u", json.dumps([{"expiresAt": ms(now, hours=-1), "n": next(count)}]))

    monkeypatch.setattr(elements, "_look", and_then_another)
    assert sum(o.deleted for o in drain(store, BY_TIME, now)) == 0
    monkeypatch.setattr(elements, "_look", read)
    assert store.survivors(BY_TIME, now, timedelta(seconds=9)) == 1


def test_a_text_is_taken_apart_as_json_is():
    for text in ("[1,]", "[1 2]", "1", "", "[", "[,1]", "[[1]", "[1]x"):
        assert elements_of(text) is None, text
    found = elements_of(' [ [1] , "]," ,{"a":","}]')
    assert found is not None and [one.value for one in found] == [[1], "],", {"a": ","}]
    assert without(' [ [1] , "]," ,{"a":","}]', found, found[:1]) == '["],",{"a":","}]'
    assert without("[1]", elements_of("[1]") or [], elements_of("[1]") or []) == ""
