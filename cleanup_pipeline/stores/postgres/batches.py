"""One batch of deletion in one table or partition, and where the next one begins.

A batch first deletes without locking what it found: a lock on each row is written twice, which costs a third of the
speed. A row that a login holds at that moment makes it wait; after PATIENCE the batch is undone and tried again with
SKIP LOCKED, and its place is kept for one second look at the end.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

from psycopg import errors, sql

from cleanup_pipeline.model.outcome import BatchOutcome, Cursor
from cleanup_pipeline.model.plan import Bound, Shard
from cleanup_pipeline.model.target import MAX_BATCH
from cleanup_pipeline.stores.postgres import strategy
from cleanup_pipeline.stores.postgres.connect import Connection
from cleanup_pipeline.stores.postgres.predicate import Predicate
from cleanup_pipeline.stores.postgres.relation import Leaf
from cleanup_pipeline.stores.postgres.removal import Removal
from cleanup_pipeline.stores.postgres.statements import NONE, statement

STUCK = 3
"""Batches in a row that deleted nothing they found, after which a walk steps over that instant."""
PATIENCE_MS = 20
"""How long a batch waits for a row that somebody else holds before it is undone and steps over such rows."""
SECOND_LOOKS = 16
"""Ranges of blocks with locked rows that a sweep comes back to; the rows of any more are left to the next pass."""

_SKIP_LOCKED = sql.SQL("FOR UPDATE SKIP LOCKED")
_NO_WAIT = sql.SQL("FOR UPDATE NOWAIT")
NOTHING = sql.SQL("")
_ALL = sql.SQL("true")
# Read when the wait for a row begins; waiting for the table itself comes before and keeps the session's lock_timeout.
IN_A_HURRY = sql.SQL("set_config('lock_timeout', '{}ms', true)").format(sql.Literal(PATIENCE_MS))

Texts = dict[Hashable, bytes]
"""Statements as they are sent: composing one takes longer than sending it."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a batch works: the first of the leaves that are left, and what is expired in it."""

    leaves: list[Leaf]
    predicate: Predicate
    may_lock: bool
    texts: Texts
    key: Hashable
    """Of everything that shapes a statement but what is passed as a parameter."""
    removal: Removal
    hand_over: "HandOver | None" = None
    """Deletes in place of `_delete` where somebody is told of what goes."""

    @property
    def leaf(self) -> Leaf:
        return self.leaves[0]

    @property
    def after_it(self) -> Cursor | None:
        """The cursor at the start of the next leaf; None when this is the last one."""
        return {"oid": self.leaves[1].oid} if len(self.leaves) > 1 else None

    @property
    def locking(self) -> sql.SQL:
        return _SKIP_LOCKED if self.may_lock else NOTHING


@dataclass(frozen=True, slots=True)
class Found:
    """What a batch found and removed."""

    found: int
    deleted: int
    last: str
    """The place of the last one, in the strategy's own order; empty when nothing was found."""
    met_locks: bool
    children: int = 0


@dataclass(frozen=True, slots=True)
class Search:
    """How a batch finds its rows: to delete them by `found`, or to read them first by `read`."""

    variant: tuple[Hashable, ...]
    found: Callable[[sql.SQL], sql.Composed]
    read: Callable[[sql.Composable, sql.SQL], sql.Composed]
    """The same rows with columns of theirs; each has the row's place and version in front."""
    parameters: dict[str, object]


HandOver = Callable[[Connection, Place, Search], Found]


