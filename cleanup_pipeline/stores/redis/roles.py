"""A Redis ACL user that may do what some targets need, and nothing else, as commands for redis-cli."""

import re
from collections.abc import Sequence

from cleanup_pipeline.model.target import (
    ElementsExpiry,
    KeySource,
    MembersExpiry,
    MsgpackExpiry,
    PointerExpiry,
    ScoreExpiry,
    Target,
)
from cleanup_pipeline.model.words import Mode
from cleanup_pipeline.stores.redis.containers import is_container_rule
from cleanup_pipeline.stores.redis.members import glob_of
from cleanup_pipeline.stores.redis.rules import compile_rule

LEASES = "cleanup-pipeline:lease:*"
_ALWAYS = ("hello", "client|setname", "select", "ping", "info", "time", "scan", "type", "pttl")
_SCRIPTS = ("evalsha", "eval")
_LEASE = ("hset", "hget", "hgetall", "hdel", "hexists", "pexpireat", "del")
_CLUSTER = ("cluster|slots", "cluster|shards", "command", "asking")
_HEAD = """\
# The least that cleanup-pipeline needs of this server, from Redis 6.2 on. For an administrator:
#   grep -v '^#' THIS_FILE | redis-cli -h HOST
# then a password, and to keep it: ACL SETUSER cleanup >PASSWORD, ACL SAVE (or CONFIG REWRITE).
# Without a password nobody can log in. An ACL allows every command on every pattern of a user: where another team's
# keys lie in the same server, one user for each store of cleanup.yaml is the narrower way.
"""
_LATER = """\
# From Redis 7.2 and Valkey 7.2 on, so that a sweep makes no key look recently used; an older server refuses this line.
ACL SETUSER cleanup +client|no-touch
"""
_READ_ONLY = "# %R~ (keys that are only read) is known from Redis 7 on; on 6.2 write ~ in place of it.\n"


def role_script(targets: Sequence[Target], *, cluster: bool = False) -> str:
    """The commands. What they allow is what preflight asks for; nothing is asked of a server."""
    commands: list[str] = [*_ALWAYS, *_SCRIPTS, *_LEASE, *(_CLUSTER if cluster else ())]
    patterns: list[str] = [f"~{LEASES}"]
    lines = []
    for target in targets:
        source = target.source
        assert isinstance(source, KeySource)  # noqa: S101 - of this store's targets
        more, others = _of_members(target) if is_container_rule(target) else _of_keys(target, cluster=cluster)
        commands += more
        patterns += [f"~{source.pattern}", *others]
        dry = "" if target.mode is Mode.DELETE else " (in mode dry_run what removes could be left out)"
        lines.append(f"# {' '.join(target.name.split())}: {' '.join(more)}{dry}\n")
    written = list(dict.fromkeys(patterns))
    # What may be changed may be read.
    written = [each for each in written if not (each.startswith("%R~") and each[2:] in written)]
    # No pattern of an ACL holds a space; a glob that takes any one character in its place is the nearest there is.
    written = [re.sub(r"[\s\x00]", "?", each) for each in written]
    words = [*map(_quoted, written), "-@all", *(f"+{command}" for command in dict.fromkeys(commands))]
    note = _READ_ONLY if any(each.startswith("%R~") for each in written) else ""
    return f"{_HEAD}{note}{''.join(lines)}ACL SETUSER cleanup reset on {' '.join(words)}\n{_LATER}"


def _of_keys(target: Target, *, cluster: bool) -> tuple[list[str], list[str]]:
    rule = compile_rule(target)
    commands = [*rule.reads, "unlink", *(("pexpireat",) if rule.repairs else ())]
    read_only = []
    if isinstance(target.expiry, PointerExpiry):
        read_only.append(f"%R~{_literal(target.expiry.target_prefix)}*")
        commands += ["getrange", "set"] if cluster else []
    if isinstance(target.expiry, PointerExpiry | MsgpackExpiry):
        # What the client concluded is applied by a script that compares the value.
        commands += ["get", "strlen", "pexpireat"]
    if target.canaries is not None:
        kind = target.source.key_type if isinstance(target.source, KeySource) else "string"
        planting = {"hash": "hset", "set": "sadd", "zset": "zadd", "list": "rpush"}.get(kind, "set")
        commands += ["exists", planting, "pexpire"]
    if target.quarantine:
        # By `undo` alone.
        commands += ["exists", "restore"]
    return list(dict.fromkeys(commands)), read_only


def _of_members(target: Target) -> tuple[list[str], list[str]]:
    source, expiry = target.source, target.expiry
    assert isinstance(source, KeySource)  # noqa: S101 - of this store's targets
    kind = source.key_type
    commands: list[str] = []
    members = expiry if isinstance(expiry, MembersExpiry) else None
    if isinstance(expiry, ScoreExpiry):
        commands += ["zrangebyscore", "zcount"]
        members = expiry.members
    elif isinstance(expiry, ElementsExpiry):
        commands += ["strlen", "get"]
        members = expiry.members
    elif kind == "list":
        commands += ["llen", "lrange"]
    else:
        commands.append({"set": "sscan", "hash": "hscan", "zset": "zscan"}[kind])
    if source.required_fields:
        commands.append("hexists")
    # Of a string it is elements of a JSON array that go, and the key with the last of them.
    removing = {"set": ["srem"], "hash": ["hdel"], "zset": ["zrem"], "list": ["lrem"], "string": ["set", "unlink"]}
    commands += removing[kind]
    if members is None:
        return commands, []
    commands.append("exists")
    if kind == "zset":
        commands.append("zscore")
    # They are only read, but a script may be given no key that its user could not write.
    return commands, [f"~{glob_of(template)}" for template in members.keys]


def _literal(prefix: str) -> str:
    return re.sub(r"([*?\[\]\\])", r"\\\1", prefix)


def _quoted(word: str) -> str:
    """As redis-cli reads a word with anything but plain characters in it."""
    if re.fullmatch(r"[!#-&(-\[\]-~]+", word) and not word.startswith("#"):
        return word
    escaped = "".join(
        chr(byte) if 0x20 <= byte < 0x7F and chr(byte) not in '"\\' else f"\\x{byte:02x}"
        for byte in word.encode(errors="surrogateescape")
    )
    return f'"{escaped}"'
