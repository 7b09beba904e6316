"""Keyed hashes of identifiers and owners: HMAC-SHA-256 (RFC 2104, FIPS 198-1), cut to 96 bits.

Two of 100 million hashes are equal by chance once in 10^13 times. Without the key nobody can tell whether a guessed
identifier is among them.
"""

import hashlib
from functools import lru_cache

from cleanup_pipeline.model.secret_keys import SecretKey, derived

LENGTH = 12
"""Bytes."""
_BLOCK = 64

try:
    from _sha2 import sha256 as _sha256  # type: ignore[import-not-found,unused-ignore]
except ImportError:
    try:
        # The one that comes with CPython costs half of OpenSSL's on texts as short as these.
        from _sha256 import sha256 as _sha256  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        _sha256 = hashlib.sha256


class Hasher:
    """Hashes under one key and for one purpose. The key and the purpose are absorbed once."""

    def __init__(self, key: SecretKey, purpose: str) -> None:
        secret = derived(key, b"cleanup-pipeline: removal ledger").ljust(_BLOCK, b"\0")
        self._inner = _sha256(bytes(byte ^ 0x36 for byte in secret) + purpose.encode() + b"\0").copy
        self._outer = _sha256(bytes(byte ^ 0x5C for byte in secret)).copy

    def __call__(self, text: bytes) -> bytes:
        """The hash of one identifier."""
        inner, outer = self._inner(), self._outer()
        inner.update(text)
        outer.update(inner.digest())
        digest: bytes = outer.digest()
        return digest[:LENGTH]


@lru_cache(maxsize=64)
def of_records(key: SecretKey, target: str) -> Hasher:
    """For identifiers of a target's records."""
    return Hasher(key, f"record of {target}")


@lru_cache(maxsize=16)
def of_owners(key: SecretKey) -> Hasher:
    """For owners, the same in all targets, so that one can be erased from all of them."""
    return Hasher(key, "owner")
