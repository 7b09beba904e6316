"""Planted rows of a table: written in one transaction, each judged by the target's own rule before that commits."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date, datetime
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql

from cleanup_pipeline.model.canary import Canary, CanaryKind
from cleanup_pipeline.model.plan import Finding
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.model.words import Severity
from cleanup_pipeline.stores.base import StoreError
from cleanup_pipeline.stores.postgres.canary_row import HASHED, Column, Recipe, identity_of, recipe_of, row_of
from cleanup_pipeline.stores.postgres.connect import Connection, Connections
from cleanup_pipeline.stores.postgres.relation import Relation, source_of
from cleanup_pipeline.stores.postgres.showing import predicate_of
from cleanup_pipeline.stores.postgres.statements import identifier, statement


class RowCanaries:
    """The canaries of one table."""

    counted = True

    def __init__(
        self, connections: Connections, target: Target, relation: Callable[[Connection, Target], Relation]
    ) -> None:
        self._connections, self._target, self._relation_of = connections, target, relation
        self._rows: dict[str, dict[str, Any]] = {}

    def refusals(self) -> Sequence[Finding]:
        with self._connections.use(self._target) as connection:
            relation = self._relation_of(connection, self._target)
            problems = list(self._recipe(connection, relation).problems)
            problems += self._hindrances(connection, relation)
        return [
            Finding(Severity.ERROR, f"no canary can be planted: {what}", remedy, code="canaries.refused")
            for what, remedy in problems
        ]

    def make(self, several: Sequence[Canary]) -> Sequence[Canary]:
        made: list[Canary] = []
        with self._connections.use(self._target) as connection:
            relation = self._relation_of(connection, self._target)
            recipe = self._recipe(connection, relation)
            if recipe.problems:
                raise self._refused(*recipe.problems[0])
            for each in several:
                row = row_of(recipe, self._target, relation.shape, each)
                if row is None:
                    continue
                self._rows[each.mark] = row
                identity = {name: _plain(value) for name, value in identity_of(recipe, row).items()}
                made.append(replace(each, identity=identity))
        return made

    def plant(self, several: Sequence[Canary], cutoff: datetime) -> None:
        with self._connections.use(self._target) as connection:
            relation = self._relation_of(connection, self._target)
            predicate = predicate_of(self._target, relation.shape, cutoff)
            with connection.transaction():
                # What a crash of the server takes back would look like a record that a pass has killed.
                connection.execute("SET LOCAL synchronous_commit = on")
                for each in several:
                    self._insert(connection, relation, each)
                    found, given = _found(each)
                    query = statement(
                        "canary_state",
                        expired=predicate.expired,
                        live=predicate.live,
                        without_expiry=predicate.without_expiry,
                        scope=predicate.scope,
                        table=relation.identifier,
                        found=found,
                    )
                    row = connection.execute(query, {**predicate.parameters, **given}).fetchone()
                    self._require(each, row)

    def present(self, several: Sequence[Canary]) -> frozenset[str]:
        with self._connections.use(self._target) as connection:
            table = self._relation_of(connection, self._target).identifier
            return frozenset(each.mark for each in several if _is_there(connection, table, each))

    def remove(self, several: Sequence[Canary]) -> None:
        with self._connections.use(self._target) as connection:
            table = self._relation_of(connection, self._target).identifier
            for each in several:
                found, given = _found(each)
                connection.execute(statement("canary_remove", table=table, found=found), given)

    def _recipe(self, connection: Connection, relation: Relation) -> Recipe:
        return _recipe(connection, relation, self._target)

    def _hindrances(self, connection: Connection, relation: Relation) -> list[tuple[str, str]]:
        settings, name = self._target.canaries, self._target.source_name
        of = {"oid": relation.oid}
        found = []
        right = connection.execute(statement("canary_insert_right"), of).fetchone()
        if right is not None and not right[0]:
            found.append((f"the login may not insert into {name}", f"GRANT INSERT ON {name} to it"))
        triggers = [row[0] for row in connection.execute(statement("canary_triggers"), of)]
        if triggers and not (settings and settings.allow_triggers):
            what = f"{name} has triggers or rules that would see them ({', '.join(triggers)})"
            found.append((what, f"set targets.{self._target.name}.canaries.allow_triggers: true if that does no harm"))
        return found

    def _insert(self, connection: Connection, relation: Relation, canary: Canary) -> None:
        row = self._rows[canary.mark]
        columns = sql.SQL(", ").join(identifier(name) for name in row)
        values = sql.SQL(", ").join(sql.Placeholder() for _ in row)
        try:
            query = statement("canary_insert", table=relation.identifier, columns=columns, values=values)
            connection.execute(query, list(row.values()))
        except (psycopg.IntegrityError, psycopg.DataError, psycopg.ProgrammingError, psycopg.InternalError) as fault:
            by = fault.diag.constraint_name or fault.diag.column_name or (fault.diag.message_primary or "")[:160]
            what = f"the table does not take one for {canary.kind} ({by})"
            place = f"targets.{self._target.name}.canaries"
            remedy = f"give values that it takes in {place}.values, or leave that out of {place}.kinds"
            raise self._refused(what, remedy) from None

    def _require(self, canary: Canary, state: tuple[Any, ...] | None) -> None:
        expired, live, without, scope = (bool(each) for each in state or (False, False, False, False))
        wanted = {
            CanaryKind.EXPIRED: expired,
            CanaryKind.WITHOUT_EXPIRY: without and not expired,
            CanaryKind.UNPARSABLE: not (expired or live or without),
        }.get(canary.kind, live and not expired)
        if not (wanted and scope):
            what = f"the target's rule and guards do not take a planted record for {canary.kind}"
            raise self._refused(what, f"give values that do in targets.{self._target.name}.canaries.values")

    def _refused(self, what: str, remedy: str) -> StoreError:
        return StoreError(
            f"no canary can be planted, so nothing was deleted: {what}",
            setting=f"targets.{self._target.name}.canaries",
            remedy=remedy,
        )


def mark_of(connection: Connection, relation: Relation, target: Target) -> str | None:
    """The column that carries the marks of a target's canaries; None: they cannot be planted."""
    return _recipe(connection, relation, target).mark


def _recipe(connection: Connection, relation: Relation, target: Target) -> Recipe:
    _, rule = source_of(target)
    rows = connection.execute(statement("canary_columns"), {"oid": relation.oid}).fetchall()
    return recipe_of(target, rule, [Column(*row) for row in rows])


def _is_there(connection: Connection, table: sql.Identifier, canary: Canary) -> bool:
    found, given = _found(canary)
    row = connection.execute(statement("canary_present", table=table, found=found), given).fetchone()
    return row is not None and bool(row[0])


def _found(canary: Canary) -> tuple[sql.Composable, dict[str, object]]:
    """The condition that only this canary meets: its key, and its mark."""
    given: dict[str, object] = {}
    parts: list[sql.Composable] = []
    for number, (name, value) in enumerate(canary.identity.items()):
        parameter, form = f"canary{number}", "record.{} = {}"
        if isinstance(value, str) and value.startswith(HASHED):
            form = "encode(sha256(convert_to(rtrim(record.{}), 'UTF8')), 'hex') = {}"
            value = value.removeprefix(HASHED)
        given[parameter] = value
        parts.append(sql.SQL(form).format(identifier(name), sql.Placeholder(parameter)))
    return sql.SQL(" AND ").join(parts), given


def _plain(value: Any) -> Any:
    """A key as JSON can hold it."""
    return str(value) if isinstance(value, UUID | datetime | date) else value
