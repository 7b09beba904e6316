"""Cuts a connection whose server has gone silent: libpq waits for an answer without any limit of its own."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

TICK_SECONDS = 0.5
"""How late a silent connection may be noticed."""


class Watchdog:
    """One thread for all batches of a store: one for each batch would cost as much as a small batch."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watched: dict[int, tuple[float, socket.socket]] = {}
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    @contextmanager
    def over(self, handle: int, seconds: float) -> Iterator[None]:
        """Shut the connection of this file descriptor down unless the block ends within `seconds`."""
        # A descriptor of our own: the connection may be closed, and its number given to another, while we watch.
        wire = socket.socket(fileno=os.dup(handle))
        key = wire.fileno()
        with self._lock:
            self._watched[key] = (monotonic() + seconds, wire)
            if self._thread is None:
                self._closing.clear()
                self._thread = threading.Thread(target=self._watch, daemon=True, name="cleanup-watchdog")
                self._thread.start()
        try:
            yield
        finally:
            with self._lock:
                self._watched.pop(key, None)
            wire.close()

    def close(self) -> None:
        """End the thread. Safe to call twice; the next use starts another."""
        self._closing.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(timeout=2 * TICK_SECONDS)

    def _watch(self) -> None:
        while not self._closing.wait(TICK_SECONDS):
            now = monotonic()
            with self._lock:
                for deadline, wire in self._watched.values():
                    if now > deadline:
                        _shut(wire)


def _shut(wire: socket.socket) -> None:
    try:
        wire.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
