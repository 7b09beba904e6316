"""Keys that only the environment knows: for hashes of identifiers, and for what is kept encrypted.

The first of several is the one that is written with; the others are those that were, so that a key can be changed.
"""

import hashlib
import hmac
import re
from dataclasses import dataclass, field

SHORTEST = 32
"""Characters: a key of 32 random bytes in Base64 has 44, one of 16 in hexadecimal 32."""


@dataclass(frozen=True, slots=True)
class SecretKey:
    """One key."""

    id: str
    """Eight hexadecimal digits that say which one it is, and nothing else of it."""
    material: bytes = field(repr=False)


def read_keys(text: str) -> tuple[SecretKey, ...]:
    """The keys in a text, with commas or spaces between them. Raises ValueError, without any of the text."""
    words = [word for word in re.split(r"[\s,]+", text) if word]
    if not words:
        raise ValueError("no key")
    if any(len(word) < SHORTEST for word in words):
        raise ValueError(f"a key of less than {SHORTEST} characters")
    if any(len(set(word)) < 8 for word in words):
        raise ValueError("a key of a few characters, over and over")
    return tuple(SecretKey(_id(word.encode()), word.encode()) for word in words)


def _id(material: bytes) -> str:
    return hmac.digest(material, b"cleanup-pipeline: which key", "sha256").hex()[:8]


def derived(key: SecretKey, purpose: bytes) -> bytes:
    """32 bytes for one purpose. One step of HKDF-Expand with SHA-256 (RFC 5869, section 2.3)."""
    return hmac.digest(key.material, purpose + b"\x01", hashlib.sha256)
