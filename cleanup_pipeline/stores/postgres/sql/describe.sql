-- name: tables
SELECT n.nspname::text, c.relname::text, pg_table_is_visible(c.oid),
       ARRAY(SELECT a.attname::text FROM pg_attribute a
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum),
       ARRAY(SELECT format_type(a.atttypid, NULL) FROM pg_attribute a
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum),
       ARRAY(SELECT DISTINCT k.conrelid::regclass::text FROM pg_constraint k
             WHERE k.confrelid = c.oid AND k.contype = 'f' AND k.conparentid = 0 ORDER BY 1)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\_%%'
  AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
ORDER BY 3 DESC, 1, 2
LIMIT %(most)s

-- name: magnitude
SELECT substring(value from '^[0-9]{{1,19}}')::numeric::float8
FROM (SELECT {column}::text AS value FROM {table} WHERE {column} IS NOT NULL LIMIT %(most)s) sample
WHERE value ~ '^[0-9]{{1,19}}(\.[0-9]*)?$'
