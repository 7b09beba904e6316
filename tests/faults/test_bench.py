"""A few rounds of the fault bench; `make faults` does five hundred a store. And the bench itself: can it fail?"""

import os
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults.bench import passes
from tests.faults.bench.hosts import scratch
from tests.faults.bench.judge import WrongError
from tests.faults.bench.oracle import Oracle
from tests.faults.bench.proxy import DOWN, UP, Proxy
from tests.faults.bench.rounds import Bench, LeftOutError
from tests.faults.bench.soak import MEGABYTE, Sample, verdict

SEED = int(os.environ.get("CLEANUP_SEED", "20261126"))
ROUNDS = {
    "postgres": ("terminate_backend",),
    "redis": ("client_kill", "busy"),
    "mongo": ("closes_connection",),
}


@pytest.fixture
def folder() -> Iterator[Path]:
    with scratch() as made:
        yield made


@pytest.mark.parametrize("store", list(ROUNDS))
def test_rounds(store: str, folder: Path) -> None:
    bench = Bench(store, folder, dagster=False)
    try:
        for number, fault in enumerate(ROUNDS[store]):
            bench.only = fault
            done = bench.round(SEED + number)
            assert done.lost <= done.deleted + done.unsure
            assert done.lost > 0
    finally:
        bench.close()


@pytest.mark.long
@pytest.mark.parametrize(
    ("store", "fault"),
    [
        ("cluster", "slots_move"),
        ("sentinel", "failover"),
        ("postgres", "full_disk"),
        ("redis", "full_disk_aof"),
        ("redis", "full_disk_dump"),
        ("mongo", "dagster_full_disk"),
    ],
)
def test_rounds_of_what_takes_longer(store: str, fault: str, folder: Path) -> None:
    bench = Bench(store, folder, only=fault, dagster=False)
    try:
        done = bench.round(SEED)
        assert done.struck == 1 and done.lost > 0
    except LeftOutError as why:
        pytest.skip(f"no disk of its own: {why}")
    finally:
        bench.close()


def test_a_pass_that_deletes_what_lives_is_found_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cutoff a day late: the oracle says so, whatever the pass says of itself."""
    bench = Bench("redis", folder, only="nothing", dagster=False)
    scan = passes.scan

    def late(*given: object, **more: object) -> object:
        plan = scan(*given, **more)  # type: ignore[arg-type]
        return replace(plan, cutoff=plan.cutoff.replace(year=plan.cutoff.year + 1))

    monkeypatch.setattr(passes, "scan", late)
    try:
        with pytest.raises(WrongError, match=r"to live|was live and is gone"):
            bench.round(SEED)
    finally:
        bench.close()


def test_the_oracle_knows_what_may_must_and_may_not_be_gone() -> None:
    oracle = Oracle(grace=10)
    now = time.time()
    for name, expiry in {"dead": now - 60, "fresh": now - 5, "live": now + 60, "never": None}.items():
        oracle.created(name, expiry)
    oracle.pass_begins()
    oracle.pass_ends()
    began = time.time()
    left = {"fresh": now - 5, "live": now + 60, "never": None}
    verdict_ = oracle.judge(left, clean_since=began)
    assert (verdict_.lost, verdict_.live_lost, verdict_.survivors, oracle.wrong) == (1, [], [], [])
    oracle.created("dead", now - 60)
    assert oracle.judge({**left, "dead": now - 60}, clean_since=time.time()).survivors == ["dead"]
    assert sorted(oracle.judge({}).live_lost) == ["fresh", "live", "never"]


def test_the_proxy_cuts_holds_and_loses() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        proxy = Proxy(listening.getsockname())

        def serve() -> None:
            while True:
                try:
                    taken, _ = listening.accept()
                except OSError:
                    return
                threading.Thread(target=_echo, args=(taken,), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        with _connected(proxy) as client:
            client.sendall(b"one")
            assert client.recv(10) == b"one"
            proxy.ways[DOWN].held = True
            client.sendall(b"two")
            client.settimeout(0.2)
            with pytest.raises(TimeoutError):
                client.recv(10)
            proxy.heal()
            client.settimeout(10)
            assert client.recv(10) == b"two"
            proxy.at(UP, 1, lambda: proxy.cut(reset=True))
            client.sendall(b"three")
            with pytest.raises(ConnectionResetError):
                client.recv(10)
        with _connected(proxy) as client:
            proxy.ways[UP].dropped = True
            client.sendall(b"four")
            client.settimeout(0.2)
            with pytest.raises(TimeoutError):
                client.recv(10)
            proxy.heal()
            client.settimeout(10)
            with pytest.raises(ConnectionResetError):
                client.recv(10)
        proxy.cut(reset=False)
        assert proxy.open == 0
        proxy.close()


def _connected(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=10)


def _echo(taken: socket.socket) -> None:
    with taken:
        try:
            while data := taken.recv(100):
                taken.sendall(data)
        except OSError:
            return


def test_a_soak_that_grows_is_red() -> None:
    def sample(number: int, grown: int) -> Sample:
        return Sample(float(number), "", "succeeded", 1, 100 * MEGABYTE + number * grown, 10, 1, 0, MEGABYTE)

    flat, grown = ([sample(n, bytes_) for n in range(300)] for bytes_ in (100, 100_000))
    assert all(line.startswith("flat") for line in verdict(flat, 300))
    assert [line.split(":")[0] for line in verdict(grown, 300) if line.startswith("GREW")] == ["GREW rss"]
