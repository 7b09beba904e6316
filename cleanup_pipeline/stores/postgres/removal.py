"""What a batch does to the rows it found, and to those that refer to them."""

from dataclasses import dataclass

from psycopg import sql

from cleanup_pipeline.model.rules import Related
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.stores.postgres.children import Child, counts, deletions
from cleanup_pipeline.stores.postgres.predicate import related_in
from cleanup_pipeline.stores.postgres.relation import Relation, source_of
from cleanup_pipeline.stores.postgres.statements import identifier, statement


@dataclass(frozen=True, slots=True)
class Removal:
    """Delete the rows, or set some of their columns to null; before that, children go and referring rows let go."""

    nulls: tuple[str, ...] = ()
    children: tuple[Child, ...] = ()
    detach: tuple[tuple[tuple[str, str], Related], ...] = ()
    """Rows that refer to the records, with schema and table."""
    deferred: bool = False
    """A foreign key that leads here is checked only at the end of the transaction, unless it is told otherwise."""

    judged_by_children: bool = False
    """What a record's children say decides about it: when they are gone it can no longer be asked."""

    @property
    def others_first(self) -> bool:
        """Whether rows of other tables are touched before the records."""
        return bool(self.children or self.detach)

    def statement(self, table: sql.Identifier, kept: sql.Composable | None = None) -> sql.Composed:
        """DELETE FROM, or UPDATE ... SET, without its condition. `kept`: the assignment where entries die, not rows."""
        if kept is not None:
            return statement("set_null", table=table, nulls=kept)
        if not self.nulls:
            return statement("delete", table=table)
        nulls = sql.SQL(", ").join(sql.SQL("{} = NULL").format(identifier(name)) for name in self.nulls)
        return statement("set_null", table=table, nulls=nulls)

    def counts(self, table: sql.Identifier) -> list[sql.Composed]:
        """Statements that count the rows of other tables that will be touched, each up to the parameter `most`."""
        return [*counts(self.children, table), *self._referring("count_referring", table)]

    def first(self, table: sql.Identifier) -> list[sql.Composed]:
        """Statements that touch them, in their order: those that let go, then children, the deepest first."""
        return [*self._referring("detach_referring", table), *deletions(self.children, table)]

    def _referring(self, name: str, table: sql.Identifier) -> list[sql.Composed]:
        return [
            statement(
                name,
                table=identifier(*(part for part in place if part)),
                key=identifier(related.key),
                keys=statement("keys_of_doomed", columns=identifier(related.by), table=table),
            )
            for place, related in self.detach
        ]


def removal_of(relation: Relation, target: Target) -> Removal:
    """What a target asks to be done to its rows."""
    _, rule = source_of(target)
    read = {relation.shape.key(related) for related in related_in(rule, target.guards)}
    return Removal(
        nulls=target.set_null,
        children=relation.children,
        detach=tuple((relation.shape.key(related), related) for related in target.detach),
        deferred=relation.deferred,
        judged_by_children=bool(read & {(child.schema, child.table) for child in relation.children}),
    )
