"""MessagePack as far as an expiry needs it: https://github.com/msgpack/msgpack/blob/master/spec.md."""

import struct
from datetime import UTC, datetime, timedelta
from typing import Any

_DEEPEST = 64
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SCALARS = {
    0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q",
    0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q",
}  # fmt: skip
_LENGTHS = {
    0xC4: (1, "bin"), 0xC5: (2, "bin"), 0xC6: (4, "bin"), 0xC7: (1, "ext"), 0xC8: (2, "ext"), 0xC9: (4, "ext"),
    0xD9: (1, "str"), 0xDA: (2, "str"), 0xDB: (4, "str"),
    0xDC: (2, "array"), 0xDD: (4, "array"), 0xDE: (2, "map"), 0xDF: (4, "map"),
}  # fmt: skip
_FIXED_EXT = {0xD4: 1, 0xD5: 2, 0xD6: 4, 0xD7: 8, 0xD8: 16}
_WORDS: dict[int, bool | None] = {0xC0: None, 0xC2: False, 0xC3: True}


def unpack(data: bytes) -> Any:
    """The one value that `data` holds. A timestamp is a datetime in UTC, another extension its bytes.

    Raises ValueError for anything that is not exactly one value.
    """
    reader = _Reader(data)
    try:
        value = reader.value(0)
    except (struct.error, IndexError, OverflowError, TypeError) as fault:
        raise ValueError("not MessagePack") from fault
    if reader.at != len(data):
        raise ValueError("more than one value")
    return value


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def value(self, depth: int) -> Any:
        if depth > _DEEPEST:
            raise ValueError("nested too deeply")
        head = self._take(1)[0]
        if head <= 0x7F:
            return head
        if head >= 0xE0:
            return head - 0x100
        if head <= 0x8F:
            return self._sized("map", head & 0x0F, depth)
        if head <= 0x9F:
            return self._sized("array", head & 0x0F, depth)
        if head <= 0xBF:
            return self._sized("str", head & 0x1F, depth)
        if head in _WORDS:
            return _WORDS[head]
        if head in _SCALARS:
            form = _SCALARS[head]
            return struct.unpack(form, self._take(struct.calcsize(form)))[0]
        if head in _FIXED_EXT:
            return self._sized("ext", _FIXED_EXT[head], depth)
        if head in _LENGTHS:
            size, kind = _LENGTHS[head]
            return self._sized(kind, int.from_bytes(self._take(size), "big"), depth)
        raise ValueError("not MessagePack")

    def _sized(self, kind: str, length: int, depth: int) -> Any:
        if kind == "map":
            return {self.value(depth + 1): self.value(depth + 1) for _ in range(length)}
        if kind == "array":
            return tuple(self.value(depth + 1) for _ in range(length))
        if kind == "ext":
            code = struct.unpack(">b", self._take(1))[0]
            payload = self._take(length)
            return _timestamp(payload) if code == -1 else payload
        data = self._take(length)
        return data.decode() if kind == "str" else data

    def _take(self, length: int) -> bytes:
        taken = self.data[self.at : self.at + length]
        if len(taken) != length:
            raise ValueError("cut off")
        self.at += length
        return taken


def _timestamp(payload: bytes) -> datetime:
    """Extension -1, in its three sizes."""
    if len(payload) == 4:
        seconds, nanoseconds = int.from_bytes(payload, "big"), 0
    elif len(payload) == 8:
        both = int.from_bytes(payload, "big")
        seconds, nanoseconds = both & 0x3FFFFFFFF, both >> 34
    elif len(payload) == 12:
        nanoseconds, seconds = struct.unpack(">Iq", payload)
    else:
        raise ValueError("no timestamp")
    return _EPOCH + timedelta(seconds=seconds, microseconds=nanoseconds // 1000)
