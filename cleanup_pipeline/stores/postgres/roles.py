"""A PostgreSQL role that may do what some targets need, and nothing else, as a script for psql."""

from collections.abc import Sequence

from psycopg import sql

from cleanup_pipeline.model.canary import SHORTEST_MARK
from cleanup_pipeline.model.rules import ColumnGuard, JsonEntriesExpiry
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.model.words import Mode
from cleanup_pipeline.stores.postgres.predicate import column_alone, columns_in
from cleanup_pipeline.stores.postgres.relation import source_of, stays
from cleanup_pipeline.stores.postgres.rights import Rights, Table, rights_of
from cleanup_pipeline.stores.postgres.shape import TEXTS
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
    alone = column_alone(rule)
    # FOR UPDATE takes the right to update some column, of which the expiry can do the least harm.
    if not isinstance(rule, JsonEntriesExpiry):
        own.updates.add(alone[0].column if alone else min(own.reads))
    own.reads.add("ctid")
    if target.client:
        own.reads.add(target.client)
    return tables


def _of_table(table: Table, rights: Rights, targets: Sequence[Target], tag: sql.SQL) -> str:
    mine = [each for each in targets if _table_of(each) == table]
    name = sql.Identifier(*(part for part in table if part))
    written = name.as_string()
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
    text.append(f"GRANT {what} ON {written} {_TO}")
    if mine:
        before = sql.Literal(f"GRANT {what} ON ")
        text.append(_filled("role_leaves", tag=tag, name=sql.Literal(written), before=before))
        text.append(_filled("role_keys", tag=tag, name=sql.Literal(written)))
    if any(each.canaries for each in mine) and rights.inserts:
        taken = sorted(set().union(*(_known(each) for each in mine if each.canaries)))
        text.append(
            _filled(
                "role_canaries",
                tag=tag,
                name=sql.Literal(written),
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
        text.append(_filled("role_children", tag=tag, name=sql.Literal(written), also=also))
    if any(each.vacuum for each in mine):
        text.append("-- vacuum: from PostgreSQL 17 on; on an older one only the owner may, and a pass goes without.\n")
        text.append(f"GRANT MAINTAIN ON {written} {_TO}")
    if any(each.drop_partitions for each in mine):
        text.append(f"-- drop_partitions takes the table's owner, which is for you to decide: {_line(written)}\n")
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


def _tag(tables: dict[Table, Rights]) -> sql.SQL:
    """A dollar quote that no name of the user's ends."""
    names = repr(tables)
    for number in range(1000):
        if f"$role{number}$" not in names:
            return sql.SQL(f"$role{number}$")
    raise ValueError("these names were made to break out of any quote")
