-- name: canary_columns
-- What has to be known of a column to put a value into it.
SELECT a.attname::text, format_type(a.atttypid, NULL), a.atttypmod, a.attnotnull,
       a.atthasdef OR a.attidentity <> '', a.attgenerated <> '', t.typtype::text,
       EXISTS (SELECT FROM pg_index i WHERE i.indrelid = a.attrelid AND i.indisprimary AND a.attnum = ANY (i.indkey)),
       EXISTS (SELECT FROM pg_index i
               WHERE i.indrelid = a.attrelid AND i.indisunique AND NOT i.indisprimary AND a.attnum = ANY (i.indkey)),
       EXISTS (SELECT FROM pg_constraint c
               WHERE c.conrelid = a.attrelid AND c.contype = 'f' AND a.attnum = ANY (c.conkey))
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
WHERE a.attrelid = %(oid)s AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum

-- name: canary_triggers
-- Bits 2 and 3 of tgtype are INSERT and DELETE. A rule rewrites either.
SELECT tgname::text FROM pg_trigger
WHERE tgrelid = %(oid)s AND NOT tgisinternal AND tgenabled <> 'D' AND tgtype::int & 12 <> 0
UNION ALL
SELECT rulename::text FROM pg_rewrite WHERE ev_class = %(oid)s AND ev_type IN ('3', '4') AND ev_enabled <> 'D'
ORDER BY 1

-- name: canary_insert_right
SELECT has_table_privilege(%(oid)s::oid, 'INSERT')

-- name: canary_state
SELECT {expired}, {live}, {without_expiry}, {scope} FROM {table} AS record WHERE {found}

-- name: canary_insert
INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE VALUES ({values})

-- name: canary_present
SELECT EXISTS (SELECT FROM {table} AS record WHERE {found})

-- name: canary_remove
DELETE FROM {table} AS record WHERE {found}
