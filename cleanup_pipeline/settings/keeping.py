"""`removals:` and `quarantine:` -> where what is kept of removed records lies, and how much of it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from cleanup_pipeline.layouts.field_types import Section, duration, or_variable, reads, refuse, text
from cleanup_pipeline.model.secret_keys import SecretKey, read_keys
from cleanup_pipeline.settings.faults import Fault

_DAY = timedelta(days=1)
KEEP_REMOVALS, KEEP_QUARANTINE = 400 * _DAY, 7 * _DAY
AT_MOST, KEEP_FREE = 10 * 10**9, 2 * 10**9
_UNITS = {"kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_SIZE = re.compile(r"([0-9]{1,9})(?:\.([0-9]{1,3}))? ?(kB|MB|GB|TB)")
REMOVAL_KEY, QUARANTINE_KEY = "CLEANUP_REMOVAL_KEY", "CLEANUP_QUARANTINE_KEY"
_MOST_OF_A_FILE = 64 * 1024


@dataclass(frozen=True, slots=True)
class RemovalSettings:
    """The removal ledger."""

    place: str | None = field(default=None, repr=False)
    """Folder or URL; None: next to Dagster's own files. A URL may hold a login."""
    keep: timedelta = KEEP_REMOVALS
    at_most: int = AT_MOST
    """Bytes."""
    keys: tuple[SecretKey, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class QuarantineSettings:
    """The quarantine."""

    place: str | None = field(default=None, repr=False)
    keep: timedelta = KEEP_QUARANTINE
    at_most: int = AT_MOST
    """Bytes."""
    keep_free: int = KEEP_FREE
    """Bytes that stay free on its disk."""
    keys: tuple[SecretKey, ...] = field(default=(), repr=False)


def _size(value: Any) -> int:
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise refuse("a size such as 500MB, 10GB or 1.5TB")
    whole, part, unit = match[1], match[2] or "", match[3]
    return int(whole) * _UNITS[unit] + int(part or 0) * _UNITS[unit] // int(10 ** len(part))


Size = Annotated[int, reads(_size, or_variable({"type": "string", "pattern": f"^{_SIZE.pattern}$"}))]
Place = Annotated[str, text("a folder, or a URL such as s3://bucket/folder")]


class RemovalsSection(Section):
    """`removals:`."""

    place: Place | None = None
    keep: Annotated[timedelta, duration(_DAY)] = KEEP_REMOVALS
    at_most: Size = Field(default=AT_MOST, json_schema_extra={"default": "10GB"})


class QuarantineSection(Section):
    """`quarantine:`."""

    place: Place | None = None
    keep: Annotated[timedelta, duration(timedelta(hours=1))] = KEEP_QUARANTINE
    at_most: Size = Field(default=AT_MOST, json_schema_extra={"default": "10GB"})
    keep_free: Size = Field(default=KEEP_FREE, json_schema_extra={"default": "2GB"})


def read_keys_of(
    variable: str, environ: Mapping[str, str], folder: Path, needed_by: str | None, faults: list[Fault]
) -> tuple[SecretKey, ...]:
    """The keys that a variable holds, or the file that VARIABLE_FILE names; a fault where `needed_by` has none."""
    found, expected = "nothing", f"a key in {variable} or in the file that {variable}_FILE names"
    remedy = "make one with `openssl rand -base64 32`, and keep it as long as what is written with it"
    try:
        content = _text_of(variable, environ, folder)
        if content is not None:
            return read_keys(content)
    except (OSError, ValueError) as fault:
        found = str(fault) if type(fault) is ValueError else f"a file that cannot be read ({type(fault).__name__})"
        faults.append(Fault(variable, found, expected, remedy=remedy))
        return ()
    if needed_by is not None:
        faults.append(Fault(needed_by, found, expected, remedy=remedy))
    return ()


def _text_of(variable: str, environ: Mapping[str, str], folder: Path) -> str | None:
    if value := environ.get(variable, ""):
        return value
    name = environ.get(f"{variable}_FILE", "")
    if not name:
        return None
    with (folder / name).open("rb") as file:
        return file.read(_MOST_OF_A_FILE).decode("utf-8")
