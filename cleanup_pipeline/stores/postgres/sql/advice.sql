-- name: advice_extensions
SELECT name::text, coalesce(installed_version, default_version), installed_version IS NOT NULL
FROM pg_available_extensions WHERE name IN ('pg_cron', 'pg_partman') ORDER BY name

-- name: advice_columns
SELECT a.attname::text, a.attnotnull, a.attgenerated <> '', a.attidentity <> '',
       pg_get_serial_sequence(quote_ident(%(schema)s::text) || '.' || quote_ident(%(name)s::text), a.attname::text)
FROM pg_attribute a WHERE a.attrelid = %(oid)s AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum

-- name: advice_indexes
SELECT i.indexrelid::regclass::text, i.indisprimary, i.indisunique, i.indexprs IS NULL AND i.indpred IS NULL,
       ARRAY(SELECT a.attname::text FROM unnest(i.indkey[0:i.indnkeyatts - 1]) WITH ORDINALITY k (num, place)
             JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.num ORDER BY k.place),
       am.amname::text
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am am ON am.oid = c.relam
WHERE i.indrelid = %(oid)s AND i.indisvalid ORDER BY i.indisprimary DESC, 1

-- name: advice_foreign_keys
SELECT pg_get_constraintdef(oid) FROM pg_constraint
WHERE conrelid = %(oid)s AND contype = 'f' AND conparentid = 0 ORDER BY conname

-- name: advice_partition_key
SELECT pg_get_partkeydef(%(oid)s::oid),
       (SELECT count(*) FROM pg_partition_tree(%(oid)s::oid::regclass) WHERE isleaf AND level > 0)

-- name: advice_swap
BEGIN;
LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE;
INSERT INTO {new} ({columns}) {overriding}SELECT {columns} FROM {table};
ALTER TABLE {table} RENAME TO {before};
ALTER TABLE {new} RENAME TO {name};
COMMIT;

-- name: advice_cron_delete
DELETE FROM {table} WHERE ctid = ANY (ARRAY(SELECT ctid FROM {table} WHERE {dead} LIMIT 1000)) AND {dead}
