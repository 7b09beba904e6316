"""Rows of Django's own session table, made by its own migration and written by its own session store.

A program of its own, because Django's settings are one per process: reads the database's URL from
CLEANUP_POSTGRES_URL, so that no password shows up in the list of processes, and prints a manifest as JSON.
"""

import os
import sys
from datetime import UTC, datetime, timedelta

from psycopg.conninfo import conninfo_to_dict

from cleanup_pipeline.embedded.manifest import Manifest, Record, gone, stay

TARGET = "django_sessions"
EXPIRED, LIVE, NEVER = 1400, 560, 40
HOUR = 3600


def write(url: str) -> Manifest:
    """Create django_session and fill it. May be called once in a process."""
    import django
    from django.conf import settings
    from django.core.management import call_command

    parts = conninfo_to_dict(url)
    database = {"ENGINE": "django.db.backends.postgresql", "NAME": parts.pop("dbname", "postgres")}
    database |= {name.upper(): str(parts.pop(name)) for name in ("user", "password", "host", "port") if name in parts}
    settings.configure(
        DATABASES={"default": {**database, "OPTIONS": parts}},
        INSTALLED_APPS=["django.contrib.sessions"],
        SECRET_KEY=os.urandom(24).hex(),
        USE_TZ=True,
    )
    django.setup()
    call_command("migrate", "sessions", verbosity=0)
    # The oldest ones are two months old: an index on expire_date and the order of the rows tell different stories.
    ages = [HOUR + 3677 * ((n * 7919) % EXPIRED) for n in range(EXPIRED)]
    records: list[Record] = gone(TARGET, _fill([-age for age in ages]), "expired")
    records += stay(TARGET, _fill([2 * HOUR + 997 * n for n in range(LIVE)]), "live")
    records += stay(TARGET, _fill([datetime.max.replace(tzinfo=UTC) - timedelta(days=2)] * NEVER), "never_expires")
    return Manifest(tuple(records))


def _fill(expiries: list[int] | list[datetime]) -> list[str]:
    """Sessions with these lifetimes in seconds, or instants of death; their keys."""
    from django.contrib.sessions.backends.db import SessionStore
    from django.contrib.sessions.models import Session

    rows = []
    for number, expiry in enumerate(expiries):
        session = SessionStore()
        session["_auth_user_id"] = str(number)
        session["_auth_user_backend"] = "django.contrib.auth.backends.ModelBackend"
        session.set_expiry(expiry)
        rows.append(session.create_model_instance(dict(session.items())))
    Session.objects.bulk_create(rows, batch_size=500)
    return [row.session_key for row in rows]


if __name__ == "__main__":
    sys.stdout.write(write(os.environ["CLEANUP_POSTGRES_URL"]).to_json())
