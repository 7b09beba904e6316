-- name: walk_read
-- As walk_found, with the version of each row (xmin) and what else is asked for.
SELECT {expiry}::text AS place, record.ctid::text, record.xmin::text || ' ' || {file}, {columns}
FROM ONLY {table} AS record
WHERE {expired} AND {after}
ORDER BY {expiry}
LIMIT %(size)s
{locking}

-- name: sweep_read
-- As for sweep_found, the range has to be read by itself.
SELECT record.cleanup_at::text AS place, record.cleanup_at::text, record.cleanup_version::text || ' ' || {file}, {columns}
FROM (
    SELECT ctid AS cleanup_at, xmin AS cleanup_version, {inner}
    FROM ONLY {table}
    WHERE ctid >= %(first)s::tid AND ctid < %(end)s::tid
    OFFSET 0
) record
WHERE {expired}
{around}
LIMIT %(size)s

-- name: sweep_read_and_lock
-- As for sweep_found_and_lock: the planner has nothing to go by but the range.
SELECT record.ctid::text AS place, record.ctid::text, record.xmin::text || ' ' || {file}, {columns}
FROM ONLY {table} AS record
WHERE ctid >= %(first)s::tid AND ctid < %(end)s::tid AND {expired}
ORDER BY ctid
LIMIT %(size)s
{locking}

-- name: delete_held
-- Nothing but the very versions that were kept: one that was changed since is another row with another xmin, also when
-- it took over the place of a row that is gone. A table that is written anew (VACUUM FULL, some of ALTER TABLE) gives its
-- rows other places and leaves them their xmin: its file is part of the version. The predicate stands here again.
DELETE FROM ONLY {table} AS record
USING unnest(%(at)s::tid[], %(version)s::text[]) WITH ORDINALITY AS held(at, version, number)
WHERE record.ctid = held.at AND record.xmin::text || ' ' || {file} = held.version AND {expired}
RETURNING held.number::int

-- name: set_null_held
UPDATE ONLY {table} AS record SET {nulls}
FROM unnest(%(at)s::tid[], %(version)s::text[]) WITH ORDINALITY AS held(at, version, number)
WHERE record.ctid = held.at AND record.xmin::text || ' ' || {file} = held.version AND {expired}
RETURNING held.number::int

-- name: lock_held
SELECT held.number::int
FROM unnest(%(at)s::tid[], %(version)s::text[]) WITH ORDINALITY AS held(at, version, number)
JOIN ONLY {table} AS record ON record.ctid = held.at AND record.xmin::text || ' ' || {file} = held.version
WHERE {expired}
FOR UPDATE OF record {wait}

-- name: doom
SELECT set_config('cleanup.doomed', %(at)s::tid[]::text, true)

-- name: read_children
SELECT record.tableoid::text, record.ctid::text,
    record.xmin::text || ' ' || pg_relation_filenode(record.tableoid), {body}, {unchanged}
FROM {only} {table} AS record
WHERE ({referring}) IN ({keys})
LIMIT %(most)s

-- name: delete_held_children
DELETE FROM {only} {table} AS record
USING unnest(%(of)s::oid[], %(at)s::tid[], %(version)s::text[]) AS held(of, at, version)
WHERE record.ctid = held.at AND record.tableoid = held.of
  AND record.xmin::text || ' ' || pg_relation_filenode(record.tableoid) = held.version

-- name: read_referring
SELECT row({own})::text FROM {table} WHERE {key} IN ({keys}) LIMIT %(most)s

-- name: own_columns
-- In the order in which a row is written; what the server computes by itself is not written back.
SELECT attname, attgenerated::text <> ''
FROM pg_attribute
WHERE attrelid = %(oid)s AND attnum > 0 AND NOT attisdropped
ORDER BY attnum

-- name: unchanged
-- In the statement that reads the rows: its snapshot is that of what it reads of the catalog, too.
(SELECT array_agg(attname::text ORDER BY attnum) = %(columns)s::text[]
    AND coalesce(array_agg(attname::text ORDER BY attnum) FILTER (WHERE attgenerated::text <> ''), '{{}}')
        = %(computed)s::text[]
 FROM pg_attribute
 WHERE attrelid = %(relation)s::bigint::oid AND attnum > 0 AND NOT attisdropped)

-- name: primary_key
SELECT a.attname
FROM pg_index i CROSS JOIN unnest(i.indkey) WITH ORDINALITY AS k(attnum, at)
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
WHERE i.indrelid = %(oid)s AND i.indisprimary
ORDER BY k.at

-- name: side_effects
-- Rows of other tables that the server would remove or change by itself, unseen.
SELECT con.conrelid::regclass::text
FROM pg_constraint con
WHERE con.contype = 'f' AND con.confrelid = %(oid)s AND con.conparentid = 0 AND con.confdeltype = ANY (%(types)s::text[])

-- name: oid_of
SELECT to_regclass(%(name)s)::oid::bigint

-- name: put_row_back
INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE VALUES ({values}) {conflict}

-- name: at_the_end
SET CONSTRAINTS ALL DEFERRED

-- name: put_columns_back
UPDATE {table} SET {changes} WHERE {key} AND {empty}

-- name: row_is_there
SELECT EXISTS (SELECT FROM {table} WHERE {key})

-- name: durably
SELECT set_config('synchronous_commit', 'on', true)
