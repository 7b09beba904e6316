"""Batches that tell somebody what they remove, and those whose rows are kept before they go.

Where rows are kept, a batch reads them without a lock and in no transaction, has them written away, and then deletes
those that are still the same version: the same xmin at the same place. A row that was changed meanwhile stays, and is
found again. No transaction is open while somebody else writes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from psycopg import errors, sql

from cleanup_pipeline.model.canary import CANARY_PREFIX
from cleanup_pipeline.model.plan import Finding
from cleanup_pipeline.model.removed import Form, Handover, Lot, Removed
from cleanup_pipeline.model.rules import JsonEntriesExpiry
from cleanup_pipeline.model.target import MAX_BATCH, Target
from cleanup_pipeline.model.words import Severity
from cleanup_pipeline.stores.postgres import batches
from cleanup_pipeline.stores.postgres.batches import Found, Place, Search
from cleanup_pipeline.stores.postgres.connect import Connection
from cleanup_pipeline.stores.postgres.own_columns import Columns, StaleColumnsError, columns_of
from cleanup_pipeline.stores.postgres.related_rows import Others, array_of, delete_others, read_others
from cleanup_pipeline.stores.postgres.relation import Relation
from cleanup_pipeline.stores.postgres.shape import RECORD, column_of
from cleanup_pipeline.stores.postgres.statements import identifier, statement

_PLACE, _AT, _VERSION, _FIRST = 0, 1, 2, 3
"""Columns of a row that was read: its place in the strategy's order, where it is, its version, what was asked for."""
_TRIES = 3
"""How often a batch reads its rows where the columns of their table change again and again."""
_SKIP = sql.SQL("FOR UPDATE SKIP LOCKED")
_HURRY = f"SELECT set_config('lock_timeout', '{batches.PATIENCE_MS}ms', true)".encode()
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def findings(connection: Connection, relation: Relation, target: Target) -> list[Finding]:
    """What forbids telling of a target's rows, or keeping them."""
    if not (target.removals or target.quarantine):
        return []
    told: list[Finding] = []
    columns = columns_of(connection, relation.oid)
    name = target.source_name
    if isinstance(target.expiry, JsonEntriesExpiry):
        told.append(_no("its records are entries of a column, which are taken out by the server and never read"))
    hidden = sorted(relation.shape.hidden)
    if hidden and (target.quarantine or target.set_null):
        right = f"GRANT SELECT ON {name} to it, or leave out quarantine"
        told.append(_no(f"the login may not read all of {name} ({', '.join(hidden)})", right))
    unread = [each for each in (target.identifier, target.owner, *columns.key) if each in relation.shape.hidden]
    if unread and not target.quarantine:
        told.append(
            _no(f"the login may not read {', '.join(unread)}", f"GRANT SELECT ({', '.join(unread)}) ON {name} to it")
        )
    for setting, column in (("owner", target.owner), ("identifier", target.identifier)):
        if column is None or column in columns.names:
            continue
        remedy = f"correct targets.{target.name}.{setting}"
        if setting == "owner" and target.layout is not None:
            # A layout's own word for it: the framework may well be used without.
            what = f"{name} has no column {column}: whose a record was is not entered"
            told.append(Finding(Severity.WARNING, what, remedy, code="pg.keeping-owner"))
        else:
            told.append(_no(f"{name} has no column {column}", remedy))
    if target.drop_partitions:
        told.append(_no("partitions that are dropped take rows along that nobody read", "leave out drop_partitions"))
    if not columns.key and (target.quarantine or target.identifier is None):
        remedy = "give it a primary key" if target.quarantine else f"set targets.{target.name}.identifier"
        told.append(_no(f"{name} has no primary key, by which one row is told from another", remedy))
    if target.quarantine:
        told += _unseen(connection, relation, target)
    return told


def _unseen(connection: Connection, relation: Relation, target: Target) -> list[Finding]:
    """Rows that change by themselves when a row goes: nobody could put those back."""
    if target.set_null:
        return []
    types = ["n", "d"] if target.children_first else ["c", "n", "d"]
    detached = {".".join(part for part in relation.shape.key(one) if part) for one in target.detach}
    tables: list[str] = []
    for oid in (relation.oid, *_oids(connection, relation)):
        rows = connection.execute(statement("side_effects"), {"oid": oid, "types": types}).fetchall()
        tables += [row[0] for row in rows]
    own = [table for table in dict.fromkeys(tables) if table not in detached and f"public.{table}" not in detached]
    remedy = "set `children: delete_first`, or leave out quarantine" if types[0] == "c" else "leave out quarantine"
    found = [_no(f"rows of {table} go or change with a record by themselves, unseen", remedy) for table in own]
    others = [(child.schema, child.table) for child in relation.children]
    others += [relation.shape.key(one) for one in target.detach]
    for schema, name in dict.fromkeys(others):
        row = connection.execute(statement("oid_of"), {"name": _written(schema, name)}).fetchone()
        if row is None or not columns_of(connection, row[0]).key:
            found.append(_no(f"{schema}.{name} has no primary key", "give it one, or leave out quarantine"))
    return found


