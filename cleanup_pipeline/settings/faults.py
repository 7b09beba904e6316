"""What is wrong with the settings, said so that it can be put right, and never with a secret in it."""

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

Path = tuple[str, ...]
"""Where in the document: the keys from the top."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong. All texts are free of secrets and one line long."""

    path: str
    """Such as `targets.reset_links.expires.column`; empty when the fault is the file's as a whole."""
    found: str
    expected: str
    nearest: str | None = None
    """The right name that is most like the wrong one."""
    remedy: str = ""

    def __str__(self) -> str:
        text = f"found {self.found}, expected {self.expected}"
        if self.path:
            text = f"{self.path}: {text}"
        if self.nearest:
            text += f"; did you mean {self.nearest}?"
        if self.remedy:
            text += f"; {self.remedy}"
        return text


class SettingsError(Exception):
    """The settings cannot be used. Holds every fault that was found, not only the first."""

    def __init__(self, source: str, faults: Sequence[Fault]) -> None:
        self.source = source
        self.faults = tuple(faults)
        count = "1 fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
        super().__init__("\n  ".join([f"{source}: {count}, nothing is cleaned:", *map(str, self.faults)]))


class FromEnvironment(str):
    """Text that came, in whole or in part, out of environment variables or a file named for its secret."""

    names: tuple[str, ...]
    """The variables."""
    literal: str
    """The text as it would be if all that came from outside were NUL characters."""

    def __new__(cls, value: str, names: Sequence[str], literal: str) -> "FromEnvironment":
        made = super().__new__(cls, value)
        made.names = tuple(names)
        made.literal = literal
        return made


_LONGEST_SHOWN = 60


def show(value: Any) -> str:
    """A value as a fault may name it: short, and only when it can hardly be a secret."""
    if value is None:
        return "nothing"
    if isinstance(value, FromEnvironment) and not value.names:
        return "the content of a file"
    if isinstance(value, FromEnvironment):
        return f"the value of {' and '.join(f'${{{name}}}' for name in value.names)}"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        text = str(value) if isinstance(value, float) or value.bit_length() < 200 else "a very large number"
        return text if len(text) <= _LONGEST_SHOWN else "a very large number"
    if isinstance(value, str):
        return show_text(value)
    if isinstance(value, list | tuple):
        return "an empty list" if not value else "a list"
    if isinstance(value, dict):
        return "an empty mapping" if not value else "a mapping"
    return f"a {type(value).__name__}"


def show_text(text: str) -> str:
    """A text in quotes; one that looks like a URL or a login, is long or not printable, only by what it is."""
    if not text:
        return "an empty text"
    if looks_secret(text):
        return "a URL (not shown)"
    if len(text) > _LONGEST_SHOWN or not text.isprintable():
        return f"a text of {len(text)} characters"
    return repr(text)


def looks_secret(text: str) -> bool:
    """True for what may hold a URL, a login or a connection string, and so must not be shown."""
    return "//" in text or "@" in text or re.search(r"passw|secret|pwd\s*=", text, re.IGNORECASE) is not None


def dotted(path: Iterable[str]) -> str:
    """A path as text. A key that cannot be shown stands as <...>."""
    return ".".join(
        part if len(part) <= _LONGEST_SHOWN and part.isprintable() and part and not looks_secret_key(part) else "<...>"
        for part in path
    )


def looks_secret_key(key: str) -> bool:
    """True for a key that is a URL or a login written where a name belongs."""
    return "//" in key or "@" in key


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The one of `names` that is most like `name`, if any is."""
    known = {candidate.lower(): candidate for candidate in names}
    close = difflib.get_close_matches(name[:100].lower(), known, n=1, cutoff=0.6)
    return known[close[0]] if close else None
