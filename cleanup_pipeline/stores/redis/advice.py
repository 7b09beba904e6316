"""Whether Redis could remove a target's keys by itself: it does, as soon as they have a TTL."""

from cleanup_pipeline.model.advice import Advice, Native, Step, Way
from cleanup_pipeline.model.plan import Census
from cleanup_pipeline.model.target import (
    HashFieldExpiry,
    JsonExpiry,
    JwtKeyExpiry,
    KeySource,
    MembersExpiry,
    MsgpackExpiry,
    NativeTtl,
    PointerExpiry,
    ScoreExpiry,
    Target,
    ValueExpiry,
)
from cleanup_pipeline.model.words import EpochUnit
from cleanup_pipeline.stores.redis.glob import example

_LOSES = (
    "a TTL that is set too early logs people out, and nobody is told",
    "what loses its TTL later (SET without KEEPTTL, PERSIST, RENAME) stays for ever, unless a pass looks",
)


def advise(target: Target, census: Census) -> Advice:
    """What the server could do; the census says how much is without a TTL."""
    against = _against(target)
    if against:
        return Advice(target.name, Native.NO, (against,), backlog=census.expired)
    bare = census.details.get("live_without_ttl", 0)
    dead = census.details.get("expired_without_ttl", 0)
    never = census.without_expiry or 0
    if isinstance(target.expiry, NativeTtl):
        why = [f"keys go by their own TTL; {never:,} have none and stay for ever"]
        if never:
            why.append("nothing in them says when they die: whoever writes them has to give them a TTL")
        return Advice(target.name, Native.CHANGE_FIRST if never else Native.WORKS, tuple(why), backlog=census.expired)
    seen = f"{bare:,} live and {dead:,} expired keys have no TTL"
    if census.exact and not bare and not dead and (census.live or census.expired):
        why = [
            "every key that has an expiry has a TTL as well",
            f"this target can be an audit: targets.{target.name}.mode: dry_run",
        ]
        return Advice(target.name, Native.WORKS, tuple(why), backlog=census.expired)
    repairs = not isinstance(target.expiry, HashFieldExpiry) or target.expiry.repair_ttl
    steps = [
        Step("remove what is dead and has no TTL, gently", f"cleanup-pipeline run {target.pass_name}"),
        Step("in the writer, each time it writes or prolongs a key, in one MULTI with that", _writer(target)),
    ]
    if repairs:
        steps.append(Step("passes give a live key that has no TTL the one of its value, plus `grace`"))
    else:
        steps.append(
            Step(
                f"for keys that are there: set targets.{target.name}.expires.repair_ttl: true, if the application sets"
                " the TTL again whenever it prolongs the hash"
            )
        )
    steps.append(Step("see it work: this says so once it does", f"cleanup-pipeline advise {target.name}"))
    way = Way("EXPIRE in the writer", tuple(steps), _LOSES)
    return Advice(target.name, Native.POSSIBLE, (seen,), (way,), census.expired)


def _against(target: Target) -> str | None:
    match target.expiry:
        case MembersExpiry() | ScoreExpiry():
            return "what dies are members of a key that stays, and Redis gives a TTL to whole keys"
        case PointerExpiry():
            return "a pointer dies with its record or when another one takes its place, which no TTL knows"
        case _:
            return None


def _writer(target: Target) -> str:
    source = target.source
    assert isinstance(source, KeySource)  # noqa: S101 - the target is one of this store
    key = _quoted(example(source.pattern.encode(), b"ID").decode(errors="replace"))
    grace = int(target.grace.total_seconds())
    match target.expiry:
        case HashFieldExpiry(unit=unit) | ValueExpiry(unit=unit):
            pass
        case JsonExpiry(unit=found) | MsgpackExpiry(unit=found):
            unit = found or EpochUnit.SECONDS
        case JwtKeyExpiry():
            unit = EpochUnit.SECONDS
        case _:
            unit = EpochUnit.SECONDS
    if unit is EpochUnit.MILLISECONDS:
        return f"PEXPIREAT {key} EXPIRY" + (f"+{grace * 1000}" if grace else "")
    return f"EXPIREAT {key} EXPIRY" + (f"+{grace}" if grace else "")


def _quoted(key: str) -> str:
    """As redis-cli reads it."""
    plain = key.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{plain}"'
