"""Who watches a pass while it runs. In-process only: a step in another process has nobody to tell."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cleanup_pipeline.model.outcome import Tally

Listener = Callable[[str, Tally, int | None], None]
"""Called after each batch with the target's name, the shard's tally so far and the expired records expected."""

_listeners: list[Listener] = []


def publish(target: str, tally: Tally, expected: int | None) -> None:
    """Tell every listener how far a shard is."""
    for listener in _listeners:
        listener(target, tally, expected)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Have `listener` called for as long as the block lasts."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)