def walk(connection: Connection, place: Place, shard: Shard, cursor: Cursor, size: int) -> BatchOutcome:
    """Delete the oldest `size` from the cursor on, by the index on expiry."""
    expiry, cast = place.predicate.expiry, place.predicate.cast
    after, until = cursor.get("after", shard.bounds.get("expiry_from")), shard.bounds.get("expiry_to")
    step_over = number(cursor.get("stuck")) >= STUCK
    comparison = sql.SQL(">" if step_over else ">=")
    bounds = [
        sql.SQL("{e} {c} %(after)s::{t}").format(e=expiry, c=comparison, t=cast) if after is not None else _ALL,
        sql.SQL("{e} < %(until)s::{t}").format(e=expiry, t=cast) if until is not None else _ALL,
    ]

    parts = {"table": place.leaf.identifier, "expiry": expiry, "expired": place.predicate.expired}
    parts |= {"after": sql.SQL(" AND ").join(bounds), "file": file_of(place)}
    search = Search(
        (strategy.INDEX_WALK, after is None, until is None, step_over),
        lambda locking: statement("walk_found", locking=locking, **parts),
        lambda columns, locking: statement("walk_read", columns=columns, locking=locking, **parts),
        {"size": size, "after": after, "until": until},
    )
    batch = _delete(connection, place, search)
    onward: dict[str, Bound] = {"oid": place.leaf.oid}
    locked = cursor.get("locked", after if after is not None else "") if batch.met_locks else cursor.get("locked")
    if batch.found < size:
        if locked is not None and "again" not in cursor:
            return _outcome(batch, {**onward, **({"after": locked} if locked else {}), "again": 1})
        return _outcome(batch, place.after_it)
    # A trigger can keep rows from going; without stepping past them the same batch would come back for ever.
    onward |= {"after": batch.last, "stuck": 0 if batch.deleted else number(cursor.get("stuck")) + 1}
    onward |= {name: value for name, value in (("locked", locked), ("again", cursor.get("again"))) if value is not None}
    return _outcome(batch, onward)


def sweep(
    connection: Connection, place: Place, shard: Shard, cursor: Cursor, size: int, ends: Callable[[], int]
) -> BatchOutcome:
    """Delete up to `size` of a range of blocks. `ends` says where the table ends, when nothing says it yet."""
    again = str(cursor.get("again") or "").split()
    if again:
        return _sweep_again(connection, place, again, cursor, size)
    block = number(cursor.get("block", shard.bounds.get("block_from")))
    offset = number(cursor.get("offset"))
    bound = cursor.get("last", shard.bounds.get("block_to"))
    last_block = number(bound) if bound is not None else ends()
    share = float(cursor.get("share") or 0) or None
    end = min(last_block, block + strategy.blocks_per_batch(place.leaf, share, size))
    batch = _range(connection, place, (block, offset), end, size)
    locked = str(cursor.get("locked") or "").split()
    if batch.met_locks and len(locked) < SECOND_LOOKS:
        locked.append(f"{block}-{end}")
    onward: dict[str, Bound] = {"oid": place.leaf.oid, "last": last_block}
    if batch.found >= size:
        at, offset = (int(part) for part in batch.last.strip("()").split(","))
        onward |= {"block": at, "offset": offset + 1, "share": _smoothed(share, batch.found, place.leaf, at - block)}
    else:
        onward |= {"block": end, "offset": 0, "share": _smoothed(share, batch.found, place.leaf, end - block)}
    if batch.found >= size or end < last_block:
        return _outcome(batch, onward | ({"locked": " ".join(locked)} if locked else {}))
    return _outcome(batch, _second_look(place, locked))


def _sweep_again(connection: Connection, place: Place, ranges: list[str], at: Cursor, size: int) -> BatchOutcome:
    end = int(ranges[0].split("-")[1])
    batch = _range(connection, place, (number(at.get("block")), number(at.get("offset"))), end, size)
    if batch.found >= size and end > number(at.get("block")):
        block, offset = (int(part) for part in batch.last.strip("()").split(","))
        return _outcome(batch, {**at, "block": block, "offset": offset + 1})
    return _outcome(batch, _second_look(place, ranges[1:]))


def _second_look(place: Place, ranges: list[str]) -> Cursor | None:
    if not ranges:
        return place.after_it
    return {"oid": place.leaf.oid, "again": " ".join(ranges), "block": int(ranges[0].split("-")[0]), "offset": 0}


