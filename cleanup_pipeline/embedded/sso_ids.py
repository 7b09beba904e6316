"""Identifiers as the sign-in service makes them: KSUIDs and JSON Web Tokens."""

import base64
import hashlib
import hmac
import json
import secrets
from datetime import datetime
from typing import Any

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_KSUID_EPOCH = 1_400_000_000
_SECRET = secrets.token_bytes(32)


def ksuid(made: datetime) -> str:
    """27 characters of base62: seconds since May 2014, then 16 random bytes (github.com/segmentio/ksuid)."""
    number = int.from_bytes((int(made.timestamp()) - _KSUID_EPOCH).to_bytes(4, "big") + secrets.token_bytes(16), "big")
    digits = ""
    for _ in range(27):
        number, digit = divmod(number, 62)
        digits = _ALPHABET[digit] + digits
    return digits


def jwt(user: str, made: datetime, expires: object) -> str:
    """A signed token (RFC 7519, HS256) with `exp` as given; None leaves the claim out."""
    claims: dict[str, Any] = {"sub": user, "iat": int(made.timestamp()), "jti": ksuid(made)}
    if expires is not None:
        claims["exp"] = expires
    signed = f"{_part({'alg': 'HS256', 'typ': 'JWT'})}.{_part(claims)}"
    return f"{signed}.{_encode(hmac.digest(_SECRET, signed.encode(), hashlib.sha256))}"


def _part(value: dict[str, Any]) -> str:
    return _encode(json.dumps(value, separators=(",", ":")).encode())


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
