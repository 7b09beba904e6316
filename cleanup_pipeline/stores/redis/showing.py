"""What a pass over a Redis target sends, as text to read."""

from datetime import datetime

from cleanup_pipeline.model.target import ElementsExpiry, KeySource, MembersExpiry, NativeTtl, ScoreExpiry, Target
from cleanup_pipeline.stores.redis.containers import bounds_of
from cleanup_pipeline.stores.redis.rules import compile_rule, epoch_ms

_READ = {"set": "SSCAN {key} {cursor}", "hash": "HSCAN {key} {cursor}", "zset": "ZSCAN {key} {cursor}"}
_REMOVE = {"set": "SREM", "hash": "HDEL", "zset": "ZREM", "list": "LREM"}


def shown(target: Target, cutoff: datetime) -> list[tuple[str, str]]:
    """A title and the text of each command, in turn; what stands in braces differs from one to the next."""
    source = target.source
    assert isinstance(source, KeySource)  # noqa: S101 - a target of this store has no other
    scan = f"SCAN {{cursor}} MATCH {source.pattern} TYPE {source.key_type}"
    left = "".join(f", but for {pattern}" for pattern in source.exclude)
    commands = [(f"find keys{left}", scan)]
    match target.expiry:
        case NativeTtl():
            return [*commands, ("count those without TTL", "PTTL {key}")]
        case ScoreExpiry(members=None):
            low, high = bounds_of(target.expiry, cutoff)
            title = "in a script, find what is past its score, and remove it"
            return [*commands, (title, f"ZRANGEBYSCORE {{key}} {low} {high} LIMIT 0 250\nZREM {{key}} {{members}}")]
        case ScoreExpiry(members=MembersExpiry() as members):
            low, high = bounds_of(target.expiry, cutoff)
            return [*commands, *_by_member(source, members, f"ZRANGEBYSCORE {{key}} {low} {high} WITHSCORES")]
        case ElementsExpiry(members=members):
            exists = "".join(f"\nEXISTS {template}" for template in (members.keys if members else ()))
            title = f"read its JSON array and judge each element against {epoch_ms(cutoff)} (epoch ms)"
            last = "in a script, if the value is still the same, put what is left in its place"
            put = "SET {key} {the other elements} KEEPTTL\nor, when none is left, UNLINK {key}"
            change = f"GET {{key}}{exists}\n{put}"
            return [*commands, (title, f"GET {{key}}{exists}"), (last, change)]
        case MembersExpiry():
            read = _READ.get(source.key_type, "LRANGE {key} {from} {to}")
            return [*commands, *_by_member(source, target.expiry, read)]
        case _:
            rule = compile_rule(target)
            reads = "\n".join(f"{command.upper()} {{key}}" for command in ("pttl", *rule.reads))
            title = f"in a script, read each key and judge it against {epoch_ms(cutoff)} (epoch ms)"
            return [*commands, (title, reads), ("and remove, in the same script, what is over", "UNLINK {keys}")]


def _by_member(source: KeySource, members: MembersExpiry, read: str) -> list[tuple[str, str]]:
    exists = "\n".join(f"EXISTS {template}" for template in members.keys)
    times = " -1" if source.key_type == "list" else ""
    remove = f"{exists}\n{_REMOVE[source.key_type]} {{key}}{times} {{member as it was read}}"
    return [
        (f"read some of its members, written as {members.codec}", read),
        ("look for their keys", exists),
        ("in a script, look again, and remove those that have none", remove),
    ]
