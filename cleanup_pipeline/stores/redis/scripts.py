"""Running a script on the server, or, in a cluster, once for each slot."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from redis.crc import key_slot
from redis.exceptions import NoScriptError

from cleanup_pipeline.stores.redis.connection import Client, send, send_all

Argument = str | int | bytes


@dataclass(frozen=True, slots=True)
class Script:
    """A script as the server caches it."""

    source: str
    sha: str


@cache
def load_script(*names: str) -> Script:
    """The script made of these .lua files, one after the other. One that removes records begins with `fence`."""
    folder = files(__package__) / "lua"
    source = "\n".join((folder / f"{name}.lua").read_text("utf-8") for name in names)
    return Script(source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


@dataclass(frozen=True, slots=True)
class Fence:
    """The lease under which a script may remove something; see lua/fence.lua."""

    key: bytes
    """Empty: the script cannot look it up, and goes by `until` alone."""
    token: str
    until: str
    """Epoch ms by the server's clock. Empty: there is no lease."""

    @property
    def words(self) -> tuple[Argument, ...]:
        """The end of ARGV."""
        return (self.key, self.token, self.until)


NO_FENCE = Fence(b"", "", "")


@dataclass(frozen=True, slots=True)
class Call:
    """One run of a script. All keys of one slot, where there are slots."""

    keys: Sequence[bytes]
    arguments: Sequence[Argument]


def run_script(
    client: Client, script: Script, keys: Sequence[bytes], arguments: Sequence[Argument], *, fence: Fence | None
) -> Any:
    """EVALSHA, or EVAL where the server has forgotten the script, as it may at any time.

    `fence` is None for the one script that has none, that of the leases themselves.
    """
    words = [*arguments, *(fence.words if fence else ())]
    try:
        return send(client, "EVALSHA", script.sha, len(keys), *keys, *words)
    except NoScriptError:
        return send(client, "EVAL", script.source, len(keys), *keys, *words)


def run_scripts(client: Client, script: Script, calls: Sequence[Call], *, fence: Fence) -> list[Any]:
    """The answers to several runs that are sent together. Another client may come in between any two of them.

    Raises the first fault, after all of them have run.
    """
    answers = answers_of(client, script, calls, fence=fence)
    raise_first(answers)
    return answers


def raise_first(answers: Sequence[Any]) -> None:
    """Raise the first fault among answers, if there is one."""
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer


def answers_of(client: Client, script: Script, calls: Sequence[Call], *, fence: Fence) -> list[Any]:
    """As `run_scripts`, with the faults among the answers."""
    if not calls:
        return []
    answers = send_all(
        client, [("EVALSHA", script.sha, len(c.keys), *c.keys, *c.arguments, *fence.words) for c in calls]
    )
    for number, call in enumerate(calls):
        if isinstance(answers[number], NoScriptError):
            answers[number] = run_script(client, script, call.keys, call.arguments, fence=fence)
    return answers


def run_script_by_slot(
    client: Client, script: Script, keys: Sequence[bytes], arguments: Sequence[Argument], *, fence: Fence
) -> list[tuple[list[bytes], Any]]:
    """One run for each slot that the keys lie in, each with its keys."""
    slots: dict[int, list[bytes]] = {}
    for key in keys:
        slots.setdefault(key_slot(key), []).append(key)
    answers = run_scripts(client, script, [Call(group, arguments) for group in slots.values()], fence=fence)
    return list(zip(slots.values(), answers, strict=True))