def _oids(connection: Connection, relation: Relation) -> list[int]:
    names = [_written(child.schema, child.table) for child in relation.children]
    rows = [connection.execute(statement("oid_of"), {"name": name}).fetchone() for name in names]
    return [row[0] for row in rows if row and row[0]]


def _written(*parts: str) -> str:
    return ".".join('"' + part.replace('"', '""') + '"' for part in parts if part)


def _no(what: str, remedy: str = "leave out removal_ledger and quarantine") -> Finding:
    return Finding(Severity.ERROR, f"cannot keep what goes: {what}", remedy, code="pg.keeping")


@dataclass(slots=True)
class Known:
    """What is asked once for all batches of a target, and again where it turns out to be of yesterday."""

    columns: Columns
    mark: str | None
    """The column by which a canary is known; None: there are none."""


@dataclass(frozen=True, slots=True)
class Keeper:
    """Deletes the batches of one target in place of `batches`, and hands over what goes."""

    target: Target
    relation: Relation
    known: Known
    handover: Handover

    @property
    def columns(self) -> Columns:
        return self.known.columns

    @property
    def mark(self) -> str | None:
        return self.known.mark

    def __call__(self, connection: Connection, place: Place, search: Search) -> Found:
        """`batches.HandOver`."""
        for _ in range(_TRIES):
            try:
                return self._batch(connection, place, search)
            except (StaleColumnsError, errors.UndefinedColumn) as fault:
                before, self.known.columns = self.columns, columns_of(connection, self.relation.oid)
                if isinstance(fault, errors.UndefinedColumn) and before == self.columns:
                    raise
        raise errors.SerializationFailure("the columns of a table change while its rows are read")

    def _batch(self, connection: Connection, place: Place, search: Search) -> Found:
        if place.removal.others_first:
            return self._with_others(connection, place, search)
        if self.handover.whole or place.removal.nulls:
            return self._one_by_one(connection, place, search)
        return self._told(connection, place, search)

    def _told(self, connection: Connection, place: Place, search: Search) -> Found:
        """Delete as ever, and have what went returned."""

        def text(locking: sql.SQL, patience: sql.Composable) -> bytes:
            key = (
                place.key,
                place.leaf.oid,
                search.variant,
                "told",
                locking.as_string(),
                patience is batches.IN_A_HURRY,
            )
            if key not in place.texts:
                whole = sql.SQL("{} RETURNING {}").format(
                    statement(
                        "delete_found",
                        found=search.found(locking),
                        patience=patience,
                        removal=place.removal.statement(place.leaf.identifier, place.predicate.kept),
                        expired=batches.by_place_alone(place),
                    ),
                    self._named(place),
                )
                place.texts[key] = whole.as_bytes(connection)
            return place.texts[key]

        given = {**place.predicate.parameters, **search.parameters}
        send = batches.sent_and_checked if place.removal.deferred else batches.sent
        try:
            found, rows = send(connection, text(batches.NOTHING, batches.IN_A_HURRY), given, met_locks=False)
        except errors.LockNotAvailable:
            found, rows = send(connection, text(place.locking, sql.SQL("''")), given, met_locks=True)
        if rows:
            with self.handover.aside():
                lot = Lot(self._records(place, rows, 0))
            self.handover.gone(lot)
        return found

    def _one_by_one(self, connection: Connection, place: Place, search: Search) -> Found:
        """Read, keep, and delete what is still the same."""
        rows = self._read(connection, place, search, batches.NOTHING)
        if not rows:
            return Found(0, 0, "", met_locks=False)
        with self.handover.aside():
            lot = Lot(self._records(place, rows, _FIRST), (self._form(place),))
        if self.handover.whole:
            self.handover.hold(lot)
        met_locks = False
        at, version = [row[_AT] for row in rows], [row[_VERSION] for row in rows]
        given = {**place.predicate.parameters, "at": array_of(at), "version": array_of(version)}
        try:
            went = self._delete(connection, place, given)
        except errors.LockNotAvailable:
            met_locks = True
            went = self._delete_unlocked(connection, place, at, version)
        self.handover.gone(lot, went)
        return Found(len(rows), len(went), rows[-1][_PLACE], met_locks)

    def _delete(self, connection: Connection, place: Place, given: dict[str, object]) -> list[int]:
        deletion = self._text(connection, place, "held", lambda: _held(place, batches.by_place_alone(place)))
        if place.removal.deferred:
            with connection.transaction():
                connection.execute(statement("at_once"))
                connection.execute(_HURRY)
                rows = connection.execute(deletion, given, prepare=True).fetchall()
            return [row[0] - 1 for row in rows]
        # One pipeline in autocommit mode is one transaction.
        with connection.pipeline():
            connection.execute(_HURRY, prepare=False)
            deleted = connection.execute(deletion, given, prepare=True)
        return [row[0] - 1 for row in deleted.fetchall()]

    def _delete_unlocked(
        self, connection: Connection, place: Place, at: Sequence[str], version: Sequence[str]
    ) -> list[int]:
        """As `_delete`, but for rows that somebody holds."""
        given = {**place.predicate.parameters, "at": array_of(at), "version": array_of(version)}
        with connection.transaction():
            connection.execute(statement("at_once"))
            locking = statement(
                "lock_held",
                file=batches.file_of(place),
                table=place.leaf.identifier,
                expired=batches.by_place_alone(place),
                wait=sql.SQL("SKIP LOCKED" if place.may_lock else "NOWAIT"),
            )
            free = sorted(row[0] - 1 for row in connection.execute(locking, given).fetchall())
            given |= {"at": array_of([at[n] for n in free]), "version": array_of([version[n] for n in free])}
            rows = connection.execute(_held(place, batches.by_place_alone(place)), given).fetchall()
        return [free[row[0] - 1] for row in rows]

    def _with_others(self, connection: Connection, place: Place, search: Search) -> Found:
        try:
            return self._others_first(connection, place, search, batches.NOTHING)
        except errors.LockNotAvailable:
            return self._others_first(connection, place, search, _SKIP)

    def _others_first(self, connection: Connection, place: Place, search: Search, locking: sql.SQL) -> Found:
        """Rows that refer to the records are read with them, and go before them, or nothing goes.

        Raises psycopg.errors.ForeignKeyViolation for more than a batch may have, SerializationFailure where something
        is not as it was read.
        """
        with connection.transaction():
            if locking is batches.NOTHING:
                connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            rows = self._read(connection, place, search, locking)
            connection.execute(statement("doom"), {"at": array_of([row[_AT] for row in rows])})
            others = read_others(connection, place, MAX_BATCH - len(rows))
        if not rows:
            return Found(0, 0, "", met_locks=locking is _SKIP)
        records = [*self._records(place, rows, _FIRST), *others.records]
        lot = Lot(records, (self._form(place), *others.forms))
        if self.handover.whole:
            self.handover.hold(lot)
        at, version = [row[_AT] for row in rows], [row[_VERSION] for row in rows]
        gone = self._delete_with(connection, place, at, version, others)
        # Others went, too, but are no records of the target.
        self.handover.gone(lot, None if self.handover.whole else range(len(rows)))
        return Found(len(rows), len(rows), rows[-1][_PLACE], locking is _SKIP, children=gone)

    def _delete_with(
        self, connection: Connection, place: Place, at: Sequence[str], version: Sequence[str], others: Others
    ) -> int:
        given = {**place.predicate.parameters, "at": array_of(at), "version": array_of(version)}
        with connection.transaction():
            connection.execute(statement("at_once"))
            table, expired = place.leaf.identifier, batches.by_place_alone(place)
            locking = statement(
                "lock_held", table=table, file=batches.file_of(place), expired=expired, wait=sql.SQL("NOWAIT")
            )
            if len(connection.execute(locking, given).fetchall()) < len(at):
                raise errors.SerializationFailure("a record changed while its batch was under way")
            connection.execute(statement("doom"), {"at": given["at"]})
            gone = delete_others(connection, place, others)
            judged = sql.SQL("true") if place.removal.judged_by_children else expired
            if len(connection.execute(_held(place, judged), given).fetchall()) < len(at):
                raise errors.ForeignKeyViolation("a trigger keeps a row whose children would go")
        return gone

    def _read(self, connection: Connection, place: Place, search: Search, locking: sql.SQL) -> list[tuple[Any, ...]]:
        """Raises StaleColumnsError where bodies would not be whole."""
        columns = self.columns
        whole = self.handover.whole or bool(place.removal.nulls)
        parts = [columns.body, self._named(place), columns.unchanged] if whole else [self._named(place)]
        wanted = sql.SQL(", ").join(parts)
        what = (search.variant, locking.as_string(), columns)
        text = self._text(connection, place, what, lambda: search.read(wanted, locking))
        given = {**place.predicate.parameters, **search.parameters, **(columns.parameters if whole else {})}
        rows = connection.execute(text, given, prepare=True).fetchall()
        if whole and rows and rows[0][-1] is not True:
            raise StaleColumnsError
        return rows

    def _text(self, connection: Connection, place: Place, what: Any, compose: Any) -> bytes:
        key = (place.key, place.leaf.oid, "keep", what)
        if key not in place.texts:
            place.texts[key] = compose().as_bytes(connection)
        return place.texts[key]

    def _named(self, place: Place) -> sql.Composable:
        """Identifier, owner and expiry of a row, where they are wanted, and whether it is a canary."""
        planted: sql.Composable = sql.SQL("")
        if self.mark is not None:
            mark = sql.SQL(", coalesce(starts_with({}::text, {}), false)")
            planted = mark.format(column_of(RECORD, self.mark), sql.Literal(CANARY_PREFIX))
        if not self.handover.named:
            return sql.SQL("NULL, NULL, NULL{}").format(planted)
        names = (self.target.identifier,) if self.target.identifier else self.columns.key
        parts = [sql.SQL("{}::text").format(column_of(RECORD, name)) for name in names]
        what = parts[0] if len(parts) == 1 else sql.SQL("concat_ws(',', {})").format(sql.SQL(", ").join(parts))
        owner: sql.Composable = sql.SQL("NULL")
        if self.target.owner is not None and self.target.owner in self.columns.names:
            owner = sql.SQL("{}::text").format(column_of(RECORD, self.target.owner))
        died: sql.Composable = sql.SQL("{}::text").format(place.predicate.expiry)
        if self._is_instant(place):
            # `extract` counts in numeric, which costs as much as all the rest of a row that is told.
            died = sql.SQL("(date_part('epoch', {}) * 1000)::bigint").format(place.predicate.expiry)
        return sql.SQL("{}, {}, {}{}").format(what, owner, died, planted)

    def _is_instant(self, place: Place) -> bool:
        return place.predicate.cast.as_string() == "timestamptz" and place.predicate.unit is None

    def _records(self, place: Place, rows: Sequence[tuple[Any, ...]], first: int) -> list[Removed]:
        """What was asked for begins at column `first`, with the body where there is one."""
        whole = first and (self.handover.whole or bool(place.removal.nulls))
        named = first + bool(whole)
        marked = self.mark is not None
        if not self.handover.named:
            return [Removed(body=row[first].encode(), planted=marked and row[named + 3]) for row in rows]
        later = int(place.predicate.lifetime.total_seconds() * 1000)
        if self._is_instant(place):
            died = [None if row[named + 2] is None else row[named + 2] + later for row in rows]
        else:
            instants = [place.predicate.instant_of(row[named + 2]) for row in rows]
            died = [None if at is None else int((at - EPOCH).total_seconds() * 1000) for at in instants]
        return [
            Removed(
                (row[named] or "").encode(),
                (row[named + 1] or "").encode(),
                at,
                row[first].encode() if whole else b"",
                planted=marked and row[named + 3],
            )
            for row, at in zip(rows, died, strict=True)
        ]

    def _form(self, place: Place) -> Form:
        nulls = place.removal.nulls
        return {
            "store": "postgres",
            "table": [self.relation.schema, self.relation.name],
            "columns": list(self.columns.names),
            "computed": list(self.columns.computed),
            "key": list(self.columns.key),
            "nulls": list(nulls),
        }


def _held(place: Place, expired: sql.Composable) -> sql.Composed:
    table, file, nulls = place.leaf.identifier, batches.file_of(place), place.removal.nulls
    if not nulls:
        return statement("delete_held", table=table, file=file, expired=expired)
    changes = sql.SQL(", ").join(sql.SQL("{} = NULL").format(identifier(name)) for name in nulls)
    return statement("set_null_held", table=table, file=file, expired=expired, nulls=changes)
