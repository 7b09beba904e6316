"""Alerts that start and end, once, whoever looks; and what is told of them."""

import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from cleanup_pipeline.ledger import Ledger, open_ledger
from cleanup_pipeline.ledger.alerting import QUIET, Changes
from cleanup_pipeline.ledger.outbox import Message
from cleanup_pipeline.model.alert import AlertState, Condition

NOON = datetime(2026, 11, 25, 12, 0, 0, tzinfo=UTC)
FIRING, CLEAR, UNKNOWN = AlertState.FIRING, AlertState.CLEAR, AlertState.UNKNOWN


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def slow(state: AlertState, value: float = 70.0, subject: str = "web") -> Condition:
    known = state is not UNKNOWN
    return Condition("CleanupSlow", subject, state, value=value if known else None, summary="slow" if known else "")


def set_(ledger: Ledger, minutes: float, *conditions: Condition) -> tuple[list[str], list[str]]:
    changes = ledger.set_alerts(conditions, at(minutes))
    return [row.subject for row in changes.started], [row.subject for row in changes.ended]


def told(ledger: Ledger, minutes: float) -> tuple[list[str], list[str]]:
    seen = list[Changes]()

    def compose(changes: Changes) -> Sequence[Message]:
        seen.append(changes)
        return [Message(row.id, "ops", "x", {}) for row in changes.started]

    ledger.tell_alerts(compose, 100, at(minutes))
    return [row.subject for row in seen[0].started], [row.subject for row in seen[0].ended]


def test_it_starts_once_and_ends_once(ledger: Ledger) -> None:
    assert set_(ledger, 0, slow(CLEAR)) == ([], [])
    assert set_(ledger, 1, slow(FIRING), slow(FIRING, subject="app")) == (["app", "web"], [])
    assert set_(ledger, 2, slow(FIRING, 90.0), slow(FIRING, subject="app")) == ([], [])
    app, web = ledger.open_alerts()
    assert (web.value, web.started_at, web.ended_at) == (90.0, at(1), None)
    assert set_(ledger, 3, slow(CLEAR), slow(FIRING, subject="app")) == ([], ["web"])
    assert [row.subject for row in ledger.open_alerts()] == ["app"]
    assert [(row.subject, row.ended_at) for row in ledger.alerts(at(3))] == [("app", None), ("web", at(3))]
    assert [row.id for row in ledger.alerts(at(4))] == [app.id]
    # What is not watched any more does not fire any more.
    assert set_(ledger, 5) == ([], ["app"])


def test_unknown_neither_starts_nor_ends(ledger: Ledger) -> None:
    assert set_(ledger, 0, slow(UNKNOWN)) == ([], [])
    set_(ledger, 1, slow(FIRING))
    assert set_(ledger, 2, slow(UNKNOWN)) == ([], [])
    [row] = ledger.open_alerts()
    assert (row.value, row.summary) == (None, "slow")
    assert set_(ledger, 3, slow(FIRING)) == ([], [])
    assert ledger.open_alerts()[0].value == 70.0
    set_(ledger, 4, slow(UNKNOWN))
    assert set_(ledger, 5, slow(CLEAR)) == ([], ["web"])


def test_two_who_look_at_once_start_it_once(url: str) -> None:
    ledgers = [open_ledger(url) for _ in range(4)]
    barrier = threading.Barrier(len(ledgers))
    started, said = list[str](), list[str]()

    def daemon(ledger: Ledger) -> None:
        barrier.wait()
        started.extend(set_(ledger, 0, slow(FIRING), slow(FIRING, subject="app"))[0])
        said.extend(told(ledger, 0)[0])

    threads = [threading.Thread(target=daemon, args=(each,)) for each in ledgers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(started) == sorted(said) == ["app", "web"]
    assert len(ledgers[0].open_alerts()) == len(ledgers[0].outbox.kept()) == 2
    for ledger in ledgers:
        ledger.close()


def test_one_that_flaps_is_not_told_each_time(ledger: Ledger) -> None:
    def look(minutes: float, state: AlertState) -> tuple[int, int]:
        set_(ledger, minutes, slow(state))
        started, ended = told(ledger, minutes)
        return len(started), len(ended)

    assert timedelta(minutes=10) == QUIET
    assert look(0, FIRING) == (1, 0)
    assert look(1, FIRING) == (0, 0)
    assert look(2, CLEAR) == (0, 1)
    # On and off again within ten minutes: nobody hears of it.
    assert [look(m, FIRING if m % 2 else CLEAR) for m in (3, 4, 5, 6, 7, 8)] == [(0, 0)] * 6
    # This time it stays.
    assert [look(m, FIRING) for m in (9, 10, 11)] == [(0, 0)] * 3
    assert look(12, FIRING) == (1, 0)
    assert look(13, CLEAR) == (0, 1)
    # Others are not kept waiting for it.
    set_(ledger, 14, slow(FIRING, subject="app"))
    assert told(ledger, 14) == (["app"], [])


def test_who_ends_between_starting_and_telling_leaves_it_to_the_next(ledger: Ledger) -> None:
    set_(ledger, 0, slow(FIRING))

    def broken(_: Changes) -> Sequence[Message]:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        ledger.tell_alerts(broken, 100, at(0))
    assert told(ledger, 1) == (["web"], [])
    assert told(ledger, 2) == ([], [])


def test_old_ones_go_and_those_that_fire_stay(ledger: Ledger) -> None:
    set_(ledger, 0, slow(FIRING), slow(FIRING, subject="app"))
    set_(ledger, 1, slow(FIRING))
    assert ledger.forget_alerts(at(1)) == 0
    assert ledger.forget_alerts(at(2)) == 1
    assert [row.subject for row in ledger.alerts()] == ["web"]
