"""The server's certificate is checked unless the URL says otherwise, and a refusal says what to do."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from cleanup_pipeline.embedded.servers import Server, start_mongo
from cleanup_pipeline.engine.checkup import check_store
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.words import Severity, StoreType
from cleanup_pipeline.stores.base import Store, StoreError, UnavailableError
from cleanup_pipeline.stores.mongo import tls as mongo_tls
from cleanup_pipeline.stores.open import open_store
from cleanup_pipeline.stores.postgres import tls as postgres_tls
from cleanup_pipeline.stores.redis import checkup as redis_checkup
from cleanup_pipeline.stores.tls import is_local

from .tls_front import Authority, Front, in_front

STORES = list(StoreType)
URLS = {
    StoreType.POSTGRES: "postgresql://postgres@localhost:{port}/postgres?sslrootcert={ca}",
    StoreType.REDIS: "rediss://localhost:{port}/0?ssl_ca_certs={ca}",
    StoreType.MONGO: "mongodb://localhost:{port}/x?directConnection=true&tlsCAFile={ca}",
}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("stranger"))


@pytest.fixture(scope="module")
def fronts(postgres_server: Server, redis_server: Server, mongo_server: Server) -> Iterator[dict[StoreType, Front]]:
    ports = [urlsplit(server.url).port or 0 for server in (postgres_server, redis_server, mongo_server)]
    with in_front(ports[0], postgres=True) as postgres, in_front(ports[1]) as redis, in_front(ports[2]) as mongo:
        yield {StoreType.POSTGRES: postgres, StoreType.REDIS: redis, StoreType.MONGO: mongo}


@pytest.fixture(autouse=True)
def everything_is_far(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the loopback were a network, where there is no other host to talk to."""
    for module in ("cleanup_pipeline.stores.postgres.tls", "cleanup_pipeline.stores.mongo.tls"):
        monkeypatch.setattr(f"{module}.far_hosts", list)


def opened(front: Front, store_type: StoreType, ca: Path) -> Store:
    url = URLS[store_type].format(port=front.port, ca=ca)
    second = timedelta(seconds=1)
    return open_store(StoreConfig("main", store_type, url, connect_timeout=second, statement_timeout=second))


@pytest.mark.parametrize("store_type", STORES)
def test_a_right_certificate(fronts: dict[StoreType, Front], authority: Authority, store_type: StoreType) -> None:
    front = fronts[store_type]
    front.context, before = authority.context("localhost"), front.handshakes
    store = opened(front, store_type, authority.file)
    assert store.clock() is not None
    store.close()
    assert front.handshakes > before


@pytest.mark.parametrize("store_type", STORES)
@pytest.mark.parametrize("wrong", ["host", "expired", "authority", "plain"])
def test_a_wrong_one_is_refused(
    fronts: dict[StoreType, Front], authority: Authority, stranger: Authority, store_type: StoreType, wrong: str
) -> None:
    front = fronts[store_type]
    front.context = {
        "host": lambda: authority.context("other.example"),
        "expired": lambda: authority.context("localhost", expired=True),
        "authority": lambda: stranger.context("localhost"),
        "plain": lambda: None,
    }[wrong]()
    store = opened(front, store_type, authority.file)
    with pytest.raises(StoreError) as caught:
        store.clock()
    store.close()
    if wrong == "plain" and store_type is not StoreType.POSTGRES:
        # It waits for more of what it takes for a command.
        assert "see that it speaks TLS" in caught.value.remedy
        return
    # Not worth another try within the pass.
    assert not isinstance(caught.value, UnavailableError), caught.value
    assert caught.value.setting == "stores.main.url"
    found, remedy = {
        "host": ("is for another host name", "write the name that the certificate is for"),
        "expired": ("", "renew it"),
        "authority": ("", "name "),
        "plain": ("does not speak TLS", "set it up there"),
    }[wrong]
    assert found in caught.value.problem and remedy in caught.value.remedy, caught.value


