"""The demo's sample data is what its manifest says, and `compare` notices what is not."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from uuid import uuid4

import psycopg
import pymongo
import pytest
import redis
from bson import ObjectId

from cleanup_pipeline.embedded.manifest import LOST_TTL, Fate, Manifest, Record
from cleanup_pipeline.embedded.sample import COLLECTIONS, TABLES, SampleError, compare, write_samples
from cleanup_pipeline.embedded.servers import Server
from cleanup_pipeline.model.words import Mode
from cleanup_pipeline.settings import Settings, load_settings


@dataclass(frozen=True)
class Sample:
    manifest: Manifest
    urls: tuple[str, str, str]

    def compare(self) -> list[str]:
        return compare(self.manifest, *self.urls)


@pytest.fixture(scope="module")
def sample(postgres_server: Server, redis_server: Server, mongo_server: Server) -> Iterator[Sample]:
    """Written once; a test that takes something away puts it back."""
    name = f"sample_{uuid4().hex[:12]}"
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        with redis.Redis.from_url(redis_server.url) as client:
            client.flushall()
        postgres = postgres_server.url.rsplit("/", 1)[0] + f"/{name}"
        urls = (postgres, redis_server.url, mongo_server.url.replace("/cleanup_demo", f"/{name}"))
        yield Sample(write_samples(*urls), urls)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    with pymongo.MongoClient(mongo_server.url) as mongo:
        mongo.drop_database(name)


@pytest.fixture(scope="module")
def settings() -> Settings:
    urls = {
        "CLEANUP_POSTGRES_URL": "postgresql://localhost/demo",
        "CLEANUP_REDIS_URL": "redis://localhost/0",
        "CLEANUP_MONGO_URL": "mongodb://localhost/cleanup_demo",
    }
    with as_file(files("cleanup_pipeline.embedded") / "demo.yaml") as file:
        return load_settings(Path(file), urls)


def test_before_a_pass_exactly_the_dead_ones_and_the_missing_ttls_are_wrong(sample: Sample) -> None:
    expected = {
        f"{record.target}: {record.key} is still there, but it should be gone ({record.reason})"
        for record in sample.manifest.records
        if record.fate is Fate.GONE
    }
    expected |= {
        f"{record.target}: {record.key} still has no TTL, but it should have got one ({record.reason})"
        for record in sample.manifest.records
        if record.reason == LOST_TTL
    }
    found = sample.compare()
    assert set(found) == expected
    assert len(found) == len(expected)


def test_a_removed_row_that_should_have_stayed_is_named(sample: Sample) -> None:
    lost = _first(sample, "verify_email_tokens", "inside_grace")
    with psycopg.connect(sample.urls[0]) as connection:
        connection.execute("DELETE FROM tokens WHERE token = %s", (lost.key,))
        connection.commit()
        assert _complaint(lost) in sample.compare()
        connection.execute(
            "INSERT INTO tokens SELECT %s, id, '/verify', email, 0, now(), now() FROM users LIMIT 1", (lost.key,)
        )
    assert _complaint(lost) not in sample.compare()


def test_a_removed_document_that_should_have_stayed_is_named(sample: Sample) -> None:
    lost = _first(sample, "flask_sessions_mongo", "live")
    with pymongo.MongoClient(sample.urls[2]) as client:
        sessions = client.get_default_database()["flask_sessions"]
        document = sessions.find_one_and_delete({"_id": ObjectId(lost.key)})
        assert document is not None
        assert _complaint(lost) in sample.compare()
        sessions.insert_one(document)
    assert _complaint(lost) not in sample.compare()


def test_a_removed_key_that_should_have_stayed_is_named(sample: Sample) -> None:
    lost = _first(sample, "sso_refresh_index", "live_pointer")
    with redis.Redis.from_url(sample.urls[1]) as client:
        value = client.getdel(lost.key)
        assert isinstance(value, bytes)
        assert _complaint(lost) in sample.compare()
        client.set(lost.key, value, exat=lost.redis_expiry)
    assert not [line for line in sample.compare() if lost.key in line]


def test_a_ttl_that_came_back_is_noticed(sample: Sample) -> None:
    repaired = _first(sample, "sso_sessions", LOST_TTL)
    assert repaired.redis_expiry is not None
    with redis.Redis.from_url(sample.urls[1]) as client:
        client.expireat(repaired.key, repaired.redis_expiry)
        assert not [line for line in sample.compare() if repaired.key in line]
        client.persist(repaired.key)
    assert [line for line in sample.compare() if repaired.key in line]


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("sso_sessions", "ttl_shorter_than_expiry"),
        ("sso_sessions", "live"),
        ("sso_refresh_index", "live_pointer"),
        ("sso_revoked_tokens", "live"),
        ("flask_sessions_redis", "live"),
    ],
)
def test_a_ttl_that_a_pass_had_no_reason_to_move_is_named(sample: Sample, target: str, reason: str) -> None:
    kept = _first(sample, target, reason)
    assert kept.redis_expiry is not None
    moved = kept.redis_expiry - 1
    with redis.Redis.from_url(sample.urls[1]) as client:
        client.expireat(kept.key, moved)
        expected = (
            f"{target}: {kept.key} has a TTL until {moved}, but it should be until {kept.redis_expiry} ({reason})"
        )
        assert expected in sample.compare()
        client.expireat(kept.key, kept.redis_expiry)
    assert not [line for line in sample.compare() if kept.key in line]


@pytest.mark.parametrize("target", ["sso_sessions", "sso_refresh_index", "sso_revoked_tokens"])
def test_a_ttl_on_a_key_that_does_not_say_when_it_dies_is_named(sample: Sample, target: str) -> None:
    """A TTL on such a key is a deletion that comes later."""
    kept = next(
        r for r in sample.manifest.records if (r.target, r.reason, r.redis_expiry) == (target, "unparsable", -1)
    )
    with redis.Redis.from_url(sample.urls[1]) as client:
        client.expire(kept.key, 3600)
        expected = f"{target}: {kept.key} has got a TTL, but it should have none (unparsable)"
        assert expected in sample.compare()
        client.persist(kept.key)
    assert not [line for line in sample.compare() if kept.key in line]


def test_exactly_the_keys_of_redis_that_stay_have_an_expiry_to_compare(sample: Sample) -> None:
    elsewhere = {*TABLES, *COLLECTIONS}
    for record in sample.manifest.records:
        assert (record.redis_expiry is not None) == (record.target not in elsewhere and record.fate is Fate.STAY)


def test_the_frameworks_can_read_their_live_sessions_back(sample: Sample) -> None:
    """Flask-Session's value is msgpack; Django's is signed, 40 characters of key at most."""
    with redis.Redis.from_url(sample.urls[1]) as client:
        value = client.get(_first(sample, "flask_sessions_redis", "live").key)
    assert isinstance(value, bytes)
    assert b"user_id" in value
    with psycopg.connect(sample.urls[0]) as connection:
        applied = connection.execute("SELECT app FROM django_migrations").fetchall()
        signed = connection.execute("SELECT min(session_data), max(length(session_key)) FROM django_session").fetchone()
    assert ("sessions",) in applied
    assert signed is not None
    assert signed[0].count(":") == 2
    assert signed[1] == 32


def test_the_server_does_not_race_the_pass(sample: Sample) -> None:
    """Flask-Session's TTL index is gone, as the server's thread would remove what the pass is to be seen removing."""
    with pymongo.MongoClient(sample.urls[2]) as client:
        indexes = client.get_default_database()["flask_sessions"].index_information()
    assert not [name for name, index in indexes.items() if "expireAfterSeconds" in index]


def test_every_target_of_the_demo_has_records_of_both_fates(sample: Sample, settings: Settings) -> None:
    written = {(record.target, record.fate) for record in sample.manifest.records}
    wanted = {(target.name, fate) for target in settings.targets for fate in Fate}
    # Redis removes the expired sessions of Flask-Session by itself: that target is an audit.
    assert wanted - written == {("flask_sessions_redis", Fate.GONE)}
    assert written <= wanted


def test_the_demo_deletes_and_compares_where_it_deletes(settings: Settings) -> None:
    assert {target.mode for target in settings.targets} == {Mode.DELETE}
    places = {target.name: target.source_name.split(".")[-1] for target in settings.targets}
    assert {name: place for name, (place, _) in TABLES.items()} == {name: places[name] for name in TABLES}
    assert dict(COLLECTIONS) == {name: places[name] for name in COLLECTIONS}


def test_records_of_one_target_have_different_keys(sample: Sample) -> None:
    keys = [record.key for record in sample.manifest.records]
    assert len(set(keys)) == len(keys)


def test_a_manifest_survives_json(sample: Sample) -> None:
    assert Manifest.from_json(sample.manifest.to_json()) == sample.manifest
    assert sample.manifest.count("gone") + sample.manifest.count("stay") == len(sample.manifest.records)


def test_a_database_that_does_not_exist_is_an_error_in_one_line(
    sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Django's own word for it, and no URL."""
    monkeypatch.setattr("cleanup_pipeline.embedded.sample.write_redis", lambda url: [])
    monkeypatch.setattr("cleanup_pipeline.embedded.sample.write_sso_redis", lambda url: [])
    monkeypatch.setattr("cleanup_pipeline.embedded.sample.write_sso_postgres", lambda url: [])
    monkeypatch.setattr("cleanup_pipeline.embedded.sample.write_mongo", lambda url: [])
    monkeypatch.setattr("cleanup_pipeline.embedded.sample.write_sso_mongo", lambda url: [])
    url = sample.urls[0].replace("postgres@", "postgres:hunter2@") + "_missing"
    with pytest.raises(SampleError, match="Django could not write its sessions") as caught:
        write_samples(url, *sample.urls[1:])
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


def _first(sample: Sample, target: str, reason: str) -> Record:
    return next(r for r in sample.manifest.records if r.target == target and r.reason == reason)


def _complaint(record: Record) -> str:
    return f"{record.target}: {record.key} is gone, but it should have stayed ({record.reason})"
