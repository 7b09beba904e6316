"""Redis' own glob patterns over bytes, for the exclusions that are applied on this side of the wire.

Follows `stringmatchlen` of Redis (src/util.c): `*`, `?`, `[abc]`, `[a-z]` (either way round), `[^a]`, and a backslash
that takes the next byte literally, inside brackets too.
"""

import re
from functools import lru_cache

_SPECIAL = frozenset(b"*?[\\")


@lru_cache(maxsize=256)
def compile_glob(pattern: bytes) -> re.Pattern[bytes]:
    """A regular expression that matches what Redis would match, over the whole key."""
    runs: list[list[bytes]] = [[]]
    i = 0
    while i < len(pattern):
        byte = pattern[i]
        if byte == ord("["):
            members, i = _class(pattern, i + 1)
            runs[-1].append(members)
            continue
        if byte == ord("*"):
            runs.append([])
        elif byte == ord("?"):
            runs[-1].append(b".")
        else:
            if byte == ord("\\") and i + 1 < len(pattern):
                i += 1
            runs[-1].append(re.escape(pattern[i : i + 1]))
        i += 1
    first, *rest = [b"".join(run) for run in runs]
    if not rest:
        return re.compile(first, re.DOTALL)
    # Between two stars the first match will do, so it is never tried again: linear, as fnmatch does it.
    between = b"".join(b"(?>.*?" + run + b")" for run in rest[:-1])
    return re.compile(first + between + b".*" + rest[-1], re.DOTALL)


def _class(pattern: bytes, i: int) -> tuple[bytes, int]:
    """The bracket expression whose inside starts at `i`, and where the pattern goes on."""
    negated = pattern[i : i + 1] == b"^"
    i += negated
    members: set[int] = set()
    while i < len(pattern) and pattern[i] != ord("]"):
        if pattern[i] == ord("\\") and i + 1 < len(pattern):
            i += 1
            members.add(pattern[i])
        elif i + 2 < len(pattern) and pattern[i + 1] == ord("-"):
            low, high = sorted((pattern[i], pattern[i + 2]))
            members.update(range(low, high + 1))
            i += 2
        else:
            members.add(pattern[i])
        i += 1
    chosen = set(range(256)) - members if negated else members
    if not chosen:
        return b"(?!)", i + 1
    return b"[" + b"".join(b"\\x%02x" % member for member in sorted(chosen)) + b"]", i + 1


def matches(pattern: bytes, key: bytes) -> bool:
    """Whether Redis' MATCH with this pattern would name this key."""
    return compile_glob(pattern).fullmatch(key) is not None


def literal_bytes(pattern: bytes) -> int:
    """How many bytes of the pattern stand for themselves. 0: it matches every key, or nearly."""
    bare = re.sub(rb"\\(.)", rb"\1", re.sub(rb"\[[^\]]*\]?", b"", pattern))
    return sum(byte not in _SPECIAL for byte in bare)


def example(pattern: bytes, filler: bytes) -> bytes:
    """A key that the pattern matches, with `filler` in the place of its first star (or, without one, at its end)."""
    out: list[bytes] = []
    filled = False
    i = 0
    while i < len(pattern):
        byte = pattern[i]
        if byte == ord("["):
            members, i = _class(pattern, i + 1)
            member = re.compile(members, re.DOTALL)
            out.append(next((b for n in range(255, -1, -1) if member.fullmatch(b := bytes([n]))), b""))
            continue
        if byte == ord("*"):
            out.append(filler)
            filled = True
        elif byte == ord("?"):
            out.append(b"x")
        else:
            if byte == ord("\\") and i + 1 < len(pattern):
                i += 1
            out.append(pattern[i : i + 1])
        i += 1
    return b"".join(out) if filled else b"".join(out) + filler
