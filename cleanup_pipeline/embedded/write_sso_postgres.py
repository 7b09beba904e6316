"""Tokens and older sessions as rshelekhov/sso keeps them in PostgreSQL (migrations 000001 to 000003 at 4332f77)."""

import secrets
from datetime import UTC, datetime, timedelta

import psycopg

from cleanup_pipeline.embedded.manifest import Record, gone, stay
from cleanup_pipeline.embedded.sso_ids import ksuid

SESSIONS = "sso_legacy_sessions"
TOKENS = ("verify_email_tokens", "reset_password_tokens")
"""By token_type_id."""
OTHER_TYPE = 2
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
ZERO = datetime.min.replace(tzinfo=UTC)
"""Go's zero time, which is what the service writes for a time that nobody set."""

SCHEMA = """
CREATE TABLE users (id varchar PRIMARY KEY, email varchar UNIQUE NOT NULL, password_hash varchar NOT NULL,
  name varchar NOT NULL, verified boolean DEFAULT FALSE, created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(), deleted_at timestamptz DEFAULT NULL);
CREATE TABLE token_types (id int PRIMARY KEY, title varchar NOT NULL UNIQUE);
CREATE TABLE tokens (token varchar PRIMARY KEY, user_id varchar NOT NULL REFERENCES users, endpoint varchar NOT NULL,
  recipient varchar NOT NULL, token_type_id int NOT NULL REFERENCES token_types,
  created_at timestamptz NOT NULL DEFAULT now(), expires_at timestamptz NOT NULL,
  UNIQUE (token, user_id, token_type_id));
CREATE UNIQUE INDEX idx_active_users ON users (email) WHERE deleted_at IS NULL;
-- Of the versions before 9d1f4b2 (2025-03-06).
CREATE TABLE sessions (id varchar PRIMARY KEY, user_id varchar NOT NULL, app_id int NOT NULL,
  device_id varchar NOT NULL, refresh_token varchar NOT NULL, last_visited_at timestamptz NOT NULL,
  expires_at timestamptz, UNIQUE (user_id, refresh_token));
INSERT INTO token_types VALUES (0, 'verify_email'), (1, 'reset_password'), (2, 'change_email');
"""


def write_sso_postgres(url: str) -> list[Record]:
    """Create the tables in the database of `url`, which must not have them, and fill them."""
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(SCHEMA)
        now = datetime.now(UTC)
        users = [ksuid(now - 90 * DAY) for _ in range(150)]
        with cursor.copy("COPY users (id, email, password_hash, name, verified) FROM STDIN") as copy:
            for number, user in enumerate(users):
                copy.write_row((user, f"user{number}@example.com", "$argon2id$", f"User {number}", number % 2 == 0))
        records = _tokens(cursor, now, users)
        records += _sessions(cursor, now, users)
    return records


def _tokens(cursor: psycopg.Cursor, now: datetime, users: list[str]) -> list[Record]:
    records: list[Record] = []
    rows: list[tuple[object, ...]] = []

    def issue(kind: int, expires: object) -> str:
        token = secrets.token_hex(32)
        number = len(rows) % len(users)
        made = expires - DAY if isinstance(expires, datetime) and expires != ZERO else now - 2 * DAY
        rows.append((token, users[number], "/verify", f"user{number}@example.com", kind, made, expires))
        return token

    for kind, target in enumerate(TOKENS):
        old = [issue(kind, now - 25 * HOUR - n * HOUR) for n in range(240)]
        records += gone(target, old, "expired")
        # A click on a link that has just expired is answered with a fresh one, for which the row is needed.
        records += stay(target, [issue(kind, now - HOUR - n * HOUR / 4) for n in range(60)], "inside_grace")
        records += stay(target, [issue(kind, now + 2 * HOUR + n * HOUR / 4) for n in range(80)], "live")
        records += stay(target, [issue(kind, ZERO) for _ in range(8)], "zero_date")
        records += stay(target, [issue(kind, datetime.fromtimestamp(0, UTC)) for _ in range(4)], "zero_date")
        records += stay(target, [issue(kind, "infinity") for _ in range(4)], "never_expires")
        records += stay(target, [issue(OTHER_TYPE, now - 50 * DAY) for _ in range(15)], "other_type")
    columns = "token, user_id, endpoint, recipient, token_type_id, created_at, expires_at"
    _copy(cursor, f"COPY tokens ({columns}) FROM STDIN", rows)
    return records


def _sessions(cursor: psycopg.Cursor, now: datetime, users: list[str]) -> list[Record]:
    rows: list[tuple[object, ...]] = []

    def begin(expires: object) -> str:
        identity = ksuid(now - 60 * DAY)
        user = users[len(rows) % len(users)]
        rows.append((identity, user, 1, ksuid(now), ksuid(now), now - 60 * DAY, expires))
        return identity

    records = gone(SESSIONS, [begin(now - HOUR - n * HOUR) for n in range(300)], "expired")
    records += stay(SESSIONS, [begin(now + 2 * HOUR + n * HOUR) for n in range(150)], "live")
    records += stay(SESSIONS, [begin(None) for _ in range(10)], "never_expires")
    records += stay(SESSIONS, [begin("infinity") for _ in range(5)], "never_expires")
    records += stay(SESSIONS, [begin(ZERO) for _ in range(10)], "zero_date")
    columns = "id, user_id, app_id, device_id, refresh_token, last_visited_at, expires_at"
    _copy(cursor, f"COPY sessions ({columns}) FROM STDIN", rows)
    return records


def _copy(cursor: psycopg.Cursor, statement: str, rows: list[tuple[object, ...]]) -> None:
    with cursor.copy(statement.encode()) as copy:
        for row in rows:
            copy.write_row(row)
