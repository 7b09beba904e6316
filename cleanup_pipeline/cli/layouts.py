"""`cleanup-pipeline layouts`: which frameworks are known, and what is done for each."""

import textwrap
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.text import Text

from cleanup_pipeline.cli import completing
from cleanup_pipeline.cli.commands import OPTIONS
from cleanup_pipeline.cli.errors import UsageError
from cleanup_pipeline.cli.layouts_new import new
from cleanup_pipeline.cli.show import console
from cleanup_pipeline.layouts import Preset, layouts
from cleanup_pipeline.layouts.field_types import Section
from cleanup_pipeline.layouts.words import (
    grace_words,
    guard_words,
    removal_words,
    rule_words,
    source_words,
    value_words,
)
from cleanup_pipeline.model.durations import format_duration
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.model.words import StoreType
from cleanup_pipeline.settings.faults import nearest
from cleanup_pipeline.settings.targets import targets_of

_HELP = """Show the frameworks whose layouts are known, or describe one of your own.

\b
Examples:
  cleanup-pipeline layouts list
  cleanup-pipeline layouts show django-sessions
  cleanup-pipeline layouts new
"""

app = typer.Typer(help=_HELP, no_args_is_help=True, add_completion=False, **OPTIONS)
app.command("new")(new)

_WIDEST = 100
_NAME = 23
"""Columns for a name: the few longer ones push what follows them aside, so that the others have room for theirs."""
_SHORT = {"differential test": "diff", "must-keep test": "keep"}
_PROOFS = {
    "differential test": "beside the framework's own cleaner, on what the framework wrote, row by row",
    "must-keep test": "on rows made from what the framework's source says, each with what has to become of it",
}


@app.command("list")
def list_layouts(
    long: Annotated[bool, typer.Option("--long", "-l", help="Also the versions, and what proves each.")] = False,
) -> None:
    """List every layout, a line each: its name, the type of its store, what proves it, and what it cleans.

    \b
    Examples:
      cleanup-pipeline layouts list
      cleanup-pipeline layouts list --long | grep -A1 redis
    """
    presets = list(layouts().values())
    out = console()
    for preset in presets:
        title = f"only reports: {preset.title}" if preset.report_only else preset.title
        line = Text(f"{preset.name:<{_NAME}}  {preset.store_type:<8}  {_SHORT[preset.kind_of_proof]}  {title}")
        if not out.soft_wrap:
            line.truncate(out.width, overflow="ellipsis")
        out.print(line)
        if long:
            _item(f"{preset.kind_of_proof}; {preset.framework}, {preset.versions}", bullet="    ")
    typer.echo()
    for name, about in _PROOFS.items():
        _item(f"{_SHORT[name]}, {name}: {about}", bullet="")
    typer.echo("\nWhat one deletes, keeps and asks for: cleanup-pipeline layouts show NAME")


@app.command("show")
def show(
    name: Annotated[
        str,
        typer.Argument(
            metavar="LAYOUT", autocompletion=completing.layouts, help="A layout, as `layouts list` names it."
        ),
    ],
    with_sql: Annotated[
        bool, typer.Option("--sql", "--commands", help="Print the statements or commands that will be sent.")
    ] = False,
    param: Annotated[
        list[str] | None, typer.Option("--param", metavar="KEY=VALUE", help="A parameter; may be repeated.")
    ] = None,
) -> None:
    """Show what a layout deletes, what it keeps and why, and what it asks for.

    \b
    Examples:
      cleanup-pipeline layouts show django-sessions
      cleanup-pipeline layouts show laravel-sessions --param lifetime=2h --sql
    """
    preset = layouts().get(name)
    if preset is None:
        close = nearest(name, layouts())
        raise UsageError(f"there is no layout {name}" + (f"; did you mean {close}?" if close else ""))
    given = _given(preset, param or [])
    _print_facts(preset)
    if with_sql:
        _print_statements(preset, given)


def _given(preset: Preset, pairs: list[str]) -> Section:
    values = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise UsageError(f"--param {pair}: expected KEY=VALUE")
        if key not in preset.params:
            close = nearest(key, preset.params)
            known = ", ".join(preset.params) or "none"
            raise UsageError(
                f"--param {key}: layout {preset.name} has no such parameter, its own are {known}"
                + (f"; did you mean {close}?" if close else "")
            )
        values[key] = value
    try:
        return preset.params_model.model_validate(values)
    except ValidationError as error:
        key = str(error.errors()[0]["loc"][0])
        raise UsageError(f"--param {key}: expected {preset.params[key].wanted}") from None


