"""`governor:`, `run_window:` and `veto_url:` -> Pace, each key by itself so that a target can change one of them."""

from datetime import timedelta
from enum import Enum
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BeforeValidator, WithJsonSchema

from cleanup_pipeline.layouts.field_types import Section, duration, number, reads, refuse, whole_number
from cleanup_pipeline.model.pace import Pace
from cleanup_pipeline.model.run_window import RunWindow, parse_run_window
from cleanup_pipeline.model.target import MAX_BATCH
from cleanup_pipeline.settings.faults import Fault, Path
from cleanup_pipeline.settings.translate import check_section

_MILLISECOND = timedelta(milliseconds=1)
_MOST = 2**53


class Off(Enum):
    """A threshold that never makes anybody wait."""

    OFF = "off"


_OFF_SCHEMA = {"anyOf": [{"const": False}, {"type": "string", "pattern": r"^\s*[Oo][Ff][Ff]\s*$|\$\{"}]}
_OFF = Annotated[Any, WithJsonSchema(_OFF_SCHEMA)]


def or_off(read: BeforeValidator) -> BeforeValidator:
    """Accepts `off` (which YAML reads as false) besides what `read` accepts."""

    def check(value: Any) -> Any:
        if value is False or (isinstance(value, str) and value.strip().lower() == "off"):
            return Off.OFF
        accept: Any = read.func
        return accept(value)

    return reads(check, read.json_schema_input_type | _OFF)


def _window(value: Any) -> RunWindow | Off:
    if value is False or value == "off":
        return Off.OFF
    try:
        return parse_run_window(str(value) if isinstance(value, str) else "")
    except ValueError:
        raise refuse("two times of day and an IANA time zone, such as 01:00-05:00 Europe/Berlin, or off") from None


def _veto(value: Any) -> str | Off:
    expected = "an http:// or https:// URL without user and password, or off"
    if value is False or value == "off":
        return Off.OFF
    if not isinstance(value, str) or not value.isascii() or not value.isprintable() or " " in value:
        raise refuse(expected)
    try:
        parts = urlsplit(str(value))
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable or "@" in parts.netloc:
        raise refuse(expected, remedy="a token belongs in the query, as ${VAR}")
    return str(value)


_TIMES = r"^\s*([01][0-9]|2[0-3]):[0-5][0-9]-([01][0-9]|2[0-3]):[0-5][0-9]( \S+)?\s*$"
_WINDOW_SCHEMA = {"anyOf": [{"const": False}, {"type": "string", "pattern": rf"{_TIMES}|^off$|\$\{{"}]}
_VETO_SCHEMA = {"anyOf": [{"const": False}, {"type": "string", "pattern": r"^https?://|^off$|\$\{"}]}

Window = Annotated[RunWindow | Off, reads(_window, _WINDOW_SCHEMA)]
VetoUrl = Annotated[str | Off, reads(_veto, _VETO_SCHEMA)]
_Duration = Annotated[timedelta | Off, or_off(duration(_MILLISECOND, timedelta(hours=1)))]
_Count = Annotated[int | Off, or_off(whole_number(0, _MOST))]
_Share = Annotated[float | Off, or_off(number(0, 1))]


class GovernorSection(Section):
    """`governor: {...}` of `cleanup` or of a target."""

    latency_target: Annotated[timedelta, duration(_MILLISECOND, timedelta(seconds=30))] | None = None
    min_batch: Annotated[int, whole_number(1, MAX_BATCH)] | None = None
    pause_share: Annotated[float, number(0, 100)] | None = None
    max_replica_lag: _Duration | None = None
    max_replica_gap: _Count | None = None
    max_blocked: _Count | None = None
    max_blocked_clients: _Count | None = None
    max_connections_share: _Share | None = None
    max_memory_share: _Share | None = None
    max_ping: _Duration | None = None


def read_pace(
    governor: Any, run_window: RunWindow | Off | None, veto_url: str | Off | None, path: Path, faults: list[Fault]
) -> dict[str, Any]:
    """What is set, under the names that model.pace.Pace has for it. `path` is that of the section around it."""
    given: dict[str, Any] = {"run_window": run_window, "veto_url": veto_url}
    if governor is not None:
        section, _ = check_section(GovernorSection, governor, (*path, "governor"), faults)
        given |= {name: getattr(section, name, None) for name in GovernorSection.model_fields}
    return {name: None if value is Off.OFF else value for name, value in given.items() if value is not None}


def pace_of(*layers: dict[str, Any]) -> Pace:
    """The pace that these layers make, the later ones over the earlier."""
    merged: dict[str, Any] = {}
    for layer in layers:
        merged |= layer
    return Pace(**merged)