@pytest.mark.parametrize("store_type", STORES)
def test_who_does_not_check_is_told(
    fronts: dict[StoreType, Front], stranger: Authority, store_type: StoreType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cleanup_pipeline.stores.tls.far_hosts", list)
    unchecked = {
        StoreType.POSTGRES: "postgresql://postgres@localhost:{port}/postgres?sslmode=require",
        StoreType.REDIS: "rediss://localhost:{port}/0?ssl_cert_reqs=none&ssl_check_hostname=false",
        StoreType.MONGO: "mongodb://localhost:{port}/x?directConnection=true&tls=true&tlsInsecure=true",
    }
    front = fronts[store_type]
    front.context = stranger.context("other.example")
    store = open_store(StoreConfig("main", store_type, unchecked[store_type].format(port=front.port)))
    warnings = [each.what for each in check_store(store).findings if each.severity is Severity.WARNING]
    store.close()
    assert any("its certificate is not checked" in each for each in warnings)


@pytest.mark.parametrize(
    ("store_type", "module", "url", "found"),
    [
        (StoreType.POSTGRES, postgres_tls.findings, "postgresql://u@db.example/x?sslmode=disable", "not encrypted"),
        (StoreType.POSTGRES, postgres_tls.findings, "postgresql://u@db.example/x?sslmode=prefer", "not encrypted"),
        (StoreType.POSTGRES, postgres_tls.findings, "postgresql://u@db.example/x?sslmode=verify-ca", "not checked"),
        (StoreType.POSTGRES, postgres_tls.findings, "postgresql://u@db.example/x", None),
        (StoreType.REDIS, redis_checkup.way, "redis://:p@10.0.0.1:6379/0", "not encrypted"),
        (StoreType.REDIS, redis_checkup.way, "redis+sentinel://127.0.0.1,b.example/name/0", "not encrypted"),
        (StoreType.REDIS, redis_checkup.way, "rediss+cluster://db.example:1?ssl_cert_reqs=optional", "not checked"),
        (StoreType.REDIS, redis_checkup.way, "rediss://db.example", None),
        (StoreType.REDIS, redis_checkup.way, "redis://[::1]:6379", None),
        (StoreType.REDIS, redis_checkup.way, "unix:///run/redis.sock", None),
        (StoreType.MONGO, mongo_tls.findings, "mongodb://u:p@db.example/x?tls=false", "not encrypted"),
        (StoreType.MONGO, mongo_tls.findings, "mongodb://a.example/x?tlsAllowInvalidHostnames=true", "not checked"),
        (StoreType.MONGO, mongo_tls.findings, "mongodb://a.example,b.example/x", None),
        (StoreType.MONGO, mongo_tls.findings, "mongodb+srv://a.example/x", None),
    ],
)
def test_the_way_is_judged_by_the_url(store_type: StoreType, module: Any, url: str, found: str | None) -> None:
    findings = list(module(url))
    assert [each.severity for each in findings] == [Severity.WARNING] * (found is not None)
    assert found is None or (found in findings[0].what and findings[0].remedy)


def test_what_the_url_says_stays() -> None:
    assert postgres_tls.tls_arguments("postgresql://u@db.example/x?sslmode=require") == {}
    assert postgres_tls.tls_arguments("service=db") == {}
    assert postgres_tls.tls_arguments("postgresql://u@db.example/x")["sslmode"] == "verify-full"
    assert postgres_tls.tls_arguments("postgresql://u@db.example/x?sslrootcert=/ca") == {"sslmode": "verify-full"}
    assert mongo_tls.tls_options("mongodb://db.example/x?ssl=false") == {}
    assert mongo_tls.tls_options("mongodb://db.example/x") == {"tls": True}


HERE = ["", "localhost", "LOCALHOST.", "127.8.0.1", "::1", "[::1]", "/run/db", "%2Frun", "a.localhost"]


@pytest.mark.parametrize("host", HERE)
def test_this_host(host: str) -> None:
    assert is_local(host)


@pytest.mark.parametrize("host", ["db", "10.0.0.1", "localhost.example.com", "127.0.0.1.example.com", "0.0.0.0"])  # noqa: S104
def test_another_host(host: str) -> None:
    assert not is_local(host)


def test_the_servers_own_tls(tmp_path: Path, authority: Authority) -> None:
    """SecantusDB's, without anything in front of it."""
    issued = authority.ca.issue_cert("localhost", "127.0.0.1")
    issued.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    for number, part in enumerate(issued.cert_chain_pems):
        part.write_to_path(str(tmp_path / "cert.pem"), append=number > 0)
    options = ["--tls-cert-file", str(tmp_path / "cert.pem"), "--tls-key-file", str(tmp_path / "key.pem")]
    server = start_mongo(tmp_path / "data", options=options, url_options=f"&tls=true&tlsCAFile={authority.file}")
    try:
        store = open_store(StoreConfig("main", StoreType.MONGO, server.url))
        assert store.clock() is not None
        store.close()
    finally:
        server.stop()


@pytest.mark.skipif(not Path("/usr/bin/redis-server").exists(), reason="no redis-server with TLS")
def test_redis_own_tls(tmp_path: Path, authority: Authority, stranger: Authority) -> None:
    from tests.security.redis_tls import running_with_tls

    with running_with_tls(Path("/usr/bin/redis-server"), tmp_path, authority) as port:
        for ca, right in ((authority.file, True), (stranger.file, False)):
            store = open_store(StoreConfig("main", StoreType.REDIS, f"rediss://localhost:{port}/0?ssl_ca_certs={ca}"))
            if right:
                assert store.clock() is not None
            else:
                with pytest.raises(StoreError, match="signed by nobody that this host trusts"):
                    store.clock()
            store.close()
