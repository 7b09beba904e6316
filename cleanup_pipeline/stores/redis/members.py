"""What a member of a set, sorted set or hash stands for: the keys that it names."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cleanup_pipeline.model.target import MembersExpiry
from cleanup_pipeline.stores.base import StoreError

Decode = Callable[[bytes], bytes | None]
_NAME = re.compile(r"\{([a-z_]+)\}")
_JAVA_STREAM = b"\xac\xed\x00\x05"


def _raw(member: bytes) -> bytes | None:
    # Java's serialization is never what a key is called, and taken for one, every member would look dangling.
    # Nor is a JSON string.
    quoted = len(member) > 1 and member[:1] == member[-1:] == b'"'
    return None if member.startswith(_JAVA_STREAM[:2]) or quoted else member


def _utf8(member: bytes) -> bytes | None:
    try:
        member.decode()
    except UnicodeDecodeError:
        return None
    return _raw(member)


def _json(member: bytes) -> bytes | None:
    try:
        value = json.loads(member)
    except (ValueError, RecursionError):
        return None
    return value.encode(errors="surrogatepass") if isinstance(value, str) else None


def _jdk(member: bytes) -> bytes | None:
    """TC_STRING of the Java Object Serialization Specification, section 6.4.2: 't', two bytes of length, the text."""
    start = len(_JAVA_STREAM)
    if member[: start + 1] != _JAVA_STREAM + b"t" or len(member) < start + 3:
        return None
    text = member[start + 3 :]
    return text if int.from_bytes(member[start + 1 : start + 3], "big") == len(text) else None


CODECS: Mapping[str, Decode] = {"raw": _raw, "utf8": _utf8, "json": _json, "jdk": _jdk}


@dataclass(frozen=True, slots=True)
class Members:
    """Reads members. `index` takes the container's key apart."""

    keys: tuple[str, ...]
    decode: Decode
    index: tuple[re.Pattern[bytes], ...] | None
    """The same template, read with the shortest and with the longest names."""

    def names(self, container: bytes) -> Mapping[str, bytes] | None:
        """The named parts of a container's key; None when the key is not written like that."""
        if self.index is None:
            return {}
        found = [pattern.fullmatch(container) for pattern in self.index]
        named = [match.groupdict() for match in found if match is not None]
        # One that fits in two ways could name somebody else's keys.
        return named[0] if named and all(one == named[0] for one in named) else None

    def keys_of(self, member: bytes, names: Mapping[str, bytes]) -> tuple[bytes, ...] | None:
        """The keys of which one has to exist; None for a member that cannot be read."""
        text = self.decode(member)
        if not text:
            return None
        return tuple(_filled(template, {**names, "member": text}) for template in self.keys)

    def examples(self, nobody: bytes) -> tuple[bytes, ...]:
        """Keys that the templates could name, for a member that cannot exist."""
        names = {name: nobody for template in self.keys for name in _NAME.findall(template)}
        return tuple(_filled(template, names) for template in self.keys)


def compile_members(expiry: MembersExpiry, place: str) -> Members:
    """Raises StoreError for a template that names no member, or something that the index does not have."""
    names = set(_NAME.findall(expiry.index or ""))
    for template in expiry.keys:
        used = set(_NAME.findall(template))
        if not used or not used <= names | {"member"}:
            raise StoreError(
                f"{template} has to hold {{member}} or a name of `index`, and nothing else in braces",
                setting=place,
                remedy="write it like session:{member}",
            )
    if expiry.codec not in CODECS:
        raise StoreError(
            f"{expiry.codec} is no way to write a member", setting=place, remedy=f"use {', '.join(CODECS)}"
        )
    return Members(expiry.keys, CODECS[expiry.codec], None if expiry.index is None else _reader(expiry.index))


def glob_of(template: str) -> str:
    """The pattern of the keys that a template can name."""
    return "*".join(re.sub(r"([*?\[\]\\])", r"\\\1", part) for part in _NAME.split(template)[::2])


def _reader(template: str) -> tuple[re.Pattern[bytes], ...]:
    parts = _NAME.split(template)
    patterns = [
        "".join(f"(?P<{p}>{some})" if n % 2 else re.escape(p) for n, p in enumerate(parts)) for some in (".+?", ".+")
    ]
    return tuple(re.compile(pattern.encode(), re.DOTALL) for pattern in patterns)


def _filled(template: str, names: Mapping[str, bytes]) -> bytes:
    parts = _NAME.split(template)
    return b"".join(names[part] if n % 2 else part.encode() for n, part in enumerate(parts))
