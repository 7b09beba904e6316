"""Which kinds of records count as sessions, which as verification tokens, and which as tokens that are revoked."""

import re
from enum import StrEnum

_PROVES = {
    *("verification", "verify", "confirmation", "confirm", "activation", "activate", "invitation", "invite"),
    *("reset", "magic", "otp", "onetime"),
}
_REVOKED = {"revoked", "revocation", "denied", "denylist", "blocklist", "blacklist", "blacklisted"}


class Family(StrEnum):
    """One of the two counters of deleted records."""

    SESSIONS = "sessions"
    VERIFICATION_TOKENS = "verification_tokens"


def family(kind: str) -> Family:
    """A verification token proves something once, by a link or a code; everything else belongs to a session.

    `verification_token`, `password_reset_token`, `email_confirmation`, `magic_link`, `otp` are verification tokens, by
    the words in their names. `session`, `refresh_token`, `revoked_token` and every kind that nobody foresaw count as
    sessions, so that each deleted record is in one of the two.
    """
    return Family.VERIFICATION_TOKENS if _PROVES & _words(kind) else Family.SESSIONS


def ends_a_token(kind: str) -> bool:
    """True where a record is itself the right that expired, so that removing it revokes that.

    False for entries of a list of revoked tokens: those were revoked before, by a logout or for a theft.
    """
    return not _REVOKED & _words(kind)


def _words(kind: str) -> set[str]:
    return set(re.split(r"[^a-z0-9]+", kind.lower().replace("one_time", "onetime")))
