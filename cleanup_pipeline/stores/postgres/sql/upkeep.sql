-- name: storage
SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint,
       coalesce(sum(greatest(c.reltuples, 0)), 0)::bigint,
       coalesce(sum(pg_stat_get_dead_tuples(c.oid)), 0)::bigint
FROM pg_class c
WHERE c.relkind = 'r' AND (
    c.oid = %(oid)s OR c.oid IN (SELECT relid FROM pg_partition_tree(%(oid)s::oid::regclass) WHERE isleaf)
)

-- name: owned
SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = %(oid)s

-- name: vacuum
-- TRUNCATE false: giving the empty end of the file back takes a lock that stops every login. SKIP_LOCKED: nor does it
-- queue behind somebody else's.
VACUUM (ANALYZE, SKIP_LOCKED, TRUNCATE false) {table}

-- name: range_partitions
-- Leaves whose parent is cut by ranges of this one column; those of expressions and of several columns are left out.
SELECT c.oid::bigint, pn.nspname, p.relname, pg_get_expr(c.relpartbound, c.oid), i.inhdetachpending
FROM pg_partition_tree(%(oid)s::oid::regclass) t
JOIN pg_class c ON c.oid = t.relid
JOIN pg_class p ON p.oid = t.parentrelid
JOIN pg_namespace pn ON pn.oid = p.relnamespace
JOIN pg_partitioned_table r ON r.partrelid = p.oid
JOIN pg_attribute a ON a.attrelid = p.oid AND a.attnum = r.partattrs[0]
JOIN pg_inherits i ON i.inhrelid = c.oid
WHERE t.isleaf AND c.relkind = 'r' AND r.partstrat = 'r' AND r.partnatts = 1 AND a.attname = %(column)s

-- name: half_dropped
-- A partition that a pass detached and, interrupted, did not drop: found by what was written on it before.
SELECT c.oid::bigint, n.nspname, c.relname, greatest(c.reltuples, 0)::bigint,
       pg_relation_size(c.oid) / current_setting('block_size')::int
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_description d ON d.objoid = c.oid AND d.classoid = 'pg_class'::regclass AND d.objsubid = 0
WHERE c.relkind = 'r' AND NOT c.relispartition AND starts_with(d.description, %(mark)s)

-- name: mark
COMMENT ON TABLE {table} IS {mark}

-- name: detach
ALTER TABLE {parent} DETACH PARTITION {table}

-- name: detach_concurrently
ALTER TABLE {parent} DETACH PARTITION {table} CONCURRENTLY

-- name: detach_finalize
ALTER TABLE {parent} DETACH PARTITION {table} FINALIZE

-- name: attach
ALTER TABLE {parent} ATTACH PARTITION {table} {bounds}

-- name: lock
LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE

-- name: all_expired
SELECT count(*), count(*) FILTER (WHERE {expired}) FROM ONLY {table} AS record

-- name: hidden_rows
-- Whether a policy keeps rows of any of these tables from the login.
SELECT coalesce(bool_or(row_security_active(c.oid)), false) FROM pg_class c WHERE c.oid = ANY (%(oids)s::oid[])

-- name: drop
DROP TABLE {table}
