-- name: lease_gate
SELECT pg_advisory_lock(%(gate)s::bigint)

-- name: lease_open_gate
SELECT pg_advisory_unlock(%(gate)s::bigint)

-- name: lease_take
SELECT pg_advisory_lock_shared(%(runs)s::int, %(run)s::int)

-- name: lease_take_window
SELECT pg_advisory_lock_shared(%(windows)s::int, %(window)s::int)

-- name: lease_holders
-- A session that holds a lock of the first class holds the target; one of the second class says which window of it.
SELECT held.pid, held.run, held.window
FROM (
    SELECT pid,
           min(objid::bigint) FILTER (WHERE classid::bigint = %(runs)s::bigint & 4294967295) AS run,
           min(objid::bigint) FILTER (WHERE classid::bigint = %(windows)s::bigint & 4294967295) AS window
    FROM pg_locks
    WHERE locktype = 'advisory' AND objsubid = 2 AND granted AND pid <> pg_backend_pid()
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND classid::bigint IN (%(runs)s::bigint & 4294967295, %(windows)s::bigint & 4294967295)
    GROUP BY pid
) held
WHERE held.run IS NOT NULL
ORDER BY held.pid

-- name: lease_session
-- Empty for a session of another role, unless the login may read all statistics.
SELECT application_name, backend_start FROM pg_stat_activity WHERE pid = %(pid)s
