"""Flask-Session, FastAPI Users and Authlib: what they no longer take goes, and nothing else."""

from typing import Any

from tests.layouts.differential import Compared, compare, python_of, run

SCRIPT = "python_apps.py"


def against(url: str, app: str, tables: list[str], presets: dict[str, dict[str, Any]], modules: str) -> Compared:
    program = python_of(*modules.split())
    run(program, SCRIPT, url, app, "create")
    found = compare(url, tables, lambda copy: run(program, SCRIPT, copy, app, "clean"), presets)
    found.check_something_happened()
    return found


def test_flask_session(postgres_url: str) -> None:
    modules = "flask_session flask_sqlalchemy psycopg"
    found = against(postgres_url, "flask", ["sessions"], {"flask-session-sql": {}}, modules)
    # What has no expiry is dead when it is read, but their cleaner leaves it.
    (left_by_them,) = found.only_they_keep
    assert found.theirs[left_by_them]["session_id"] == "session:none"
    assert not found.only_we_keep


def test_fastapi_users(postgres_url: str) -> None:
    presets = {"fastapi-users": {"lifetime": "1h"}}
    found = against(postgres_url, "fastapi", ["accesstoken"], presets, "fastapi_users_db_sqlalchemy psycopg")
    assert found.ours == found.theirs


def test_authlib(postgres_url: str) -> None:
    presets = {"authlib": {"refresh_lifetime": "30d"}}
    found = against(postgres_url, "authlib", ["oauth2_token", "oauth2_code"], presets, "authlib sqlalchemy psycopg")
    assert found.ours == found.theirs
