-- name: extension_function
SELECT n.nspname::text, p.proname::text
FROM pg_extension e
JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE e.extname = %(extension)s AND p.proname = %(name)s
  AND has_function_privilege(p.oid, 'EXECUTE') AND has_schema_privilege(n.oid, 'USAGE')
LIMIT 1

-- name: bloat_estimate
-- What the table takes up, and what its rows need: a header of 24 bytes and a pointer of 4 beside the columns' mean
-- widths, rounded up to 8, in blocks that keep 24 bytes to themselves and what fillfactor leaves.
WITH sized AS (
    SELECT c.oid, pg_relation_size(c.oid) AS size, c.reltuples, current_setting('block_size')::int AS block,
           coalesce((SELECT option_value::int FROM pg_options_to_table(c.reloptions) WHERE option_name = 'fillfactor'), 100)
               AS fill
    FROM pg_class c WHERE c.oid = %(oid)s AND c.relkind = 'r' AND c.reltuples >= 0
), widths AS (
    SELECT sum((1 - s.null_frac) * s.avg_width) AS row_width, count(*) AS known
    FROM pg_stats s JOIN pg_class c ON c.relname = s.tablename JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = %(oid)s AND n.nspname = s.schemaname AND NOT s.inherited
)
SELECT size,
       CASE WHEN known > 0 OR reltuples = 0 THEN
           (ceil(reltuples * (4 + 8 * ceil((24 + coalesce(row_width, 0)) / 8)) / ((block - 24) * fill / 100.0)) * block)::bigint
       END
FROM sized, widths

-- name: catalogue_cost
-- What a walk of 1,000 entries of a b-tree would cost: its pages, and the blocks of the rows, which are as many as the rows
-- where these lie in no order, and as few as hold them where they lie in the order of the column.
SELECT coalesce(abs(s.correlation), 0)::float8, c.reltuples::float8, c.relpages::float8,
       current_setting('random_page_cost')::float8, current_setting('seq_page_cost')::float8,
       current_setting('cpu_tuple_cost')::float8 + current_setting('cpu_index_tuple_cost')::float8
FROM pg_class c
LEFT JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_stats s ON s.schemaname = n.nspname AND s.tablename = c.relname AND s.attname = %(column)s AND NOT s.inherited
WHERE c.oid = %(oid)s
