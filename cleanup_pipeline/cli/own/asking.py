"""Questions that a flag answers, or who sits at a terminal, or a default; without any of them it is told what lacks."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import typer
import yaml

from cleanup_pipeline.cli.errors import UsageError
from cleanup_pipeline.settings.faults import nearest

Check = Callable[[str], str]
"""The answer as it is used. Raises ValueError with what would be right."""

_MOST_SHOWN = 25


def on_terminal() -> bool:
    """Whether there is somebody to ask."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def anything(answer: str) -> str:
    """Every answer will do."""
    return answer


@dataclass(frozen=True, slots=True)
class Option:
    """One of several answers."""

    value: str
    note: str = ""


@dataclass(slots=True)
class Ask:
    """How questions are answered. Not knowing an answer without a terminal is told by `stop_if_lacking`."""

    terminal: bool
    lacking: list[str] = field(default_factory=list[str])

    def text(
        self, given: str | None, flag: str, question: str, default: str | None = None, check: Check = anything
    ) -> str:
        """An answer for which `check` holds. `default` may be empty: then nothing is an answer, too."""
        if given is not None:
            return _checked(given, flag, check)
        if not self.terminal:
            if default is None:
                self.lacking.append(f"{flag} ({question})")
            return default or ""
        while True:
            answer = str(typer.prompt(question, default=default, show_default=bool(default)))
            try:
                return check(answer.strip()) if answer.strip() or default is None else ""
            except ValueError as fault:
                typer.echo(f"  expected {fault}")

    def pick(
        self,
        given: str | None,
        flag: str,
        question: str,
        options: Sequence[Option],
        default: str | None = None,
        *,
        only: bool = True,
    ) -> str:
        """One of some options, by value or by the number in front of it; with `only` no other."""

        def check(answer: str) -> str:
            known = [option.value for option in options]
            if answer.isdigit() and answer not in known and 1 <= int(answer) <= len(options):
                return known[int(answer) - 1]
            if answer in known or not only:
                return answer
            close = nearest(answer, known)
            raise ValueError(f"one of {', '.join(known)}" + (f"; did you mean {close}?" if close else ""))

        if given is None and self.terminal:
            typer.echo(f"\n{question}")
            width = max((len(option.value) for option in options), default=0)
            for number, option in enumerate(options[:_MOST_SHOWN], 1):
                typer.echo(f"  {number:>2}  {option.value:<{min(width, 40)}}  {option.note}".rstrip())
            if len(options) > _MOST_SHOWN:
                typer.echo(f"      and {len(options) - _MOST_SHOWN} more")
            question = "Number or name"
        return self.text(given, flag, question, default, check)

    def confirm(self, question: str, *, default: bool = True) -> bool:
        """Yes or no; the default where nobody is asked."""
        return bool(typer.confirm(question, default=default)) if self.terminal else default

    def stop_if_lacking(self) -> None:
        """Raises UsageError when answers are missing that no terminal is there to give."""
        if self.lacking:
            raise UsageError(f"there is no terminal to ask on; give {', '.join(self.lacking)}")


def _checked(given: str, flag: str, check: Check) -> str:
    try:
        return check(given.strip())
    except ValueError as fault:
        raise UsageError(f"{flag}: expected {fault}") from None


def mapping(answer: str, what: str) -> dict[str, Any]:
    """A mapping in YAML, such as {column: expires_at}. Raises ValueError."""
    try:
        content = yaml.safe_load(answer)
    except yaml.YAMLError:
        content = None
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{what}, as YAML")
    return {str(key): value for key, value in content.items()}


def looks_like_mapping(answer: str) -> bool:
    """Whether a rule is written out, and not only named by its column or field."""
    return answer.lstrip().startswith("{")


def pairs(given: Sequence[str], flag: str) -> Mapping[str, str]:
    """COLUMN=VALUE, several times. Raises UsageError."""
    found = {}
    for each in given:
        key, equals, value = each.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"{flag} {each}: expected COLUMN=VALUE")
        found[key.strip()] = value.strip()
    return found
