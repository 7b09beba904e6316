-- Ten thousand sessions, seven in ten of them dead.
CREATE TABLE web_sessions (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, expires_at timestamptz);
INSERT INTO web_sessions (expires_at)
SELECT now() + CASE WHEN n % 10 < 7 THEN -1 ELSE 1 END * n * interval '1 minute' FROM generate_series(1, 10000) n;
CREATE INDEX ON web_sessions (expires_at);
