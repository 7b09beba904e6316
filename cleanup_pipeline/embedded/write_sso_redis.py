"""Sessions, refresh pointers and revoked tokens as rshelekhov/sso (commit 4332f77) leaves them in Redis.

Among them what its write sequence leaves behind when it is cut short: it writes HSET, SET, EXPIREAT, EXPIREAT, without
a transaction.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import redis

from cleanup_pipeline.embedded.manifest import Record, gone, repaired, stay
from cleanup_pipeline.embedded.sso_ids import jwt, ksuid

SESSIONS, POINTERS, REVOKED, LEGACY = (
    "sso_sessions",
    "sso_refresh_index",
    "sso_revoked_tokens",
    "flask_sessions_redis",
)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
LIFETIME = 30 * DAY
UNREADABLE = ("soon", "2020-01-01T00:00:00Z", " ", "1e9", "NaN", "3600", "0x5f5e100", "never")


@dataclass(frozen=True)
class _Session:
    key: str
    token: str
    dies: datetime

    @property
    def pointer(self) -> str:
        return f"refresh_index:{self.token}"


def write_sso_redis(url: str) -> list[Record]:
    """Write everything to the database of `url`."""
    with redis.Redis.from_url(url) as client:
        writer = _Writer(client.pipeline(transaction=False))
        records = writer.ordinary() + writer.cut_short() + writer.unreadable() + writer.other_pointers()
        records += writer.revoked() + writer.strangers()
        writer.pipe.execute()
    return records


class _Writer:
    def __init__(self, pipe: Any) -> None:
        self.pipe = pipe
        self.now = datetime.now(UTC)

    def session(self, dies: datetime, *, ttl: datetime | None, expires_at: str | None = "", **more: str) -> _Session:
        """A session and its pointer, both with a TTL until `ttl`, or without one.

        `expires_at` is `dies` if empty, and left out if None.
        """
        made = dies - LIFETIME
        user, device = ksuid(made), ksuid(made)
        found = _Session(f"session:{user}:{device}", ksuid(made), dies)
        fields = {"client_id": "2a" + "b" * 25, "user_id": user, "device_id": device, "refresh_token": found.token}
        fields["created_at"] = _seconds(made)
        if expires_at is not None:
            fields["expires_at"] = expires_at or _seconds(dies)
        self.pipe.hset(found.key, mapping=fields | more)
        self.pointer(found.pointer, found.key, ttl)
        if ttl:
            self.pipe.expireat(found.key, ttl)
        return found

    def pointer(self, key: str, value: str, ttl: datetime | None) -> str:
        self.pipe.set(key, value)
        if ttl:
            self.pipe.expireat(key, ttl)
        return key

    def ordinary(self) -> list[Record]:
        """What a healthy service writes, and the pointers of earlier sign-ins from the same device."""
        records: list[Record] = []
        for n in range(240):
            dies = self.now + 2 * HOUR + n * timedelta(minutes=157)
            found = self.session(dies, ttl=dies)
            records += _both(stay, found, "live", "live_pointer")
            # A sign-in from a known device keeps the session's key: the older pointers go on naming it.
            for _ in range(n % 3 if n < 120 else 0):
                older = f"refresh_index:{ksuid(self.now - DAY)}"
                ttl = dies if n % 2 else None
                records += gone(POINTERS, [self.pointer(older, found.key, ttl)], "superseded_pointer")
        return records

    def cut_short(self) -> list[Record]:
        """Keys without the TTL that they should have, or with one that does not agree with `expires_at`."""
        records: list[Record] = []
        for n in range(220):
            found = self.session(self.now - HOUR - n * timedelta(minutes=83), ttl=None)
            records += _both(gone, found, "expired", "session_expired")
        for n in range(80):
            found = self.session(self.now - HOUR - n * HOUR, ttl=self.now + 10 * DAY)
            records += _both(gone, found, "expired_before_ttl", "session_expired")
        for n in range(60):
            dies = self.now + 2 * HOUR + n * HOUR
            found = self.session(dies, ttl=None)
            records += repaired(SESSIONS, [found.key], dies) + repaired(POINTERS, [found.pointer], dies)
        for _ in range(40):
            found = self.session(self.now + 20 * DAY, ttl=None)
            # HSET of a new sign-in keeps the TTL of the old one, and the EXPIREAT after it never came.
            self.pipe.expireat(found.key, self.now + 3 * HOUR)
            records += stay(SESSIONS, [found.key], "ttl_shorter_than_expiry")
            records += repaired(POINTERS, [found.pointer], found.dies)
        return records

    def unreadable(self) -> list[Record]:
        """Sessions that do not say when they die; the service itself would read them as 1970."""
        records: list[Record] = []
        past, future = self.now - 40 * DAY, self.now + 5 * DAY
        for text in UNREADABLE:
            for ttl in (None, future):
                found = self.session(past, ttl=ttl, expires_at=text)
                records += _both(stay, found, "unparsable", "unparsable")
        for missing in ("0", "-62135596800", None):
            found = self.session(past, ttl=None, expires_at=missing)
            records += _both(stay, found, "never_expires" if missing is None else "zero_date", "unparsable")
        nobody = self.session(past, ttl=None, expires_at="soon", refresh_token="")
        records += stay(SESSIONS, [nobody.key], "unparsable") + gone(POINTERS, [nobody.pointer], "superseded_pointer")
        return records

    def other_pointers(self) -> list[Record]:
        """Pointers to sessions that are gone, and pointers whose value is none."""
        token = [ksuid(self.now - DAY) for _ in range(94)]
        records: list[Record] = []
        for n in range(90):
            nowhere = f"session:{ksuid(self.now)}:{ksuid(self.now)}"
            ttl = self.now + DAY if n % 2 else None
            records += gone(POINTERS, [self.pointer(f"refresh_index:{token[n]}", nowhere, ttl)], "dangling_pointer")
        for n, value in enumerate(("", "revoked", f"sess:{token[0]}", ksuid(self.now)), start=90):
            records += stay(POINTERS, [self.pointer(f"refresh_index:{token[n]}", value, None)], "unparsable")
        return records

    def revoked(self) -> list[Record]:
        """Access tokens that were revoked: the entry matters until the token itself expires."""
        records: list[Record] = []
        for n in range(120):
            dead = self.revoke(jwt(ksuid(self.now), self.now - DAY, int((self.now - HOUR * (1 + n)).timestamp())))
            if n % 3 == 0:
                self.pipe.expireat(dead, self.now + DAY)
            records += gone(REVOKED, [dead], "expired" if n % 3 else "expired_before_ttl")
            dies = self.now + HOUR * (2 + n)
            alive = self.revoke(jwt(ksuid(self.now), self.now, int(dies.timestamp())))
            if n % 3 == 0:
                self.pipe.expireat(alive, self.now + 200 * HOUR)
            records += repaired(REVOKED, [alive], dies) if n % 3 else stay(REVOKED, [alive], "live")
        past = int((self.now - DAY).timestamp())
        garbage = ["garbage", "a.b.c", f"{jwt('u', self.now, past)}.more", jwt("u", self.now, "yesterday")]
        records += stay(REVOKED, [self.revoke(token) for token in garbage], "unparsable")
        records += stay(REVOKED, [self.revoke(jwt("u", self.now, None))], "never_expires")
        records += stay(REVOKED, [self.revoke(jwt("u", self.now, 0))], "zero_date")
        return records

    def revoke(self, token: str) -> str:
        key = f"revoked_token:{token}"
        self.pipe.set(key, "revoked")
        return key

    def strangers(self) -> list[Record]:
        """Keys of other layouts under the same prefixes."""
        made = self.now - 60 * DAY
        old = [f"session:{ksuid(made)}" for _ in range(20)]
        for key in old:
            self.pipe.set(key, '{"user_id":"' + ksuid(made) + '","expires_at":"2020-01-01T00:00:00Z"}')
        records = stay(LEGACY, old, "other_layout")
        # A pointer to one of them says nothing about when it dies.
        records += stay(POINTERS, [self.pointer(f"refresh_index:{old[0][8:]}", old[0], None)], "unparsable")
        text = [f"session:{ksuid(made)}:{ksuid(made)}" for _ in range(5)]
        for key in text:
            self.pipe.set(key, _seconds(made))
        hashes = [f"{prefix}{ksuid(made)}" for prefix in ("refresh_index:", "revoked_token:")]
        for key in hashes:
            self.pipe.hset(key, mapping={"expires_at": _seconds(made)})
        records += stay(SESSIONS, text, "other_type")
        records += stay(POINTERS, hashes[:1], "other_type") + stay(REVOKED, hashes[1:], "other_type")
        return records


def _both(fate: Any, found: _Session, session: str, pointer: str) -> list[Record]:
    records: list[Record] = fate(SESSIONS, [found.key], session)
    records += fate(POINTERS, [found.pointer], pointer)
    return records


def _seconds(instant: datetime) -> str:
    return str(int(instant.timestamp()))
