-- name: index_walk
-- Oldest first along the index on expiry. What was found is left in a setting of the transaction for the statement that
-- follows in the same round trip: a RETURNING that is counted would cost a third of the batch (docs/benchmarks.md).
-- The predicate stands in the DELETE again, and is evaluated again on a row that changed since the snapshot.
DELETE FROM ONLY {table}
WHERE ctid = ANY ((
    SELECT ctids
    FROM (
        SELECT array_agg(ctid) AS ctids,
               set_config('cleanup.seen', count(*) || ' ' || coalesce(max(died)::text, ''), true) AS seen,
               {patience} AS patience
        FROM (
            SELECT ctid, {expiry} AS died
            FROM ONLY {table}
            WHERE {expired} AND {after}
            ORDER BY {expiry}
            LIMIT %(size)s
            {locking}
        ) doomed
    ) found
    WHERE seen IS NOT NULL AND patience IS NOT NULL
)::tid[]) AND {expired}

-- name: block_sweep
-- A TID range scan (PostgreSQL 14) reads only the blocks of the range; LIMIT holds the ceiling exactly.
DELETE FROM ONLY {table}
WHERE ctid = ANY ((
    SELECT ctids
    FROM (
        SELECT array_agg(ctid) AS ctids,
               set_config('cleanup.seen', count(*) || ' ' || coalesce(max(ctid)::text, ''), true) AS seen,
               {patience} AS patience
        FROM (
            SELECT ctid
            FROM ONLY {table}
            WHERE ctid >= %(first)s::tid AND ctid < %(end)s::tid AND {expired}
            LIMIT %(size)s
            {locking}
        ) doomed
    ) found
    WHERE seen IS NOT NULL AND patience IS NOT NULL
)::tid[]) AND {expired}

-- name: seen
SELECT current_setting('cleanup.seen')
