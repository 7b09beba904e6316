"""A call that may hang in a place that cannot be interrupted, such as the system's resolver, given up after a time.

It runs in a thread of its own. One that is given up is left behind until it ends by itself; how many of those there may
be is bounded, so that a name server that never answers costs a few threads and not one a second.
"""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from concurrent.futures import TimeoutError as OverdueError
from contextlib import closing
from threading import Lock, Thread
from typing import TypeVar

MOST_LEFT_BEHIND = 4
"""Calls of one key that may hang at the same time."""

_T = TypeVar("_T")
_running: Counter[str] = Counter()
_lock = Lock()


class StillHangingError(TimeoutError):
    """Not tried: earlier calls of this key have not come back."""


def within(seconds: float, key: str, call: Callable[[], _T]) -> _T:
    """What `call()` answers or raises, or TimeoutError after so many seconds; StillHangingError where too many hang.

    What comes after that is closed if it can be, and forgotten. `key` says which calls hang for the same reason.
    """
    with _lock:
        if _running[key] >= MOST_LEFT_BEHIND:
            raise StillHangingError("earlier attempts still wait for an answer")
        _running[key] += 1
    answer: Future[_T] = Future()

    def run() -> None:
        try:
            _settle(answer, call)
        finally:
            with _lock:
                _running[key] -= 1
                if not _running[key]:
                    del _running[key]

    # A thread of a pool would keep the program from ending.
    Thread(target=run, daemon=True, name="within").start()
    try:
        return answer.result(seconds)
    except OverdueError:
        if answer.cancel():
            raise TimeoutError(f"no answer within {seconds:g} s") from None
        # It came while we gave up, or is a TimeoutError of the call's own.
        return answer.result()


def _settle(answer: "Future[_T]", call: Callable[[], _T]) -> None:
    try:
        result = call()
    except BaseException as fault:  # noqa: BLE001 - raised where it was called for
        try:
            answer.set_exception(fault)
        except InvalidStateError:
            _close(fault)
        return
    try:
        answer.set_result(result)
    except InvalidStateError:
        _close(result)


def _close(late: object) -> None:
    if hasattr(late, "close"):
        with closing(late):
            pass
