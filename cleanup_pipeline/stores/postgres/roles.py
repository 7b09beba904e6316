"""A PostgreSQL role that may do what some targets need, and nothing else, as a script for psql."""

from collections.abc import Sequence

from psycopg import sql

from cleanup_pipeline.model.target import Target
from cleanup_pipeline.model.words import Mode
from cleanup_pipeline.stores.postgres.predicate import column_alone
from cleanup_pipeline.stores.postgres.relation import source_of
from cleanup_pipeline.stores.postgres.rights import Rights, Table, rights_of
from cleanup_pipeline.stores.postgres.statements import statement

_TO = "TO cleanup;\n"
_CHILD = "\n    EXECUTE format('GRANT {rights} ON %s TO cleanup', child.referring);"


def role_script(targets: Sequence[Target]) -> str:
    """The script. What it grants is what preflight asks for; nothing is asked of a server."""
    tables: dict[Table, Rights] = {}
    for target in targets:
        for table, rights in _needed(target).items():
            merged = tables.setdefault(table, Rights())
            merged.reads |= rights.reads
            merged.updates |= rights.updates
            merged.deletes |= rights.deletes
            merged.whole |= rights.whole
            merged.inserts |= rights.inserts
    tag = _tag(tables)
    parts = [_filled("role_head", tag=tag)]
    parts += [f"GRANT USAGE ON SCHEMA {_quoted(schema)} {_TO}" for schema in sorted({s or "public" for s, _ in tables})]
    parts += [_of_table(table, rights, targets, tag) for table, rights in tables.items()]
    return "".join([*parts, "\n", _filled("role_tail")])


def _needed(target: Target) -> dict[Table, Rights]:
    tables = rights_of(target)
    source, rule = source_of(target)
    own = tables[source.schema or "", source.table]
    own.reads.add("ctid")
    alone = column_alone(rule)
    # FOR UPDATE takes the right to update some column, of which the expiry can do the least harm.
    own.updates.add(alone[0].column if alone else min(own.reads - {"ctid"}))
    return tables


def _of_table(table: Table, rights: Rights, targets: Sequence[Target], tag: sql.SQL) -> str:
    mine = [each for each in targets if _table_of(each) == table]
    name = sql.Identifier(*(part for part in table if part))
    written = name.as_string()
    text = [f"\n-- {_line(', '.join(each.name for each in mine) or 'read only, to judge rows of other tables')}\n"]
    if any(each.mode is not Mode.DELETE for each in mine):
        text.append("-- In mode dry_run nothing is deleted or locked: DELETE and UPDATE can wait.\n")
    if mine and rights.updates and not any(each.set_null for each in mine):
        text.append("-- UPDATE only locks (FOR UPDATE SKIP LOCKED); without it a batch waits for rows in use.\n")
    if rights.whole:
        text.append("-- What goes is entered or kept (removal_ledger, quarantine): rows are read whole.\n")
    if rights.inserts:
        text.append("-- INSERT is for `undo` alone.\n")
    what = ", ".join(_grants(rights))
    text.append(f"GRANT {what} ON {written} {_TO}")
    if mine:
        before = sql.Literal(f"GRANT {what} ON ")
        text.append(_filled("role_leaves", tag=tag, name=sql.Literal(written), before=before))
    if any(each.children_first for each in mine):
        kept = [("SELECT", any(each.removals or each.quarantine for each in mine if each.children_first))]
        kept += [("INSERT", any(each.quarantine for each in mine if each.children_first))]
        more = ", ".join(right for right, needed in kept if needed)
        also = sql.SQL("") if not more else sql.SQL(_CHILD.format(rights=more))
        text.append(_filled("role_children", tag=tag, name=sql.Literal(written), also=also))
    if any(each.vacuum for each in mine):
        text.append("-- vacuum: from PostgreSQL 17 on; on an older one only the owner may, and a pass goes without.\n")
        text.append(f"GRANT MAINTAIN ON {written} {_TO}")
    if any(each.drop_partitions for each in mine):
        text.append(f"-- drop_partitions takes the table's owner, which is for you to decide: {_line(written)}\n")
    return "".join(text)


def _table_of(target: Target) -> Table:
    source, _ = source_of(target)
    return source.schema or "", source.table


def _grants(rights: Rights) -> list[str]:
    grants = ["SELECT" if rights.whole else f"SELECT ({_columns(rights.reads)})"]
    grants += ["INSERT"] if rights.inserts else []
    grants += [f"UPDATE ({_columns(rights.updates)})"] if rights.updates else []
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


def _tag(tables: dict[Table, Rights]) -> sql.SQL:
    """A dollar quote that no name of the user's ends."""
    names = repr(tables)
    for number in range(1000):
        if f"$role{number}$" not in names:
            return sql.SQL(f"$role{number}$")
    raise ValueError("these names were made to break out of any quote")
