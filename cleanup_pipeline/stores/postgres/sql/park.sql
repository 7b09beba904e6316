-- name: first_expired
-- Without ORDER BY, a TID range scan goes through the blocks in order, as the batch did. SKIP LOCKED, as in the batch:
-- a row that a login holds was not what it failed on.
SELECT ctid::text FROM ONLY {table} AS record WHERE {expired} AND {after} {order} LIMIT 1 {locking}
