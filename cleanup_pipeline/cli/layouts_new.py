"""`cleanup-pipeline layouts new`: from a table, a collection or keys of one's own to a target."""

import os
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from cleanup_pipeline.cli.errors import UsageError
from cleanup_pipeline.cli.own import asking
from cleanup_pipeline.cli.own.asking import Ask
from cleanup_pipeline.cli.own.file import block, document, load, save, understood
from cleanup_pipeline.cli.own.given import Given, Place
from cleanup_pipeline.cli.own.place import chosen_place, chosen_source, existing_file, known_layouts
from cleanup_pipeline.cli.own.rest import guarded, kept_and_named, what_becomes
from cleanup_pipeline.cli.own.rule import chosen_rule
from cleanup_pipeline.cli.run import SettingsOption
from cleanup_pipeline.cli.schema import write_schema
from cleanup_pipeline.cli.show import complain
from cleanup_pipeline.layouts.sentence import sentence
from cleanup_pipeline.model.plan import Finding
from cleanup_pipeline.model.words import Severity
from cleanup_pipeline.settings.load import DEFAULT_FILE
from cleanup_pipeline.stores.base import StoreError

_WIDTH = 79

Text = str | None
Texts = list[str] | None


def new(
    store_type: Annotated[Text, typer.Option("--type", help="postgres, redis or mongo.")] = None,
    store: Annotated[Text, typer.Option("--store", help="The store's name: one of the settings file, or new.")] = None,
    url_variable: Annotated[
        Text, typer.Option("--url-variable", help="The environment variable that holds its URL.")
    ] = None,
    look: Annotated[bool, typer.Option("--look/--no-look", help="Look at the store; reads only.")] = True,
    table: Annotated[Text, typer.Option("--table", help="PostgreSQL: the table, or schema.table.")] = None,
    schema: Annotated[Text, typer.Option("--schema", help="PostgreSQL: its schema.")] = None,
    collection: Annotated[Text, typer.Option("--collection", help="MongoDB: the collection.")] = None,
    database: Annotated[Text, typer.Option("--database", help="MongoDB: where it is not that of the URL.")] = None,
    keys: Annotated[Text, typer.Option("--keys", help="Redis: the pattern of keys, such as session:*.")] = None,
    key_type: Annotated[Text, typer.Option("--key-type", help="Redis: string, hash, zset, set or list.")] = None,
    exclude: Annotated[Texts, typer.Option("--exclude", help="Redis: a pattern of keys to leave out. *")] = None,
    expires: Annotated[Text, typer.Option("--expires", help="When a record dies: a name, or a rule in YAML.")] = None,
    unit: Annotated[Text, typer.Option("--unit", help="Of a number: s, ms or ns.")] = None,
    zone: Annotated[Text, typer.Option("--zone", help="Of a timestamp: utc, session or an IANA name.")] = None,
    lifetime: Annotated[Text, typer.Option("--lifetime", help="How long it lives, from the name in --expires.")] = None,
    null_means: Annotated[Text, typer.Option("--null-means", help="PostgreSQL: never (default) or dead.")] = None,
    never_value: Annotated[Texts, typer.Option("--never-value", help="PostgreSQL: stands for no expiry. *")] = None,
    where: Annotated[Texts, typer.Option("--where", metavar="NAME=VALUE", help="Only such records. *")] = None,
    guard: Annotated[Texts, typer.Option("--guard", help="A guard in YAML. *")] = None,
    set_null: Annotated[Texts, typer.Option("--set-null", help="PostgreSQL: column to empty; the row stays. *")] = None,
    unset: Annotated[Texts, typer.Option("--unset", help="MongoDB: field to remove; the rest stays. *")] = None,
    children: Annotated[Text, typer.Option("--children", help="PostgreSQL: rows below it: keep, delete_first.")] = None,
    detach: Annotated[Texts, typer.Option("--detach", help="PostgreSQL: {table, key, by} to empty first. *")] = None,
    grace: Annotated[Text, typer.Option("--grace", help="How long a record is kept after it died.")] = None,
    kind: Annotated[Text, typer.Option("--kind", help="What the records are, such as session.")] = None,
    pass_name: Annotated[Text, typer.Option("--pass", help="The pass that cleans them.")] = None,
    name: Annotated[Text, typer.Option("--name", help="The target's name.")] = None,
    settings_file: SettingsOption = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The file to write; must not be there.")] = None,
    only_print: Annotated[bool, typer.Option("--print", help="Print the target; write no file.")] = False,
) -> None:
    """Describe a table, a collection or keys of your own, and write a target for it. Deletes nothing.

    On a terminal it asks for what is not given. Options with a * may be repeated. The target is in `mode: dry_run`;
    no file is written over. URLs stay in the environment.

    \b
    Examples:
      cleanup-pipeline layouts new
      cleanup-pipeline layouts new --table login_sessions --expires expires_at
      cleanup-pipeline layouts new --collection tokens --expires expires_at
      cleanup-pipeline layouts new --keys 'session:*' --expires '{json: exp}'
    """
    given = Given(
        store_type=store_type,
        store=store,
        url_variable=url_variable,
        look=look,
        table=table,
        schema=schema,
        collection=collection,
        database=database,
        keys=keys,
        key_type=key_type,
        exclude=exclude or (),
        expires=expires,
        unit=unit,
        zone=zone,
        lifetime=lifetime,
        null_means=null_means,
        never_value=never_value or (),
        where=where or (),
        guard=guard or (),
        set_null=set_null or (),
        unset=unset or (),
        children=children,
        detach=detach or (),
        grace=grace,
        kind=kind,
        pass_name=pass_name,
        name=name,
        settings=settings_file,
        output=output,
    )
    if output is not None and output.exists():
        raise UsageError(f"{output}: is there already, and is not written over; name another file with --output")
    try:
        _new(Ask(asking.on_terminal()), given, only_print)
    except StoreError as fault:
        complain(f"✗ {fault}")
        typer.echo("To write the target without looking at the store: --no-look", err=True)
        raise typer.Exit(1) from None


