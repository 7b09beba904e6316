-- name: index_walk
-- Oldest first along the index on expiry. FOR UPDATE re-reads a row that changed since the snapshot, SKIP LOCKED steps
-- over one that a login holds, and the predicate stands in the DELETE again for roles without the right to lock.
WITH doomed AS MATERIALIZED (
    SELECT ctid, {expiry} AS died
    FROM ONLY {table}
    WHERE {expired} AND {after}
    ORDER BY {expiry}
    LIMIT %(size)s
    {locking}
), gone AS (
    DELETE FROM ONLY {table}
    WHERE ctid = ANY (ARRAY(SELECT ctid FROM doomed)) AND {expired}
    RETURNING 1
)
SELECT (SELECT count(*) FROM doomed), (SELECT count(*) FROM gone), (SELECT max(died)::text FROM doomed)

-- name: block_sweep
-- A TID range scan (PostgreSQL 14) reads only the blocks of the range; LIMIT holds the ceiling exactly.
WITH doomed AS MATERIALIZED (
    SELECT ctid
    FROM ONLY {table}
    WHERE ctid >= %(first)s::tid AND ctid < %(end)s::tid AND {expired}
    LIMIT %(size)s
    {locking}
), gone AS (
    DELETE FROM ONLY {table}
    WHERE ctid = ANY (ARRAY(SELECT ctid FROM doomed)) AND {expired}
    RETURNING 1
)
SELECT (SELECT count(*) FROM doomed), (SELECT count(*) FROM gone),
       (SELECT ctid::text FROM doomed ORDER BY ctid DESC LIMIT 1)
