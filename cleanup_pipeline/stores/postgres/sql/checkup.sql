-- name: checkup_server
SELECT current_setting('server_version'), current_setting('autovacuum')::bool, current_user::text,
       (SELECT count(*) FROM pg_stat_replication),
       (SELECT extract(epoch FROM max(replay_lag))::float8 FROM pg_stat_replication)

-- name: checkup_slots
SELECT slot_name::text, active, pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint
FROM pg_replication_slots
WHERE restart_lsn IS NOT NULL AND NOT temporary
ORDER BY 3 DESC
LIMIT 20

-- name: checkup_transactions
-- What keeps VACUUM from removing what was deleted.
SELECT extract(epoch FROM max(clock_timestamp() - xact_start))::float8, count(*), bool_or(state LIKE 'idle in%%')
FROM pg_stat_activity
WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
  AND clock_timestamp() - xact_start > %(patience)s

-- name: checkup_prepared
SELECT count(*), extract(epoch FROM max(clock_timestamp() - prepared))::float8
FROM pg_prepared_xacts
WHERE database = current_database() AND clock_timestamp() - prepared > %(patience)s

-- name: checkup_table
SELECT to_regclass(%(name)s)::oid::bigint, to_regclass(%(name)s)::text

-- name: checkup_triggers
-- Bit 3 of tgtype is DELETE.
SELECT t.tgname::text, p.proname::text, t.tgtype::int & 1 = 1
FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
WHERE t.tgrelid = %(oid)s AND NOT t.tgisinternal AND t.tgenabled <> 'D' AND t.tgtype::int & 8 = 8
ORDER BY 1

-- name: checkup_rules
SELECT rulename::text FROM pg_rewrite WHERE ev_class = %(oid)s AND ev_type = '4' AND ev_enabled <> 'D' ORDER BY 1

-- name: checkup_references
-- Foreign keys that lead here from columns that no index leads with: each deletion reads the whole other table.
SELECT con.conrelid::regclass::text, con.conname::text,
       ARRAY(SELECT quote_ident(a.attname) FROM unnest(con.conkey) WITH ORDINALITY k (num, place)
             JOIN pg_attribute a ON a.attrelid = con.conrelid AND a.attnum = k.num ORDER BY k.place),
       greatest(pg_relation_size(con.conrelid), 0)
FROM pg_constraint con
WHERE con.contype = 'f' AND con.confrelid = %(oid)s AND con.conparentid = 0
  AND NOT EXISTS (
      SELECT FROM pg_index i
      WHERE i.indrelid = con.conrelid AND i.indisvalid AND i.indpred IS NULL AND i.indkey[0] = con.conkey[1])
ORDER BY 1

-- name: checkup_indexes
SELECT i.indexrelid::regclass::text
FROM pg_index i
WHERE i.indrelid = %(oid)s AND NOT i.indisvalid
ORDER BY 1

-- name: checkup_partitions
SELECT count(*) FILTER (WHERE isleaf AND level > 0), (SELECT pg_get_partkeydef(%(oid)s::oid))
FROM pg_partition_tree(%(oid)s::oid::regclass)

-- name: checkup_upkeep
SELECT pg_total_relation_size(c.oid), greatest(c.reltuples, -1)::bigint, s.n_live_tup, s.n_dead_tup,
       greatest(s.last_vacuum, s.last_autovacuum), age(c.relfrozenxid), c.reloptions
FROM pg_class c LEFT JOIN pg_stat_user_tables s ON s.relid = c.oid
WHERE c.oid = %(oid)s

-- name: checkup_publications
-- A table that publishes its deletes and has nothing to name a row by refuses them.
SELECT p.pubname::text
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_publication_tables t ON t.schemaname = n.nspname AND t.tablename = c.relname
JOIN pg_publication p ON p.pubname = t.pubname
WHERE c.oid = %(oid)s AND p.pubdelete
  AND (c.relreplident = 'n'
       OR (c.relreplident = 'd' AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)))
ORDER BY 1