def _new(ask: Ask, given: Given, only_print: bool) -> None:
    _say_what_lacks(ask, given)
    with chosen_place(ask, given) as place:
        source, seen = chosen_source(ask, given, place)
        _say_what_is_known(place, source)
        rule = chosen_rule(ask, given, place, source, seen)
        about = {**source, "expires": rule, **guarded(ask, given, place), **what_becomes(ask, given, place, seen, rule)}
        name, more = kept_and_named(ask, given, place, source, rule)
        ask.stop_if_lacking()
        first = {"store": place.name, "pass": more.pop("pass"), "kind": more.pop("kind")}
        keys = {**first, **about, **more, "mode": "dry_run"}
        file = Path(f"{name}.yaml") if only_print else given.output or _usual_file(given, name)
        target = understood(document(place, block(name, keys, ""), str(keys["pass"])), place, file)
        words = sentence(target, {field.name: field.type for field in seen.fields} if seen else {})
        typer.echo(f"\n{textwrap.fill(words, _WIDTH)}\n", err=only_print)
        _say_what_stands_in_the_way(place.check(target))
    lines = block(name, keys, words)
    if only_print:
        typer.echo("\n".join(f"  {line}" for line in lines))
        return
    if not ask.confirm(f"Is that right? Then it is written to {file}"):
        typer.echo("Nothing is written.")
        return
    save(file, document(place, lines, str(keys["pass"])))
    load(file, place)
    write_schema(file)
    _tell(given, place, file, str(keys["pass"]))


def _say_what_stands_in_the_way(findings: Sequence[Finding]) -> None:
    """A dry run may well be written down before that; a pass would not get further."""
    for finding in findings:
        if finding.severity is Severity.ERROR:
            complain(f"✗ as it is, no pass can clean it: {finding.what}; {finding.remedy}")


def _say_what_lacks(ask: Ask, given: Given) -> None:
    """All that is always needed at once, where nobody can be asked for it."""
    if ask.terminal:
        return
    if not (given.table or given.collection or given.keys):
        ask.lacking.append("--table, --collection or --keys (where the records are)")
    if not given.expires:
        ask.lacking.append("--expires (how a record says when it dies: a name, or a rule in YAML)")
    ask.stop_if_lacking()


def _say_what_is_known(place: Place, source: dict[str, Any]) -> None:
    for name in known_layouts(place, source):
        known = f"This is what layout {name} is for, whose rules are tested: `cleanup-pipeline layouts show {name}`."
        typer.echo(f"\n{textwrap.fill(known, _WIDTH)}", err=True)


def _usual_file(given: Given, name: str) -> Path:
    if existing_file(given) is None and not DEFAULT_FILE.exists():
        return DEFAULT_FILE
    file = Path(f"{name}.yaml")
    if file.exists():
        raise UsageError(f"{file}: is there already, and is not written over; name another file with --output")
    return file


def _tell(given: Given, place: Place, file: Path, pass_name: str) -> None:
    typer.echo(f"{file} is written, in `mode: dry_run`. Next:")
    if place.variable and not os.environ.get(place.variable):
        typer.echo(f"  set {place.variable}, which the file refers to")
    option = "" if file == DEFAULT_FILE else f" --settings {file}"
    typer.echo(f"  cleanup-pipeline check{option}\n  cleanup-pipeline plan {pass_name}{option}")
    existing = existing_file(given)
    if existing is not None and existing != file:
        what = "target" if place.variable is None else "store and its target"
        typer.echo(f"  copy its {what} to {existing}")
