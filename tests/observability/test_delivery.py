"""From the outbox to a receiver, on both kinds of ledger: once, in time, not too often, and nothing is lost."""

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cleanup_pipeline.ledger import Ledger, open_ledger
from cleanup_pipeline.ledger.outbox import ATTEMPTS, CLAIM, DELAYS, JITTER, Failure, Message, delay
from cleanup_pipeline.observability.notifications import (
    Delivery,
    deliver,
    of_event,
    of_test,
    send_once,
    summarize_surplus,
)
from cleanup_pipeline.settings.notifications import Channel, ChannelType

from .receiver import CANARY, LOOPBACK, Receiver, is_signed, running

NOON = datetime(2026, 11, 25, 12, 0, 0, tzinfo=UTC)
SECRET = f"whsec_{'QUJD' * 8}"


def ops(receiver: Receiver, name: str = "ops") -> Channel:
    return Channel(name, ChannelType.WEBHOOK, receiver.url, (SECRET,), networks=LOOPBACK)


def message(number: int, channel: str = "ops") -> Message:
    return Message(f"msg_{number}", channel, "test", {"title": f"title {number}", "text": "x", "severity": "warning"})


def at(now: datetime) -> Callable[[], datetime]:
    return lambda: now


def round_at(ledger: Ledger, now: datetime, *channels: Channel, budget: float = 15.0) -> Delivery:
    return deliver(ledger.outbox, {each.name: each for each in channels}, budget=budget, clock=at(now))


def test_a_receiver_that_fails_twice_gets_the_message_once(ledger: Ledger, receiver: Receiver) -> None:
    receiver.answers = [503, 500]
    assert ledger.outbox.put([message(1)], 20, NOON) == 1
    assert ledger.outbox.put([message(1)], 20, NOON) == 0
    assert round_at(ledger, NOON, ops(receiver)).failed == 1
    # Not before its time.
    assert round_at(ledger, NOON + timedelta(seconds=1), ops(receiver)) == Delivery()
    assert round_at(ledger, NOON + timedelta(seconds=13), ops(receiver)).failed == 1
    assert round_at(ledger, NOON + timedelta(seconds=50), ops(receiver)).delivered == 1
    assert round_at(ledger, NOON + timedelta(days=1), ops(receiver)) == Delivery()
    assert [each.answered for each in receiver.asked] == [503, 500, 204]
    assert {each.id for each in receiver.asked} == {"msg_1"}
    assert len({each.body for each in receiver.asked}) == 1
    # The time is that of the attempt, so that a receiver may refuse what is old.
    assert [int(each.headers["webhook-timestamp"]) - int(NOON.timestamp()) for each in receiver.asked] == [0, 13, 50]
    assert all(is_signed(each, SECRET) for each in receiver.asked)
    assert not any(is_signed(each, "whsec_AAAA") for each in receiver.asked)
    [kept] = ledger.outbox.kept()
    assert (kept.state, kept.attempts, kept.error, kept.delivered_at) == (
        "delivered",
        3,
        None,
        NOON + timedelta(seconds=50),
    )


def test_what_never_arrives_is_kept_and_can_be_sent_again(ledger: Ledger, receiver: Receiver) -> None:
    receiver.answers = [503] * ATTEMPTS
    ledger.outbox.put([message(1)], 20, NOON)
    now, done = NOON, Delivery()
    for number in range(ATTEMPTS):
        done = round_at(ledger, now, ops(receiver))
        assert (done.failed == 1) == (number < ATTEMPTS - 1)
        now += timedelta(days=1)
    assert len(receiver.asked) == ATTEMPTS == 8
    assert done.given_up == [
        "message msg_1 to channel ops is given up after 8 attempts: HTTP 503; see cleanup-pipeline notifications --dead"
    ]
    assert round_at(ledger, now, ops(receiver)) == Delivery()
    [dead] = ledger.outbox.kept(dead=True)
    assert (dead.state, dead.error) == ("dead", "HTTP 503")
    assert ledger.outbox.retry(now, "msg_2") == 0 and ledger.outbox.retry(now, "msg%") == 0
    assert ledger.outbox.retry(now, "msg_1") == 1
    assert round_at(ledger, now, ops(receiver)).delivered == 1
    assert ledger.outbox.kept(dead=True) == []


