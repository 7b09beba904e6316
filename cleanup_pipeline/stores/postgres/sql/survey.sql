-- name: survey
-- Tables by catalog alone, of which every login may read all there is here.
SELECT n.nspname::text, pg_table_is_visible(c.oid), c.relname::text, c.reltuples::bigint,
       (SELECT json_object_agg(a.attname, format_type(a.atttypid, NULL))
        FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\_toast%%' AND n.nspname NOT LIKE 'pg\_temp%%'
ORDER BY 2 DESC, 1, 3
LIMIT %(most)s
