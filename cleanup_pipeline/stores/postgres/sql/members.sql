-- name: schemas
SELECT nspname::text FROM pg_namespace
WHERE nspname <> 'information_schema' AND nspname NOT LIKE 'pg\_%'
ORDER BY 1

-- name: databases
SELECT datname::text FROM pg_database WHERE datallowconn AND NOT datistemplate ORDER BY 1
