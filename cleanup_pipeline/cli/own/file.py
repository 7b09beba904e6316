"""The settings file that the answers make: written once, never over another, and loaded before anybody is told."""

import os
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from cleanup_pipeline.cli.errors import UsageError
from cleanup_pipeline.cli.own.given import Place
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.model.words import StoreType
from cleanup_pipeline.settings import SettingsError, load_settings
from cleanup_pipeline.settings.json_schema import MODELINE

_WIDTH = 100
_ANY = {
    StoreType.POSTGRES: "postgresql://localhost/unset",
    StoreType.REDIS: "redis://localhost",
    StoreType.MONGO: "mongodb://localhost/unset",
}
"""What stands for a variable that is not set, while a file is looked at that nothing is cleaned by."""


def block(name: str, keys: Mapping[str, Any], words: str) -> list[str]:
    """The lines of one target, with what it does above it."""
    lines = [f"# {line}" for line in textwrap.wrap(words, _WIDTH)]
    lines.append(f"{name}:")
    return lines + [f"  {key}: {_flow(_literal(value))}" for key, value in keys.items()]


def document(place: Place, target: list[str], pass_name: str) -> str:
    """The text of a file with one store and one target, and its pass where that is one of an existing file."""
    own_pass = place.passes.get(pass_name)
    passes = [] if own_pass is None else ["passes:", f"  {pass_name}: {_flow(own_pass)}", ""]
    store = ", ".join(f"{key}: {_quoted(str(value))}" for key, value in place.written.items())
    lines = [
        MODELINE,
        "# Written by `cleanup-pipeline layouts new`. Nothing is deleted by it: the target is in `mode: dry_run`.",
        "# Every key is in docs/settings.md, every rule in docs/own-layout.md.",
        "",
        "stores:",
        f"  {place.name}: {{{store}}}",
        "",
        *passes,
        "targets:",
        *(f"  {line}" for line in target),
    ]
    return "\n".join(lines) + "\n"


def understood(text: str, place: Place, beside: Path) -> Target:
    """The target as the settings have it, from a file beside where it will be. Raises UsageError."""
    trial = beside.with_name(f".{beside.name}.trial-{os.getpid()}")
    _write(trial, text)
    try:
        return load(trial, place)
    except SettingsError as fault:
        faults = "\n  ".join(str(each) for each in fault.faults)
        raise UsageError(f"this does not go together, and nothing is written:\n  {faults}") from None
    finally:
        trial.unlink()


def load(file: Path, place: Place) -> Target:
    """The one target of a file. Raises SettingsError."""
    environ = dict(os.environ)
    # What other variables say about targets is about those of other files.
    environ = {key: value for key, value in environ.items() if not key.startswith("CLEANUP__")}
    if place.variable and not environ.get(place.variable):
        environ[place.variable] = _ANY[place.type]
    (target,) = load_settings(file, environ).targets
    return target


def save(file: Path, text: str) -> None:
    """Raises UsageError, also where the file is there already."""
    _write(file, text)


def _write(file: Path, text: str) -> None:
    try:
        with file.open("x", encoding="utf-8") as opened:
            opened.write(text)
    except FileExistsError:
        raise UsageError(
            f"{file}: is there already, and is not written over; name another file with --output"
        ) from None
    except OSError as fault:
        raise UsageError(f"{file}: cannot be written ({type(fault).__name__})") from None


def _flow(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000, allow_unicode=True)
    return text.strip().removesuffix("...").strip()


def _literal(value: Any) -> Any:
    """A text with ${ in it is not one with a variable."""
    if isinstance(value, dict):
        return {key: _literal(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_literal(item) for item in value]
    return value.replace("${", "$${") if isinstance(value, str) else value


def _quoted(text: str) -> str:
    return (
        f'"{text}"'
        if "$" in text
        else yaml.safe_dump(text, default_flow_style=True).strip().removesuffix("...").strip()
    )
