-- name: role_about
-- The least that cleanup-pipeline needs of this database. For the owner of the tables, or an administrator:
--   psql --set ON_ERROR_STOP=1 --dbname DATABASE --file THIS_FILE
-- and then, in psql, \password cleanup. May be run again, as it has to be when a partition or a foreign key was added.

-- name: role_head
BEGIN;
DO {tag} BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'cleanup') THEN CREATE ROLE cleanup; END IF;
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'cleanup' AND (rolsuper OR rolcreaterole OR rolbypassrls)) THEN
    RAISE EXCEPTION 'there is a role cleanup already, and it may do more than it should';
  END IF;
  EXECUTE format('GRANT CONNECT ON DATABASE %I TO cleanup', current_database());
END {tag};
ALTER ROLE cleanup LOGIN CONNECTION LIMIT {limit};
-- The pipeline sets shorter limits of its own; these hold for whoever else uses the login.
ALTER ROLE cleanup SET statement_timeout = '5min';
ALTER ROLE cleanup SET lock_timeout = '2s';
ALTER ROLE cleanup SET idle_in_transaction_session_timeout = '10s';

-- name: role_tail
-- To give way to a busy server the pipeline looks at what other sessions do; without this it waits for nobody:
-- GRANT pg_read_all_stats TO cleanup;
COMMIT;

-- name: role_leaves
-- Batches go to each partition by its own name, where the rights of the parent do not count.
{begin}DECLARE leaf regclass; BEGIN
  FOR leaf IN SELECT relid FROM pg_partition_tree({name}::regclass) WHERE isleaf AND level > 0 LOOP
    EXECUTE concat({before}, leaf, ' TO cleanup');
  END LOOP;
END{end}

-- name: role_keys
-- A plan names each row by its key, to know it again.
{begin}DECLARE key text; leaf regclass; BEGIN
  SELECT (SELECT string_agg(quote_ident(a.attname), ', ') FROM unnest(i.indkey::int[]) WITH ORDINALITY k (attnum, at)
          JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum WHERE k.at <= i.indnkeyatts)
  INTO key FROM pg_index i
  WHERE i.indrelid = {name}::regclass AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
    AND NOT EXISTS (SELECT FROM pg_attribute a
                    WHERE a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey::int[]) AND NOT a.attnotnull)
  ORDER BY i.indisprimary DESC, i.indnkeyatts, i.indexrelid LIMIT 1;
  IF key IS NULL THEN {leave}; END IF;
  EXECUTE concat('GRANT SELECT (', key, ') ON ', {name}, ' TO cleanup');
  FOR leaf IN SELECT relid FROM pg_partition_tree({name}::regclass) WHERE isleaf AND level > 0 LOOP
    EXECUTE concat('GRANT SELECT (', key, ') ON ', leaf, ' TO cleanup');
  END LOOP;
END{end}

-- name: role_canaries
-- canaries: a planted row is known by its primary key, and by a mark in the first column of text that has room for it.
{begin}DECLARE mark text; BEGIN
  SELECT quote_ident(a.attname) INTO mark FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
  CROSS JOIN LATERAL (
    SELECT coalesce(bool_or(i.indisprimary), false) AS is_primary,
           coalesce(bool_or(i.indisunique AND NOT i.indisprimary), false) AS is_unique
    FROM pg_index i WHERE i.indrelid = a.attrelid AND a.attnum = ANY (i.indkey)
  ) key
  WHERE a.attrelid = {name}::regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
    AND t.typtype = 'b' AND format_type(a.atttypid, NULL) = ANY ({texts}::text[])
    AND (a.atttypmod <= 4 OR a.atttypmod - 4 >= {width}) AND a.attname <> ALL ({taken}::text[])
    AND NOT EXISTS (SELECT FROM pg_constraint c
                    WHERE c.conrelid = a.attrelid AND c.contype = 'f' AND a.attnum = ANY (c.conkey))
  ORDER BY key.is_primary DESC, (a.attnotnull AND NOT (a.atthasdef OR a.attidentity <> '')) DESC,
           key.is_unique DESC, a.attnum
  LIMIT 1;
  IF mark IS NOT NULL THEN EXECUTE concat('GRANT SELECT (', mark, ') ON ', {name}, ' TO cleanup'); END IF;
END{end}

-- name: role_children
-- children: delete_first. Whatever refers to its rows by a foreign key, and whatever refers to that.
{begin}DECLARE child record; BEGIN
  FOR child IN
    WITH RECURSIVE below AS (
      SELECT con.conrelid, con.conkey, con.confrelid, con.confkey, ARRAY[con.confrelid] AS path
      FROM pg_constraint con
      WHERE con.contype = 'f' AND con.confrelid = {name}::regclass AND con.confdeltype IN ('a', 'r', 'c')
      UNION ALL
      SELECT con.conrelid, con.conkey, con.confrelid, con.confkey, below.path || con.confrelid
      FROM pg_constraint con JOIN below ON con.confrelid = below.conrelid
      WHERE con.contype = 'f' AND con.confdeltype IN ('a', 'r', 'c') AND NOT con.confrelid = ANY (below.path)
    )
    SELECT conrelid::regclass AS referring, confrelid::regclass AS referred,
           (SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute
            WHERE attrelid = conrelid AND attnum = ANY (conkey)) AS keys,
           (SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute
            WHERE attrelid = confrelid AND attnum = ANY (confkey)) AS named
    FROM below
  LOOP
    EXECUTE format('GRANT SELECT (%s), DELETE ON %s TO cleanup', child.keys, child.referring);
    EXECUTE format('GRANT SELECT (%s) ON %s TO cleanup', child.named, child.referred);{also}
  END LOOP;
END{end}

-- name: role_in_schemas
DO {tag} DECLARE member name; BEGIN
  FOR member IN SELECT nspname FROM pg_namespace WHERE {here}{meant} ORDER BY 1 LOOP
-- In one without the table as well: who may not look into a schema cannot tell that it has none.
EXECUTE format('GRANT USAGE ON SCHEMA %I TO cleanup', member);
{body}  END LOOP;
END {tag};

-- name: role_in_database
DO {tag} BEGIN
IF {here} THEN
{body}END IF;
END {tag};

-- name: role_if_there
-- One that has no such table or column is told of, and keeps no other back.
BEGIN
{body}EXCEPTION WHEN undefined_table OR undefined_column OR wrong_object_type OR invalid_schema_name THEN
  RAISE WARNING 'no rights on %: %', {name}, SQLERRM;
END;
