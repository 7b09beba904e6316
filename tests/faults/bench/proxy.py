"""A TCP proxy in front of a store that can do to its connections what a network does, each way by itself.

A thread of its own runs an event loop. What is to happen is set from any other thread, or by a trigger: the first
chunk of a direction that has a given number runs it before it is passed on, so that a seed repeats the place and not
only the moment.
"""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

UP, DOWN = "up", "down"
"""To the store, and from it."""
CHUNK = 65536
PATIENCE_SECONDS = 0.5
"""How long a chunk waits for the fault that it triggers."""


@dataclass
class Way:
    """What happens to the bytes of one direction."""

    delay: float = 0.0
    """Seconds that each chunk is late."""
    rate: float | None = None
    """Bytes a second; None: as fast as it goes."""
    held: bool = False
    """Nothing passes. What came meanwhile goes on afterwards, also when whoever sent it is gone: late packets."""
    dropped: bool = False
    """Nothing passes, and what came is lost: the connections that it was taken from are cut afterwards."""
    chunks: int = 0
    """How many have come, since it was set to 0."""


@dataclass(eq=False)
class Link:
    """One connection and its other half."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    mine: bool
    """Faults are for it, and it is counted."""
    lossy: bool = False
    tasks: list["asyncio.Task[None]"] = field(default_factory=list)


class Proxy:
    """Listens on a free port of the loopback, and on `more`. `to` may be changed: later connections go there.

    With a `marker`, faults are only for connections that have sent it: others may be the servers' among each other.
    """

    def __init__(
        self, to: tuple[str, int], *, more: Sequence[tuple[str, int]] = (), marker: bytes | None = None
    ) -> None:
        self._marker = marker
        self.ways = {UP: Way(), DOWN: Way()}
        self.refusing = False
        self.accepted = 0
        self._links: set[Link] = set()
        self._trigger: tuple[str, int, Callable[[], None]] | None = None
        self._loop = asyncio.new_event_loop()
        self._sockets = [socket.create_server(("127.0.0.1", 0)) for _ in (to, *more)]
        self.ports = [int(each.getsockname()[1]) for each in self._sockets]
        self.port = self.ports[0]
        self._to = dict(zip(self.ports, (to, *more), strict=True))
        self._thread = threading.Thread(target=self._run, daemon=True, name="proxy")
        ready = threading.Event()
        self._ready = ready
        self._thread.start()
        ready.wait(10)

    @property
    def to(self) -> tuple[str, int]:
        """Where the first port leads."""
        return self._to[self.port]

    @to.setter
    def to(self, address: tuple[str, int]) -> None:
        self._to[self.port] = address

    @property
    def open(self) -> int:
        """Connections that are open."""
        return len(self._mine())

    def _mine(self) -> list[Link]:
        return [link for link in list(self._links) if link.mine]

    def who(self) -> list[str]:
        """The clients whose connections are open, and which of their ways have ended."""
        return [
            f"{link.client.get_extra_info('peername')} {[task.done() for task in link.tasks]}" for link in self._mine()
        ]

    def url(self, url: str) -> str:
        """The URL of the store with this proxy in place of its host and port."""
        scheme, _, rest = url.partition("://")
        login, at, address = rest.rpartition("@")
        return f"{scheme}://{login}{at}127.0.0.1:{self.port}/{address.partition('/')[2]}"

    def at(self, way: str, chunk: int, what: Callable[[], None]) -> None:
        """Run `what` when that many more chunks have come this way; the chunk waits for it."""
        self.ways[way].chunks = 0
        self._trigger = (way, chunk, what)

    def disarm(self) -> bool:
        """Forget the trigger; whether it was still waiting."""
        waiting, self._trigger = self._trigger is not None, None
        return waiting

    def count(self) -> dict[str, int]:
        """Chunks each way since the last call."""
        found = {name: way.chunks for name, way in self.ways.items()}
        for way in self.ways.values():
            way.chunks = 0
        return found

    def cut(self, *, reset: bool) -> None:
        """End every connection, by RST or by FIN to both sides."""
        self._call(lambda: [self._end(link, reset=reset) for link in self._mine()])

    def heal(self) -> None:
        """Let everything pass again. Connections that lost bytes end."""
        for way in self.ways.values():
            way.delay, way.rate, way.held, way.dropped = 0.0, None, False, False
        self.refusing = False
        self._call(lambda: [self._end(link, reset=True) for link in list(self._links) if link.lossy])

    def close(self) -> None:
        self.heal()
        self._call(lambda: [self._end(link, reset=True) for link in list(self._links)])
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _call(self, what: Callable[[], object]) -> None:
        done = threading.Event()

        def run() -> None:
            try:
                what()
            finally:
                done.set()

        if self._loop.is_closed():
            return
        self._loop.call_soon_threadsafe(run)
        if threading.current_thread() is not self._thread:
            done.wait(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)

        async def serve() -> None:
            self._servers = [await asyncio.start_server(self._accept, sock=each, limit=CHUNK) for each in self._sockets]
            self._ready.set()

        self._loop.run_until_complete(serve())
        self._loop.run_forever()
        for server in self._servers:
            server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        if self.refusing:
            _abort(writer)
            return
        try:
            back, forth = await asyncio.open_connection(*self._to[writer.get_extra_info("sockname")[1]], limit=CHUNK)
        except OSError:
            _abort(writer)
            return
        link = Link(writer, forth, mine=self._marker is None)
        self._links.add(link)
        link.tasks = [
            self._loop.create_task(self._pass_on(link, UP, reader, forth)),
            self._loop.create_task(self._pass_on(link, DOWN, back, writer)),
        ]

    async def _pass_on(self, link: Link, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        way = self.ways[name]
        try:
            while data := await reader.read(CHUNK):
                if not link.mine:
                    link.mine = name == UP and (self._marker or b"") in data
                    writer.write(data)
                    await writer.drain()
                    continue
                way.chunks += 1
                await self._pull_trigger(name)
                if way.delay:
                    await asyncio.sleep(way.delay)
                while way.held:
                    await asyncio.sleep(0.005)
                if way.dropped:
                    link.lossy = True
                if link.lossy:
                    continue
                for part in _parts(data, way.rate):
                    writer.write(part)
                    await writer.drain()
                    if way.rate is not None:
                        await asyncio.sleep(len(part) / way.rate)
            while link.mine and (way.held or way.dropped):
                await asyncio.sleep(0.005)
            self._end(link, reset=False)
        except (OSError, RuntimeError, asyncio.CancelledError):
            self._end(link, reset=True)

    async def _pull_trigger(self, name: str) -> None:
        if self._trigger is None:
            return
        way, chunk, what = self._trigger
        if way != name or self.ways[way].chunks < chunk:
            return
        self._trigger = None
        # A fault may have to wait for a lock that only what comes next gives back.
        await asyncio.wait([self._loop.run_in_executor(None, what)], timeout=PATIENCE_SECONDS)

    def _end(self, link: Link, *, reset: bool) -> None:
        if link not in self._links:
            return
        self._links.discard(link)
        for task in link.tasks:
            if task is not _current():
                task.cancel()
        for side in (link.client, link.server):
            if reset:
                _abort(side)
            else:
                side.close()


def _current() -> "asyncio.Task[None] | None":
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def _abort(writer: asyncio.StreamWriter) -> None:
    found = writer.transport.get_extra_info("socket")
    if found is not None:
        # Lingering for no time makes close() send RST.
        with contextlib.suppress(OSError):
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def _parts(data: bytes, rate: float | None) -> list[bytes]:
    step = CHUNK if rate is None else max(1, int(rate / 50))
    return [data[at : at + step] for at in range(0, len(data), step)]
