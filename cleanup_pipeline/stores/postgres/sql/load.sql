-- name: load
-- What other sessions do shows only to a superuser or a member of pg_read_all_stats; replay_lag is NULL without a
-- replica, and while one that has caught up is idle.
SELECT
    (SELECT extract(epoch FROM max(replay_lag))::float8 FROM pg_stat_replication),
    count(*) FILTER (WHERE wait_event_type = 'Lock' AND pid <> pg_backend_pid()),
    count(*) FILTER (WHERE query = '<insufficient privilege>'),
    count(*) FILTER (WHERE datid IS NOT NULL)::float8 / current_setting('max_connections')::int
FROM pg_stat_activity
