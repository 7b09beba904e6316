-- name: walk_found
-- Oldest first along the index on expiry.
SELECT ctid, {expiry} AS place
FROM ONLY {table} AS record
WHERE {expired} AND {after}
ORDER BY {expiry}
LIMIT %(size)s
{locking}

-- name: sweep_found
-- A TID range scan (PostgreSQL 14) reads only the blocks of the range; LIMIT holds the ceiling exactly. OFFSET 0 keeps
-- the expiry out of the inner query, or a plan that does not know the range might go through an index on it instead.
-- The scan goes in order by itself, unless rows of other tables are joined: then a hash join may turn it round, and the
-- batch would end behind rows that it never looked at.
SELECT ctid, ctid AS place
FROM (SELECT ctid, {inner} FROM ONLY {table} WHERE ctid >= %(first)s::tid AND ctid < %(end)s::tid OFFSET 0) record
WHERE {expired}
{order}
LIMIT %(size)s

-- name: sweep_found_and_lock
-- Nothing but the range is left for the planner to go by: an index on the expiry would hand rows on in its own order,
-- and the batch would end behind rows that it never looked at.
SELECT ctid, ctid AS place
FROM ONLY {table} AS record
WHERE ctid >= %(first)s::tid AND ctid < %(end)s::tid AND {expired}
ORDER BY ctid
LIMIT %(size)s
{locking}

-- name: delete_found
-- What was found is left in a setting of the transaction for the statement that follows in the same round trip: a
-- RETURNING that is counted would cost a third of the batch (docs/benchmarks.md). The predicate stands in the DELETE
-- again, and is evaluated again on a row that changed since the snapshot.
{removal}
WHERE ctid = ANY ((
    SELECT ctids
    FROM (
        SELECT array_agg(ctid) AS ctids,
               set_config('cleanup.seen', count(*) || ' ' || coalesce(max(place)::text, ''), true) AS seen,
               {patience} AS patience
        FROM ({found}) doomed
    ) found
    WHERE seen IS NOT NULL AND patience IS NOT NULL
)::tid[]) AND {expired}

-- name: doom_found
-- The rows are locked, so that they are still what was found, with the children that were found, when they are deleted.
SELECT set_config('cleanup.doomed', coalesce(array_agg(ctid)::text, '{{}}'), true),
       set_config('cleanup.seen', count(*) || ' ' || coalesce(max(place)::text, ''), true)
FROM ({found}) doomed

-- name: delete_doomed
{removal} WHERE ctid = ANY (current_setting('cleanup.doomed')::tid[]) AND {expired}

-- name: still_doomed
SELECT count(*) FROM ONLY {table} AS record WHERE ctid = ANY (current_setting('cleanup.doomed')::tid[]) AND {expired}

-- name: keys_of_doomed
SELECT {columns} FROM ONLY {table} WHERE ctid = ANY (current_setting('cleanup.doomed')::tid[])

-- name: keys_of_children
SELECT {columns} FROM {only} {table} WHERE ({referring}) IN ({keys})

-- name: delete_children
DELETE FROM {only} {table} WHERE ({referring}) IN ({keys})

-- name: count_children
SELECT count(*) FROM (SELECT FROM {only} {table} WHERE ({referring}) IN ({keys}) LIMIT %(most)s) limited

-- name: seen
-- Nothing is left there where the statement before met no expired row at all, and so never looked for what to delete.
SELECT current_setting('cleanup.seen', true)

-- name: delete
DELETE FROM ONLY {table} AS record

-- name: set_null
UPDATE ONLY {table} AS record SET {nulls}

-- name: at_once
-- A foreign key that is checked at the end of the transaction would fail where nobody looks any more.
SET CONSTRAINTS ALL IMMEDIATE

-- name: count_referring
SELECT count(*) FROM (SELECT FROM {table} WHERE {key} IN ({keys}) LIMIT %(most)s) limited

-- name: detach_referring
UPDATE {table} SET {key} = NULL WHERE {key} IN ({keys})

-- name: children
-- Everything that refers to the table by a foreign key that keeps or takes along its rows, and what refers to that.
WITH RECURSIVE child AS (
    SELECT con.oid, con.conrelid, con.confrelid, con.conkey, con.confkey, NULL::oid AS above, 1 AS depth,
           ARRAY[con.confrelid] AS path
    FROM pg_constraint con
    WHERE con.contype = 'f' AND con.confrelid = %(oid)s AND con.conparentid = 0 AND con.confdeltype IN ('a', 'r', 'c')
    UNION ALL
    SELECT con.oid, con.conrelid, con.confrelid, con.conkey, con.confkey, child.oid, child.depth + 1,
           child.path || con.confrelid
    FROM pg_constraint con JOIN child ON con.confrelid = child.conrelid
    WHERE con.contype = 'f' AND con.conparentid = 0 AND con.confdeltype IN ('a', 'r', 'c')
      AND NOT con.confrelid = ANY (child.path)
)
SELECT child.oid::bigint, child.above::bigint, child.depth, n.nspname, c.relname,
       child.conrelid = child.confrelid OR child.conrelid = ANY (child.path) AS in_a_circle,
       c.relkind = 'p',
       has_table_privilege(c.oid, 'DELETE') AND has_any_column_privilege(c.oid, 'SELECT'),
       EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisvalid AND i.indkey[0] = ANY (child.conkey)),
       ARRAY(SELECT a.attname::text FROM unnest(child.conkey) WITH ORDINALITY k (attnum, at)
             JOIN pg_attribute a ON a.attrelid = child.conrelid AND a.attnum = k.attnum ORDER BY k.at),
       ARRAY(SELECT a.attname::text FROM unnest(child.confkey) WITH ORDINALITY k (attnum, at)
             JOIN pg_attribute a ON a.attrelid = child.confrelid AND a.attnum = k.attnum ORDER BY k.at)
FROM child JOIN pg_class c ON c.oid = child.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
ORDER BY child.depth DESC, child.oid
