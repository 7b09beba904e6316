-- name: clock
SELECT clock_timestamp()

-- name: census
SELECT count(*) FILTER (WHERE {live}),
       count(*) FILTER (WHERE {expired}),
       count(*) FILTER (WHERE {without_expiry}),
       count(*),
       (min({expiry}) FILTER (WHERE {expired}))::text,
       count(*) FILTER (WHERE {late})
FROM {table} AS record
WHERE {scope}

-- name: oldest_expired
-- min() with a condition would use no index on the expiry.
SELECT oldest::text FROM (SELECT {expiry} AS oldest FROM {table} AS record WHERE {expired} ORDER BY {expiry} LIMIT 1) first

-- name: survivors
SELECT count(*) FROM {table} AS record WHERE {expired}

-- name: relation
SELECT c.oid::bigint, n.nspname, c.relname, c.relkind::text, pg_is_in_recovery(),
       has_any_column_privilege(c.oid, 'SELECT'), has_table_privilege(c.oid, 'DELETE'),
       has_any_column_privilege(c.oid, 'UPDATE'), row_security_active(c.oid), current_user::text,
       current_setting('server_version_num')::int, c.relhassubclass,
       -- ctid, which batches name rows by: a system column that a grant on single columns has to name as well.
       has_column_privilege(c.oid, (-1)::smallint, 'SELECT')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = to_regclass(%(name)s)

-- name: similar_tables
SELECT CASE WHEN n.nspname = ANY (current_schemas(false)) THEN c.relname ELSE n.nspname || '.' || c.relname END
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND n.nspname NOT LIKE 'pg\_%%' AND n.nspname <> 'information_schema'
ORDER BY 1
LIMIT 2000

-- name: columns
SELECT a.attname, format_type(a.atttypid, NULL), has_column_privilege(a.attrelid, a.attnum, 'SELECT')
FROM pg_attribute a
WHERE a.attrelid = %(oid)s AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum

-- name: leaves_without_rights
SELECT c.oid::regclass::text
FROM pg_partition_tree(%(oid)s::oid::regclass) t JOIN pg_class c ON c.oid = t.relid
WHERE t.isleaf AND NOT (has_any_column_privilege(c.oid, 'SELECT')
  AND CASE WHEN %(stays)s THEN has_any_column_privilege(c.oid, 'UPDATE') ELSE has_table_privilege(c.oid, 'DELETE') END)
LIMIT 1

-- name: expiry_index
SELECT i.indexrelid::regclass::text
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am am ON am.oid = c.relam
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
WHERE i.indrelid = %(oid)s AND i.indisvalid AND i.indpred IS NULL AND am.amname = 'btree' AND a.attname = %(column)s
LIMIT 1

-- name: incoming_foreign_keys
SELECT con.conrelid::regclass::text, con.confdeltype::text, con.condeferrable, c.relname::text,
       ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = con.conrelid AND a.attnum = ANY (con.conkey))
FROM pg_constraint con JOIN pg_class c ON c.oid = con.conrelid
WHERE con.contype = 'f' AND con.confrelid = %(oid)s AND con.conparentid = 0

-- name: leaves
SELECT c.oid::bigint, n.nspname, c.relname, greatest(c.reltuples, 0)::bigint,
       pg_relation_size(c.oid) / current_setting('block_size')::int
FROM pg_partition_tree(%(oid)s::oid::regclass) t
JOIN pg_class c ON c.oid = t.relid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE t.isleaf AND c.relkind = 'r'
UNION
SELECT c.oid::bigint, n.nspname, c.relname, greatest(c.reltuples, 0)::bigint,
       pg_relation_size(c.oid) / current_setting('block_size')::int
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = %(oid)s AND c.relkind = 'r'
ORDER BY 1

-- name: correlation
SELECT s.correlation
FROM pg_stats s JOIN pg_namespace n ON n.nspname = s.schemaname
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = s.tablename
WHERE c.oid = %(oid)s AND s.attname = %(column)s

-- name: expiry_edges
SELECT (percentile_disc(%(shares)s::float8[]) WITHIN GROUP (ORDER BY {expiry}))::text[]
FROM ONLY {table} AS record TABLESAMPLE SYSTEM (%(percent)s) REPEATABLE (1)
WHERE {expired}

-- name: session_zone
SELECT setting, source FROM pg_settings WHERE name = 'TimeZone'

-- name: zones_of_roles
-- What ALTER ROLE gave to single logins, in this database or in all.
SELECT substr(setting, length('TimeZone=') + 1)
FROM pg_db_role_setting s CROSS JOIN unnest(s.setconfig) setting
WHERE s.setrole <> 0 AND s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
  AND lower(setting) LIKE 'timezone=%%'

-- name: related_table
SELECT c.oid::bigint, c.relkind::text, has_any_column_privilege(c.oid, 'SELECT'), has_any_column_privilege(c.oid, 'UPDATE'),
       row_security_active(c.oid)
FROM pg_class c
WHERE c.oid = to_regclass(%(name)s)

-- name: any_row
SELECT EXISTS (SELECT FROM {table})