def _print_facts(preset: Preset) -> None:
    echo = typer.echo
    _item(f"{preset.name}: {preset.title}", bullet="")
    _item(f"{preset.framework}; {preset.versions}; for a {preset.store_type} store", bullet="")
    if preset.report_only:
        _paragraph("only reports", [preset.report_only])
    for key, spec in preset.params.items():
        default = (
            "required"
            if spec.required
            else "optional"
            if spec.default in {None, ""}
            else f"default {value_words(spec.default)}"
        )
        _item(f"parameter {key} ({spec.type}, {default}): {spec.about}", bullet="  ", hang=4)
    echo("\ngoes:")
    for layout, raw in zip(preset.every_layout(), preset.raw_steps, strict=True):
        _item(f"{layout.step + ': ' if layout.step else ''}{layout.about}")
        details = [f"{source_words(layout.source)}, {rule_words(layout.expiry)}"]
        details += [_asked_for(preset, raw["when"])] if raw.get("when") else []
        details += [f"only where {key} is {value_words(value)}" for key, value in layout.where.items()]
        details += [f"only {guard_words(guard)}" for guard in layout.guards]
        details += removal_words(layout)
        details += [grace_words(layout.grace)] if layout.grace else []
        for detail in details:
            _item(detail.replace("`", ""), bullet="      ", hang=2)
    _paragraph("stays", preset.keeps)
    _paragraph("differs from the framework's own cleaner", preset.differs)
    _paragraph("look out", preset.notes)
    _paragraph("proven by", [preset.proof, f"facts: {preset.source_of_facts}"])


def _asked_for(preset: Preset, key: str) -> str:
    return f"not with the parameter {key}: false" if preset.params[key].default else f"only with the parameter {key}"


def _print_statements(preset: Preset, given: Section) -> None:
    from cleanup_pipeline.stores.postgres.showing import shown

    absent = preset.missing(given)
    if absent:
        raise UsageError(f"--sql needs {' and '.join(f'--param {key}=...' for key in absent)}")
    now = datetime.now(UTC).replace(microsecond=0)
    for target in targets_of(preset, preset.resolve(given), preset.name.replace("-", "_"), "main"):
        typer.echo()
        _comment(f"{target.name}: a batch, with the cutoff {now - target.grace:%Y-%m-%d %H:%M:%S} UTC")
        if preset.store_type is not StoreType.POSTGRES:
            _print_commands(target, now - target.grace)
            continue
        for one in shown(target, now - target.grace):
            _comment(one.title)
            if one.text:
                typer.echo(f"{one.text};")
            for key, value in one.parameters.items():
                if f"%({key})s" not in one.text:
                    continue
                typer.echo(f"--   {key} = {_value(value)}")


def _print_commands(target: Target, cutoff: datetime) -> None:
    from cleanup_pipeline.stores.mongo.showing import shown as shown_mongo
    from cleanup_pipeline.stores.redis.showing import shown as shown_redis

    shown = shown_mongo if target.store_type is StoreType.MONGO else shown_redis
    for title, text in shown(target, cutoff):
        _comment(title)
        typer.echo(text)


def _value(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}" + (" UTC" if value.tzinfo else " local")
    return format_duration(value) if isinstance(value, timedelta) else str(value)


def _comment(words: str) -> None:
    typer.echo(textwrap.fill(words, _width(), initial_indent="-- ", subsequent_indent="-- "))


def _paragraph(title: str, sentences: tuple[str, ...] | list[str]) -> None:
    if not sentences:
        return
    typer.echo(f"\n{title}:")
    for sentence in sentences:
        _item(sentence)


def _item(text: str, bullet: str = "  - ", hang: int = 0) -> None:
    """`hang`: by how much further its other lines are indented."""
    typer.echo(textwrap.fill(text, _width(), initial_indent=bullet, subsequent_indent=" " * (len(bullet) + hang)))


def _width() -> int:
    """Of the terminal; lines that are longer than a book's are hard to read."""
    return min(console().width, _WIDEST)
