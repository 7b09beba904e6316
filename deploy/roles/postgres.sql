-- The least that cleanup-pipeline needs of this database. For the owner of the tables, or an administrator:
--   psql --set ON_ERROR_STOP=1 --dbname DATABASE --file THIS_FILE
-- and then, in psql, \password cleanup. May be run again, as it has to be when a partition or a foreign key was added.
BEGIN;
DO $role0$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'cleanup') THEN CREATE ROLE cleanup; END IF;
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'cleanup' AND (rolsuper OR rolcreaterole OR rolbypassrls)) THEN
    RAISE EXCEPTION 'there is a role cleanup already, and it may do more than it should';
  END IF;
  EXECUTE format('GRANT CONNECT ON DATABASE %I TO cleanup', current_database());
END $role0$;
ALTER ROLE cleanup LOGIN CONNECTION LIMIT 20;
-- The pipeline sets shorter limits of its own; these hold for whoever else uses the login.
ALTER ROLE cleanup SET statement_timeout = '5min';
ALTER ROLE cleanup SET lock_timeout = '2s';
ALTER ROLE cleanup SET idle_in_transaction_session_timeout = '10s';
GRANT USAGE ON SCHEMA "auth" TO cleanup;
GRANT USAGE ON SCHEMA "public" TO cleanup;

-- django_sessions
-- UPDATE only locks (FOR UPDATE SKIP LOCKED); without it a batch waits for rows in use.
GRANT SELECT ("ctid", "expire_date"), UPDATE ("expire_date"), DELETE ON "django_session" TO cleanup;
-- Batches go to each partition by its own name, where the rights of the parent do not count.
DO $role0$ DECLARE leaf regclass; BEGIN
  FOR leaf IN SELECT relid FROM pg_partition_tree('"django_session"'::regclass) WHERE isleaf AND level > 0 LOOP
    EXECUTE concat('GRANT SELECT ("ctid", "expire_date"), UPDATE ("expire_date"), DELETE ON ', leaf, ' TO cleanup');
  END LOOP;
END $role0$;
-- A plan names each row by its key, to know it again.
DO $role0$ DECLARE key text; leaf regclass; BEGIN
  SELECT (SELECT string_agg(quote_ident(a.attname), ', ') FROM unnest(i.indkey::int[]) WITH ORDINALITY k (attnum, at)
          JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum WHERE k.at <= i.indnkeyatts)
  INTO key FROM pg_index i
  WHERE i.indrelid = '"django_session"'::regclass AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
    AND NOT EXISTS (SELECT FROM pg_attribute a
                    WHERE a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey::int[]) AND NOT a.attnotnull)
  ORDER BY i.indisprimary DESC, i.indnkeyatts, i.indexrelid LIMIT 1;
  IF key IS NULL THEN RETURN; END IF;
  EXECUTE concat('GRANT SELECT (', key, ') ON ', '"django_session"', ' TO cleanup');
  FOR leaf IN SELECT relid FROM pg_partition_tree('"django_session"'::regclass) WHERE isleaf AND level > 0 LOOP
    EXECUTE concat('GRANT SELECT (', key, ') ON ', leaf, ' TO cleanup');
  END LOOP;
END $role0$;

-- reset_links
-- In mode dry_run nothing is deleted or locked: DELETE and UPDATE can wait.
-- UPDATE only locks (FOR UPDATE SKIP LOCKED); without it a batch waits for rows in use.
GRANT SELECT ("ctid", "expires_at", "purpose"), UPDATE ("expires_at"), DELETE ON "auth"."reset_tokens" TO cleanup;
-- Batches go to each partition by its own name, where the rights of the parent do not count.
DO $role0$ DECLARE leaf regclass; BEGIN
  FOR leaf IN SELECT relid FROM pg_partition_tree('"auth"."reset_tokens"'::regclass) WHERE isleaf AND level > 0 LOOP
    EXECUTE concat('GRANT SELECT ("ctid", "expires_at", "purpose"), UPDATE ("expires_at"), DELETE ON ', leaf, ' TO cleanup');
  END LOOP;
END $role0$;
-- A plan names each row by its key, to know it again.
DO $role0$ DECLARE key text; leaf regclass; BEGIN
  SELECT (SELECT string_agg(quote_ident(a.attname), ', ') FROM unnest(i.indkey::int[]) WITH ORDINALITY k (attnum, at)
          JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum WHERE k.at <= i.indnkeyatts)
  INTO key FROM pg_index i
  WHERE i.indrelid = '"auth"."reset_tokens"'::regclass AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
    AND NOT EXISTS (SELECT FROM pg_attribute a
                    WHERE a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey::int[]) AND NOT a.attnotnull)
  ORDER BY i.indisprimary DESC, i.indnkeyatts, i.indexrelid LIMIT 1;
  IF key IS NULL THEN RETURN; END IF;
  EXECUTE concat('GRANT SELECT (', key, ') ON ', '"auth"."reset_tokens"', ' TO cleanup');
  FOR leaf IN SELECT relid FROM pg_partition_tree('"auth"."reset_tokens"'::regclass) WHERE isleaf AND level > 0 LOOP
    EXECUTE concat('GRANT SELECT (', key, ') ON ', leaf, ' TO cleanup');
  END LOOP;
END $role0$;

-- To give way to a busy server the pipeline looks at what other sessions do; without this it waits for nobody:
-- GRANT pg_read_all_stats TO cleanup;
COMMIT;