def _range(connection: Connection, place: Place, first: tuple[int, int], end: int, size: int) -> Found:
    order = sql.SQL("ORDER BY ctid") if place.predicate.joins else NOTHING
    parts: dict[str, sql.Composable] = {"table": place.leaf.identifier, "expired": place.predicate.expired}
    parts["order"] = order
    parts |= {"inner": place.predicate.columns, "file": file_of(place)}
    around = sql.SQL("ORDER BY record.cleanup_at") if place.predicate.joins else NOTHING

    def judged(locking: sql.SQL) -> dict[str, sql.Composable]:
        return parts if locking is NOTHING else {**parts, "expired": by_place_alone(place)}

    def found(locking: sql.SQL) -> sql.Composed:
        name = "sweep_found" if locking is NOTHING else "sweep_found_and_lock"
        return statement(name, locking=locking, **judged(locking))

    def read(columns: sql.Composable, locking: sql.SQL) -> sql.Composed:
        name = "sweep_read" if locking is NOTHING else "sweep_read_and_lock"
        return statement(name, columns=columns, locking=locking, around=around, **judged(locking))

    parameters: dict[str, object] = {"size": size, "first": f"({first[0]},{first[1]})", "end": f"({end},0)"}
    return _delete(connection, place, Search((strategy.BLOCK_SWEEP,), found, read, parameters))


def _delete(connection: Connection, place: Place, search: Search) -> Found:
    if place.hand_over is not None:
        return place.hand_over(connection, place, search)
    found, given = search.found, {**place.predicate.parameters, **search.parameters}
    removal = place.removal.statement(place.leaf.identifier, place.predicate.kept)
    parts = {"removal": removal, "expired": by_place_alone(place)}
    if place.removal.others_first:
        try:
            return _others_first(connection, place, found(_NO_WAIT), given, met_locks=False)
        except errors.LockNotAvailable:
            return _others_first(connection, place, found(_SKIP_LOCKED), given, met_locks=True)

    def text(locking: sql.SQL, patience: sql.Composable) -> bytes:
        key = (place.key, place.leaf.oid, search.variant, locking.as_string(), patience is IN_A_HURRY)
        if key not in place.texts:
            whole = statement("delete_found", found=found(locking), patience=patience, **parts)
            place.texts[key] = whole.as_bytes(connection)
        return place.texts[key]

    send = sent_and_checked if place.removal.deferred else sent
    try:
        return send(connection, text(NOTHING, IN_A_HURRY), given, met_locks=False)[0]
    except errors.LockNotAvailable:
        return send(connection, text(place.locking, sql.SQL("''")), given, met_locks=True)[0]


def file_of(place: Place) -> sql.Composable:
    """The file that the rows of a leaf are in by now: another one since the table was last written anew."""
    return sql.SQL("pg_relation_filenode({}::oid)").format(sql.Literal(place.leaf.oid))


def by_place_alone(place: Place) -> sql.Composable:
    """The predicate in a form that no index answers, for rows that are named by their place.

    A generic plan that takes few rows for expired would go through all of them by the index, for each batch again.
    Where rows of other tables are joined it stays as it is: as a subquery for each row it could cost more than that.
    """
    if place.predicate.joins:
        return place.predicate.expired
    return sql.SQL("CASE WHEN {} THEN true ELSE false END").format(place.predicate.expired)


