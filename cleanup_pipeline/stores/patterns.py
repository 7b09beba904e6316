"""Patterns of `model.members` as regular expressions that PostgreSQL and JavaScript read alike.

What a pattern means is what Python's fnmatchcase makes of it. JavaScript: with the flags `s` and `u`.
"""

import re
from collections.abc import Sequence

_NONE = "(?!.)."
"""Matches nothing."""


def is_name(pattern: str) -> bool:
    """Whether it stands for itself alone."""
    return not set(pattern) & set("*?[")


def any_of(patterns: Sequence[str]) -> str:
    """Matches the whole of a name that one of them stands for; of none, no name."""
    if not patterns:
        return _NONE
    return f"^(?:{'|'.join(map(_one, patterns))})$"


def _one(pattern: str) -> str:
    out, at = [], 0
    while at < len(pattern):
        char, at = pattern[at], at + 1
        if char == "[" and (end := _end(pattern, at)) is not None:
            out.append(_class(pattern[at:end]))
            at = end + 1
        else:
            out.append({"*": ".*", "?": "."}.get(char) or re.sub(r"[][^$\\.*+?(){}|]", r"\\\g<0>", char))
    return "".join(out)


def _end(pattern: str, start: int) -> int | None:
    """Where the bracket closes; a ] that comes first is one of its characters. None: it is no bracket."""
    first = start + (pattern[start : start + 1] == "!")
    end = pattern.find("]", first + 1)
    return None if end < 0 else end


def _class(inside: str) -> str:
    negated = inside.startswith("!")
    chars, at, out = inside[negated:], 0, []
    while at < len(chars):
        low = high = chars[at]
        at += 1
        if at + 1 < len(chars) and chars[at] == "-":
            high, at = chars[at + 1], at + 2
        if low <= high:
            out.append(_escaped(low) if low == high else f"{_escaped(low)}-{_escaped(high)}")
    if not out:
        return "." if negated else _NONE
    return f"[{'^' * negated}{''.join(out)}]"


def _escaped(char: str) -> str:
    """Of a bracket, in which the two languages escape different characters."""
    return char if char.isalnum() or ord(char) > 127 else f"\\u{ord(char):04x}"
