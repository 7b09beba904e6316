"""What a Redis login may do beside what a target needs, and what it lacks. Asks, and changes nothing."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from redis.exceptions import NoPermissionError, NoScriptError, ResponseError

from cleanup_pipeline.model.plan import Finding
from cleanup_pipeline.model.target import KeySource
from cleanup_pipeline.model.words import Severity
from cleanup_pipeline.stores.redis.connection import Client, primaries, send
from cleanup_pipeline.stores.redis.leases import PREFIX
from cleanup_pipeline.stores.redis.scripts import load_script

Probe = tuple[str | bytes | int, ...]

CONNECTING = ("hello", "ping", "time", "client|setname", "info")
"""What every login of the cleaner sends, whatever the target; `info` for the load and `check`."""
DANGEROUS = ("flushall", "flushdb", "shutdown", "config", "debug", "keys", "replicaof", "acl", "swapdb", "module")
_CALL = re.compile(r"redis\.call\(['\"]([A-Za-z]+)")
ON_THE_SERVER = frozenset({"time", "scan"})
"""Commands that name no key."""


@dataclass(frozen=True, slots=True)
class Login:
    """What ACL GETUSER says of the login."""

    name: str
    commands: tuple[str, ...]
    """Rules, such as +@all or -flushall, in their order."""
    keys: tuple[str, ...]
    """Patterns with what goes before them, such as ~* or %R~session:*."""


def rights(client: Client, source: KeySource, tried: Sequence[Probe], changes: Sequence[Probe]) -> Iterator[Finding]:
    """Findings about the login. `tried` are commands on a key that cannot exist; `changes` are only named, those of a
    pass that deletes."""
    lacking = _lacking(client, tried)
    needed = needs([*tried, *changes])
    own = f"~{source.pattern} ~{PREFIX}*"
    login = _login(client)
    name = login.name if login else "LOGIN"
    if lacking:
        remedy = f"ACL SETUSER {name} {' '.join(f'+{command}' for command in lacking)} {own}"
        what = f"the login may not send {', '.join(lacking)} on keys of {source.pattern}"
        seen = "each was tried on a key that does not exist"
        yield Finding(Severity.ERROR, what, remedy, seen, code="redis.rights-lacking")
    if login is None:
        what = "what else the login may do is unknown, as it may not ask"
        remedy = "nothing to do, or ACL GETUSER by somebody who may"
        yield Finding(Severity.INFO, what, remedy, "ACL WHOAMI, ACL GETUSER", code="redis.rights-unknown")
        return
    more = excess(login, source)
    if more:
        minimal = f"ACL SETUSER cleanup on >PASSWORD resetkeys {own} nocommands {' '.join(f'+{c}' for c in needed)}"
        what = f"login {login.name} may do more than this target needs: {'; '.join(more)}"
        evidence = f"{' '.join(login.commands)} {' '.join(login.keys)}"
        yield Finding(Severity.INFO, what, minimal, evidence, code="redis.rights-excess")
    else:
        what = f"login {login.name} may do little more than this target needs"
        yield Finding(Severity.INFO, what, "", " ".join(login.keys), code="redis.rights-fit")


def needs(probes: Sequence[Probe]) -> list[str]:
    """Commands that a login has to have for a target, and for its lease."""
    tried = {str(probe[0]).lower() for probe in probes}
    lease = {command.lower() for command in _CALL.findall(load_script("lease").source)}
    return sorted({*CONNECTING, *tried, *lease, "evalsha", "eval"})


def excess(login: Login, source: KeySource) -> list[str]:
    """What a login may do that no pass over these keys needs, as phrases."""
    found = []
    allowed = [command for command in DANGEROUS if _allows(login.commands, command)]
    if "+@all" in login.commands:
        but = ", ".join(command for command in DANGEROUS if command not in allowed)
        found.append(f"every command but {but}" if but else "every command")
    elif allowed:
        found.append(", ".join(allowed))
    wide = [pattern for pattern in login.keys if pattern.partition("~")[2] == "*" and source.pattern != "*"]
    if wide:
        found.append("on every key")
    return found


def _allows(rules: Sequence[str], command: str) -> bool:
    """As the server reads them: the last rule that is about the command counts."""
    about = {"@all", "@dangerous", command} | ({"@keyspace"} if command == "keys" else {"@admin"})
    last = next((rule for rule in reversed(rules) if rule[1:] in about), "-")
    return last.startswith("+")


def _lacking(client: Client, probes: Sequence[Probe]) -> list[str]:
    node, missing = primaries(client)[0], []
    for probe in probes:
        command = str(probe[0]).lower()
        try:
            send(client, *probe, node=node if command in ON_THE_SERVER else "")
        except NoPermissionError:
            missing.append(command)
        except (NoScriptError, ResponseError):
            # It was let through, which was the question.
            continue
    return list(dict.fromkeys(missing))


def _login(client: Client) -> Login | None:
    node = primaries(client)[0]
    try:
        name = _text(send(client, "ACL", "WHOAMI", node=node))
        answer: Any = send(client, "ACL", "GETUSER", name, node=node)
    except (NoPermissionError, ResponseError):
        return None
    if not isinstance(answer, dict):
        answer = dict(zip(map(_text, answer[::2]), answer[1::2], strict=True))
    said = {_text(key): value for key, value in answer.items()}
    # redis-py takes categories out of the commands, if it knows the answer.
    commands = (*_words(said.get("categories", ())), *_words(said.get("commands", ())))
    return Login(name, commands, _words(said.get("keys", ())))


def _words(value: Any) -> tuple[str, ...]:
    """Of a list, as old servers answer, or of one text."""
    if isinstance(value, list | tuple):
        return tuple(word for each in value for word in _text(each).split())
    return tuple(_text(value).split())


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