def _others_first(
    connection: Connection, place: Place, found: sql.Composed, parameters: dict[str, object], *, met_locks: bool
) -> Found:
    """Rows that refer to the records first, children the deepest of all, in one transaction with the records.

    Raises psycopg.errors.ForeignKeyViolation when it would be more than MAX_BATCH rows, or when a trigger keeps one of
    the rows: its children would be gone for nothing.
    """
    table = place.leaf.identifier
    gone = 0
    with connection.transaction():
        connection.execute(_AT_ONCE)
        connection.execute(statement("doom_found", found=found), parameters)
        due = 0
        for count in place.removal.counts(table):
            row = connection.execute(count, {"most": MAX_BATCH + 1 - due}).fetchone()
            due += row[0] if row else 0
            if due > MAX_BATCH:
                raise errors.ForeignKeyViolation(f"over {MAX_BATCH} rows refer to the records of one batch")
        expired = place.predicate.expired
        if place.removal.judged_by_children:
            # Asked while they are there. The locks keep anybody from changing a record, or giving it another child.
            row = connection.execute(statement("still_doomed", table=table, expired=expired), parameters).fetchone()
            doomed = _read(connection.execute(_SEEN).fetchone())[0]
            if row is None or row[0] < doomed:
                raise errors.SerializationFailure("a record came to life while its batch was under way")
            expired = _ALL
        for change in place.removal.first(table):
            gone += connection.execute(change, NONE).rowcount
        last = statement("delete_doomed", removal=place.removal.statement(table, place.predicate.kept), expired=expired)
        deleted = connection.execute(last, parameters).rowcount
        row = connection.execute(_SEEN).fetchone()
        if gone + deleted > MAX_BATCH:
            raise errors.ForeignKeyViolation(f"{gone} rows refer to {deleted} records, more than a batch may remove")
        seen = _read(row)
        if deleted < seen[0]:
            raise errors.ForeignKeyViolation("a trigger keeps a row whose children would go")
    return Found(seen[0], deleted, seen[1], met_locks=met_locks, children=gone)


Returned = list[tuple[Any, ...]]
"""What a statement gave back of the rows that it removed; empty where it was not asked to."""


def sent(
    connection: Connection, text: bytes, parameters: dict[str, object], *, met_locks: bool
) -> tuple[Found, Returned]:
    """One round trip and one transaction: in autocommit mode, what goes out in one pipeline is committed together."""
    with connection.pipeline():
        deletion = connection.execute(text, parameters, prepare=True)
        # Never prepared: after a deletion that failed, psycopg would take for prepared what the server skipped.
        seen = connection.execute(_SEEN, prepare=False)
    found, last = _read(seen.fetchone())
    return Found(found, deletion.rowcount, last, met_locks), deletion.fetchall() if deletion.description else []


def sent_and_checked(
    connection: Connection, text: bytes, parameters: dict[str, object], *, met_locks: bool
) -> tuple[Found, Returned]:
    """The same, with a violation that shows when the transaction ends before the count of what was deleted."""
    with connection.transaction():
        connection.execute(_AT_ONCE)
        deletion = connection.execute(text, parameters, prepare=True)
        rows = deletion.fetchall() if deletion.description else []
        found, last = _read(connection.execute(_SEEN, prepare=False).fetchone())
    return Found(found, deletion.rowcount, last, met_locks), rows


def _read(seen: tuple[Any, ...] | None) -> tuple[int, str]:
    # Empty when no row got as far as being looked up in what was found: then nothing was.
    found, _, last = str((seen or ("",))[0] or "0").partition(" ")
    return int(found), last


_SEEN = statement("seen")
_AT_ONCE = statement("at_once")


def _outcome(batch: Found, cursor: Cursor | None) -> BatchOutcome:
    largest = batch.deleted + batch.children
    return BatchOutcome(batch.found, batch.deleted, cursor, children=batch.children, largest=largest)


def _smoothed(share: float | None, found: int, leaf: Leaf, blocks: int) -> float:
    rows = max(1.0, max(blocks, 1) * (leaf.rows / leaf.blocks if leaf.rows and leaf.blocks else 30.0))
    seen = min(1.0, found / rows)
    return seen if share is None else share * 0.5 + seen * 0.5


def number(value: Bound) -> int:
    """A bound as a whole number; 0 for none."""
    return int(value or 0)
