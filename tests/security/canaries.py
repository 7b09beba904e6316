"""Secrets that are planted, and every spelling in which they could be written down."""

import base64
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus


def spellings(secret: str) -> set[bytes]:
    """As it is, URL-encoded, in hexadecimal, in JSON, and in base64 at each of its three alignments."""
    # The first word of it tells it as well, where somebody cut it off or took it apart.
    return _spellings(secret) | _spellings(secret.partition("/")[0])


def _spellings(secret: str) -> set[bytes]:
    plain = secret.encode()
    found = {plain, quote(secret, safe="").encode(), quote_plus(secret).encode(), plain.hex().encode()}
    found |= {plain.hex().upper().encode(), plain.decode().encode("unicode_escape"), plain.hex(" ").encode()}
    for shift in range(3):
        # The first and the last characters depend on what is around it.
        coded = base64.b64encode(b"\0" * shift + plain)
        whole = coded[(0, 2, 3)[shift] : len(coded) - 4]
        found |= {whole, whole.replace(b"+", b"-").replace(b"/", b"_")}
    return found


def found_in(data: bytes, secrets: Iterable[str]) -> list[tuple[str, bytes]]:
    """Which secrets stand in some bytes, each with what is around it."""
    leaks = []
    for secret in secrets:
        for form in spellings(secret):
            at = data.find(form)
            if at >= 0:
                leaks.append((secret, data[max(0, at - 120) : at + len(form) + 60]))
                break
    return leaks


def written(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """Every file below a folder: its name counts as written, too."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path, str(path.relative_to(folder)).encode() + b"\n" + path.read_bytes()
