"""A PostgreSQL role that may do what some targets need, and nothing else, as a script for psql."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from psycopg import sql

from cleanup_pipeline.model.canary import SHORTEST_MARK
from cleanup_pipeline.model.members import Members
from cleanup_pipeline.model.rules import ColumnGuard, JsonEntriesExpiry
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.model.words import Mode
from cleanup_pipeline.stores.patterns import any_of, is_name
from cleanup_pipeline.stores.postgres.predicate import column_alone, columns_in
from cleanup_pipeline.stores.postgres.relation import source_of, stays
from cleanup_pipeline.stores.postgres.rights import Rights, Table, rights_of
from cleanup_pipeline.stores.postgres.shape import TEXTS
from cleanup_pipeline.stores.postgres.statements import statement

_CHILD = "\n    EXECUTE format('GRANT {rights} ON %s TO cleanup', child.referring);"
_TRUE = sql.SQL("")
CONNECTIONS = 20
MOST_CONNECTIONS = 60
"""With other databases, of which each process keeps some open."""

Tables = dict[Table, Rights]


def role_script(targets: Sequence[Target], databases: Sequence[str | None]) -> str:
    """The script. What it grants is what preflight asks for; nothing is asked of a server.

    `databases` are those that the store's URLs name; None becomes a placeholder to fill in.
    """
    plain = [(target.members or Members(), replace(target, members=None)) for target in targets]
    scopes: dict[Members, Tables] = {Members(): {}}
    of: dict[tuple[Members, Table], list[Target]] = {}
    for members, target in plain:
        of.setdefault((_scope(members, _table_of(target)), _table_of(target)), []).append(target)
        for table, rights in _needed(target).items():
            merged = scopes.setdefault(_scope(members, table), {}).setdefault(table, Rights())
            merged.reads |= rights.reads
            merged.updates |= rights.updates
            merged.deletes |= rights.deletes
            merged.whole |= rights.whole
            merged.inserts |= rights.inserts
    tag = _tag((scopes, databases, [target.name for target in targets]))
    several = any(scope.databases for scope in scopes)
    urls = tuple(dict.fromkeys(each or "DATABASE" for each in databases)) if several else ()
    parts = [_filled("role_about")]
    if any(scope.schemas for scope in scopes):
        parts.append("-- Run it again when a tenant was added: it grants in the schemas that are there now.\n")
    if several:
        patterns = dict.fromkeys(each for scope in scopes for each in scope.databases)
        parts.append(f"-- Run it in {_line(', '.join(urls))} (the database of the store's URL) and in each other one\n")
        parts.append(f"-- that the targets mean, of those that are added too: {_line(', '.join(patterns))}.\n")
    limit = sql.Literal(MOST_CONNECTIONS if several else CONNECTIONS)
    parts.append(_filled("role_head", tag=tag, limit=limit))
    for scope, tables in scopes.items():
        if scope.schemas or scope.databases or urls:
            parts.append(_of_scope(scope, tables, of, tag, urls))
        else:
            parts += [_usage(schema) for schema in sorted({s or "public" for s, _ in tables})]
            parts += [_of_table(t, rights, of.get((scope, t), []), _Place(t, tag)) for t, rights in tables.items()]
    return "".join([*parts, "\n", _filled("role_tail")])


@dataclass(frozen=True, slots=True)
class _Place:
    """How a table is named, and whether what is said about it stands in a block of PL/pgSQL."""

    table: Table
    tag: sql.SQL
    inside: bool = False
    in_member: bool = False
    """In the schema of the variable `member`."""

    @property
    def written(self) -> str:
        return sql.Identifier(*(part for part in self.table if part)).as_string()

    @property
    def name(self) -> sql.Composable:
        """An expression: the name as text, quoted."""
        if self.in_member:
            return sql.SQL("format('%I.%I', member, {})").format(sql.Literal(self.table[1]))
        return sql.Literal(self.written)

    def grant(self, what: str) -> str:
        if not self.inside:
            return f"GRANT {what} ON {self.written} TO cleanup;\n"
        before = sql.Literal(f"GRANT {what} ON ")
        return sql.SQL("EXECUTE concat({}, {}, ' TO cleanup');\n").format(before, self.name).as_string()

    def filled(self, named: str, /, **parts: sql.Composable) -> str:
        """A statement that is a block of its own."""
        begin, end = sql.SQL("DO {} ").format(self.tag), sql.SQL(" {};").format(self.tag)
        if self.inside:
            begin, end = sql.SQL("<<own>>\n").format(), sql.SQL(";").format()
        if named == "role_keys":
            parts["leave"] = sql.SQL("EXIT own" if self.inside else "RETURN")
        return _filled(named, name=self.name, begin=begin, end=end, **parts)


def _scope(members: Members, table: Table) -> Members:
    """What a table stands for many by: one whose schema is written is the same for all schemas."""
    schemas = () if table[0] else members.schemas
    return replace(members, schemas=schemas, exclude=members.exclude if schemas or members.databases else ())


def _of_scope(
    scope: Members,
    tables: Tables,
    of: dict[tuple[Members, Table], list[Target]],
    tag: sql.SQL,
    urls: Sequence[str],
) -> str:
    """What is granted where databases and schemas are as a scope says, and nowhere else."""
    if not tables:
        return ""
    body = ""
    for table, rights in tables.items():
        place = _Place(table, tag, inside=True, in_member=bool(scope.schemas))
        text = "" if scope.schemas else _usage(table[0] or "public")
        text += _of_table(table, rights, of.get((scope, table), []), place)
        body += _filled("role_if_there", body=sql.SQL(text), name=place.name) if scope != Members() else text
    here = _meant(sql.SQL("current_database()"), scope.databases or urls, scope.exclude if scope.databases else ())
    if not scope.schemas:
        return "\n" + _filled("role_in_database", tag=tag, here=here, body=sql.SQL(body))
    own = sql.SQL(" AND nspname !~ '^pg_' AND nspname <> 'information_schema'")
    meant = _meant(sql.SQL("nspname"), scope.schemas, scope.exclude, own)
    here = sql.SQL("{} AND ").format(here) if scope.databases or urls else sql.SQL("")
    return "\n" + _filled("role_in_schemas", tag=tag, here=here, meant=meant, body=sql.SQL(body))


def _meant(name: sql.SQL, patterns: Sequence[str], exclude: Sequence[str], own: sql.SQL = _TRUE) -> sql.Composable:
    """The condition that a name is one of them. `own`: what else has to be true of one that is not written out."""
    names = [each for each in patterns if is_name(each)]
    others = [each for each in patterns if not is_name(each)]
    either: list[sql.Composable] = []
    if names:
        either.append(sql.SQL("{} = ANY ({}::text[])").format(name, sql.Literal(names)))
    if others:
        either.append(sql.SQL("({} ~ {}{})").format(name, sql.Literal(any_of(others)), own))
    condition = sql.SQL("({})").format(sql.SQL(" OR ").join(either))
    if not exclude:
        return condition
    return sql.SQL("({} AND {} !~ {})").format(condition, name, sql.Literal(any_of(exclude)))


def _usage(schema: str) -> str:
    return f"GRANT USAGE ON SCHEMA {_quoted(schema)} TO cleanup;\n"


def _needed(target: Target) -> dict[Table, Rights]:
    tables = rights_of(target)
    source, rule = source_of(target)
    own = tables[source.schema or "", source.table]
    alone = column_alone(rule)
    # FOR UPDATE takes the right to update some column, of which the expiry can do the least harm.
    if not isinstance(rule, JsonEntriesExpiry):
        own.updates.add(alone[0].column if alone else min(own.reads))
    own.reads.add("ctid")
    if target.client:
        own.reads.add(target.client)
    return tables


def _of_table(table: Table, rights: Rights, mine: Sequence[Target], place: _Place) -> str:
    """`mine`: the targets whose own table it is."""
    text = [f"\n-- {_line(', '.join(each.name for each in mine) or 'read only, to judge rows of other tables')}\n"]
    if any(each.mode is not Mode.DELETE for each in mine):
        text.append("-- In mode dry_run nothing is deleted or locked: DELETE and UPDATE can wait.\n")
    if mine and rights.updates and not any(stays(each) for each in mine):
        text.append("-- UPDATE only locks (FOR UPDATE SKIP LOCKED); without it a batch waits for rows in use.\n")
    if rights.whole:
        text.append("-- What goes is entered or kept (removal_ledger, quarantine): rows are read whole.\n")
    if rights.inserts and not any(each.canaries for each in mine):
        text.append("-- INSERT is for `undo` alone.\n")
    what = ", ".join(_grants(rights))
    text.append(place.grant(what))
    if mine:
        before = sql.Literal(f"GRANT {what} ON ")
        text.append(place.filled("role_leaves", before=before))
        text.append(place.filled("role_keys"))
    if any(each.canaries for each in mine) and rights.inserts:
        taken = sorted(set().union(*(_known(each) for each in mine if each.canaries)))
        text.append(
            place.filled(
                "role_canaries",
                texts=sql.Literal(sorted(TEXTS)),
                width=sql.Literal(SHORTEST_MARK),
                taken=sql.Literal(taken),
            )
        )
    if any(each.children_first for each in mine):
        kept = [("SELECT", any(each.removals or each.quarantine for each in mine if each.children_first))]
        kept += [("INSERT", any(each.quarantine for each in mine if each.children_first))]
        more = ", ".join(right for right, needed in kept if needed)
        also = sql.SQL("") if not more else sql.SQL(_CHILD.format(rights=more))
        text.append(place.filled("role_children", also=also))
    if any(each.vacuum for each in mine):
        text.append("-- vacuum: from PostgreSQL 17 on; on an older one only the owner may, and a pass goes without.\n")
        text.append(place.grant("MAINTAIN"))
    if any(each.drop_partitions for each in mine):
        text.append(f"-- drop_partitions takes the table's owner, which is for you to decide: {_line(place.written)}\n")
    return "".join(text)


def _known(target: Target) -> set[str]:
    """The columns of the target's own that cannot carry the mark of a canary."""
    _, rule = source_of(target)
    values = target.canaries.values if target.canaries else {}
    guarded = {guard.column for guard in target.guards if isinstance(guard, ColumnGuard)}
    instants = {column.column for column in columns_in(rule, target.guards) if column.of is None}
    return {*instants, *guarded, *target.where, *values}


def _table_of(target: Target) -> Table:
    source, _ = source_of(target)
    return source.schema or "", source.table


def _grants(rights: Rights) -> list[str]:
    grants = ["SELECT" if rights.whole else f"SELECT ({_columns(rights.reads)})"]
    grants += [f"UPDATE ({_columns(rights.updates)})"] if rights.updates else []
    grants += ["INSERT"] if rights.inserts else []
    return [*grants, "DELETE"] if rights.deletes else grants


def _columns(names: set[str]) -> str:
    return ", ".join(_quoted(name) for name in sorted(names))


def _quoted(name: str) -> str:
    return sql.Identifier(name).as_string()


def _filled(named: str, /, **parts: sql.Composable) -> str:
    return statement(named, **parts).as_string() + "\n"


def _line(words: str) -> str:
    """What stands behind -- ends with the line."""
    return " ".join(words.split())


def _tag(said: object) -> sql.SQL:
    """A dollar quote that no name of the user's ends."""
    names = repr(said)
    for number in range(1000):
        if f"$role{number}$" not in names:
            return sql.SQL(f"$role{number}$")
    raise ValueError("these names were made to break out of any quote")
