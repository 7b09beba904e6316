"""Whether names are those of sessions or tokens, and which of them say when one ends."""

import re
from collections.abc import Iterable
from itertools import pairwise

_WORDS = frozenset(
    {"authcode", "jti", "jwt", "magiclink", "nonce", "oidc", "onetime", "otp", "passwordreset", "refresh", "sess"}
    | {"session", "sessionid", "sid", "sso", "token", "verification"}
)
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
EXPIRY = re.compile(
    r"(.*[._])?(exp|expir(es|y|ation|e)|expires?_?(at|on|date)|expire_?(at|date)|expiration_?(date|time)?|expiry_?(at|date|time)?"
    r"|valid_?(until|to)|not_?after|ends?_?at)",
    re.IGNORECASE,
)
"""Names of what says when a record ends."""
BEGINNING = re.compile(
    r"(created|issued|inserted|started|sent|last_?(seen|used|active|activity|access))_?(at|on|date|time)?|ctime|iat",
    re.IGNORECASE,
)
"""Names of what says when it began or was used."""


def speaks_of_sessions(*names: str) -> bool:
    """Whether one of the names has a word for sessions, tokens or what gets one."""
    for name in names:
        parts = [part.lower() for part in _PART.findall(name)]
        joined = {first + second for first, second in pairwise(parts)}
        if any(word in _WORDS or word.removesuffix("s") in _WORDS for word in {*parts, *joined}):
            return True
        # What is written as one word, such as accesstoken.
        if any(part.removesuffix("s").endswith(("token", "session")) for part in parts):
            return True
    return False


def is_session(fields: Iterable[str]) -> bool:
    """Whether a value with these fields or paths is a session or token of somebody, whatever its key is called.

    An account at another provider has tokens, too, and is for ever.
    """
    leaves = {path.rpartition(".")[2].replace("_", "").lower() for path in fields}
    if "provider" in leaves or "providerid" in leaves:
        return False
    whose = leaves & {"userid", "user", "uid", "sub", "subject", "accountid"}
    return bool(whose) and bool(
        leaves & {"sessionid", "sid", "jti", "sessiontoken", "refreshtoken", "refreshtokenhash"}
    )