@pytest.mark.parametrize(("code", "attempts"), [(410, 1), (404, 3), (301, 3)])
def test_what_is_refused_is_given_up_early(ledger: Ledger, receiver: Receiver, code: int, attempts: int) -> None:
    receiver.answers = [code] * 9
    ledger.outbox.put([message(1)], 20, NOON)
    for day in range(9):
        round_at(ledger, NOON + timedelta(days=day), ops(receiver))
    assert len(receiver.asked) == attempts


def test_delays_grow_and_a_receiver_may_ask_for_more_but_not_for_days() -> None:
    for number, plain in enumerate(DELAYS, start=1):
        seen = {delay(number) for _ in range(20)}
        assert len(seen) > 1 and all(plain * (1 - JITTER) <= each <= plain * (1 + JITTER) for each in seen)
    assert delay(1, timedelta(minutes=5)) == timedelta(minutes=5)
    assert delay(1, timedelta(days=5)) == timedelta(hours=1)


def test_two_daemons_at_once_send_each_message_once(url: str, receiver: Receiver) -> None:
    ledgers = [open_ledger(url) for _ in range(3)]
    ledgers[0].outbox.put([message(n) for n in range(15)], 100, NOON)
    start = threading.Barrier(len(ledgers))
    done: list[Delivery] = []

    def daemon(ledger: Ledger) -> None:
        start.wait()
        done.append(round_at(ledger, NOON, ops(receiver)))

    threads = [threading.Thread(target=daemon, args=(each,)) for each in ledgers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(each.id for each in receiver.asked) == sorted(f"msg_{n}" for n in range(15))
    assert sum(each.delivered for each in done) == 15 and not any(each.trouble for each in done)
    for ledger in ledgers:
        ledger.close()


def test_who_dies_with_a_message_leaves_it_to_others(ledger: Ledger, receiver: Receiver) -> None:
    ledger.outbox.put([message(1)], 20, NOON)
    claimed = ledger.outbox.claim("ops", NOON)
    assert claimed is not None
    assert round_at(ledger, NOON + CLAIM / 2, ops(receiver)) == Delivery()
    assert round_at(ledger, NOON + CLAIM, ops(receiver)).delivered == 1
    # It was not dead, only slow: what it says now changes nothing.
    ledger.outbox.failed(claimed, Failure("late", gone=True), NOON + CLAIM)
    assert [each.state for each in ledger.outbox.kept()] == ["delivered"]


def test_who_was_too_slow_has_no_say_any_more(ledger: Ledger) -> None:
    ledger.outbox.put([message(1)], 20, NOON)
    slow, quick = ledger.outbox.claim("ops", NOON), ledger.outbox.claim("ops", NOON + CLAIM)
    assert slow is not None and quick is not None and (slow.attempts, quick.attempts) == (1, 2)
    ledger.outbox.failed(slow, Failure("late", gone=True), NOON + CLAIM)
    [kept] = ledger.outbox.kept()
    assert (kept.state, kept.next_attempt_at) == ("waiting", NOON + 2 * CLAIM)


def test_a_receiver_that_hangs_keeps_nobody_else_waiting(ledger: Ledger, receiver: Receiver) -> None:
    receiver.hang = threading.Event()
    with running() as other:
        ledger.outbox.put([message(1), message(2), message(3, "other")], 20, NOON)
        done = round_at(ledger, NOON, ops(receiver), ops(other, "other"), budget=1.0)
        # Whoever waited for it to the end would know by now that it did not answer.
        assert {each.error for each in ledger.outbox.kept() if each.channel == "ops"} == {None}
        assert done.delivered == 1 and [each.id for each in other.asked] == ["msg_3"]
    receiver.hang.set()


def test_what_is_over_the_limit_of_an_hour_is_told_as_one(ledger: Ledger, receiver: Receiver) -> None:
    ledger.outbox.put([message(n) for n in range(3)], 4, NOON)
    ledger.outbox.put([message(n) for n in range(3, 9)], 4, NOON + timedelta(minutes=30))
    # Other channels have their own hour.
    assert ledger.outbox.put([message(100, "team")], 4, NOON + timedelta(minutes=30)) == 1
    round_at(ledger, NOON + timedelta(minutes=31), ops(receiver), ops(receiver, "team"))
    assert sorted(each.id for each in receiver.asked) == ["msg_0", "msg_1", "msg_100", "msg_2", "msg_3"]
    assert summarize_surplus(ledger.outbox, NOON + timedelta(minutes=59)) == 0
    assert summarize_surplus(ledger.outbox, NOON + timedelta(minutes=60)) == 1
    assert summarize_surplus(ledger.outbox, NOON + timedelta(minutes=61)) == 0
    ledger.outbox.put([message(9)], 4, NOON + timedelta(minutes=61))
    receiver.asked.clear()
    round_at(ledger, NOON + timedelta(minutes=62), ops(receiver))
    summary, next_hour = receiver.asked
    assert (summary.json["event"], summary.json["title"]) == ("summary", "5 more messages in the hour from 12:00 UTC")
    assert summary.json["text"].splitlines() == [f"title {n}" for n in range(4, 9)]
    assert next_hour.id == "msg_9"
    assert sum(each.state == "summarized" for each in ledger.outbox.kept()) == 5


def test_old_messages_go_and_those_to_be_sent_stay(ledger: Ledger, receiver: Receiver) -> None:
    ledger.outbox.put([message(1)], 20, NOON)
    round_at(ledger, NOON, ops(receiver))
    ledger.outbox.put([message(2, "nobody")], 20, NOON)
    assert ledger.outbox.forget(NOON) == 0
    assert ledger.outbox.forget(NOON + timedelta(days=1)) == 1
    assert [each.id for each in ledger.outbox.kept()] == ["msg_2"]
    assert ledger.outbox.abandon(["nobody"], NOON + timedelta(days=1), NOON) == 0
    assert ledger.outbox.abandon(["ops"], NOON, NOON) == 0
    assert ledger.outbox.abandon(["ops"], NOON + timedelta(days=1), NOON) == 1
    [dead] = ledger.outbox.kept(dead=True)
    assert dead.error == "the settings have no such channel any more"


def test_who_wants_to_hear_what() -> None:
    everything = Channel("a", ChannelType.WEBHOOK, "http://x")
    several = [
        everything,
        replace(everything, name="b", only=frozenset({"pass_given_up"})),
        replace(everything, name="c", only=frozenset({"CleanupSlow"})),
    ]
    told = list(of_event("pass_given_up", "it failed", "run 1", several, NOON))
    assert [each.channel for each in told] == ["a", "b"]
    assert told == list(of_event("pass_given_up", "it failed", "run 1", several, NOON))
    assert {each.id for each in told}.isdisjoint(
        each.id for each in of_event("pass_given_up", "it failed", "run 2", several, NOON)
    )


def test_a_secret_is_in_no_ledger_log_or_line(
    tmp_path: Path, receiver: Receiver, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """A canary in URL and secret; receivers that fail in each way."""
    file = tmp_path / "ledger.db"
    ledger = open_ledger(f"sqlite:///{file}")
    receiver.answers = [503, 410, *[404] * 9, *[302] * 9, *[429] * 60]
    receiver.extra = {"Location": f"http://{CANARY}.invalid/", "Retry-After": CANARY}
    channels = [
        Channel("hook", ChannelType.WEBHOOK, receiver.url, (f"secret {CANARY}",)),
        Channel("closed", ChannelType.WEBHOOK, f"http://127.0.0.1:1/{CANARY}", (f"secret {CANARY}",)),
        Channel("nowhere", ChannelType.WEBHOOK, f"http://{CANARY}.invalid/", (f"secret {CANARY}",)),
        Channel("apprise", ChannelType.APPRISE, f"jsons://{CANARY}:{CANARY}@127.0.0.1:{receiver.port}/{CANARY}"),
        Channel("answered", ChannelType.APPRISE, f"json://{CANARY}:{CANARY}@127.0.0.1:{receiver.port}/{CANARY}"),
    ]
    channels = [replace(each, networks=LOOPBACK) for each in channels]
    said = repr(channels)
    with caplog.at_level(logging.DEBUG):
        for number in range(6):
            ledger.outbox.put([of_test(each, NOON + timedelta(seconds=number)) for each in channels], 99, NOON)
        for day in range(12):
            said += repr(round_at(ledger, NOON + timedelta(days=day), *channels))
        said += repr(send_once([of_test(each, NOON) for each in channels], {each.name: each for each in channels}))
        said += repr(ledger.outbox.kept(limit=99))
    ledger.close()
    assert receiver.asked and CANARY in receiver.asked[0].path
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"HTTP 4" in kept and CANARY.encode() not in kept
    out = capfd.readouterr()
    shown = "\n".join(f"{each.name} {each.levelname}" for each in caplog.records if CANARY in each.getMessage())
    assert shown == "" and CANARY not in out.out + out.err + said
