"""Django and what is built on it: what their own commands leave and what we leave, row by row."""

from pathlib import Path
from typing import Any

import pytest

from tests.layouts.differential import Compared, compare, python_of, run

SCRIPT = "django_app.py"


def against(
    url: str, app: str, tables: list[str], presets: dict[str, dict[str, Any]], modules: str, *given: str
) -> Compared:
    program = python_of(*modules.split())
    path = _older(program) if "older" in given else None
    settings = [one for one in given if one != "older"]
    run(program, SCRIPT, url, app, "create", *settings, path=path)

    def theirs(copy: str) -> None:
        run(program, SCRIPT, copy, app, "clean", *settings, path=path)

    found = compare(url, tables, theirs, presets)
    found.check_something_happened()
    return found


def _older(program: str) -> str:
    folder = Path(program).parent.parent / "older"
    if not (folder / "oauth2_provider").exists():
        pytest.skip("the older version is not installed: make test-layouts")
    return str(folder)


def test_sessions(postgres_url: str) -> None:
    found = against(postgres_url, "sessions", ["django_session"], {"django-sessions": {}}, "django")
    assert found.ours == found.theirs


def test_the_cache_in_the_database(postgres_url: str) -> None:
    found = against(postgres_url, "dbcache", ["my_cache"], {"django-db-cache": {"table": "my_cache"}}, "django")
    assert found.ours == found.theirs


DOT = ["refreshtoken", "accesstoken", "idtoken", "grant", "devicegrant"]
MONTH = "REFRESH_TOKEN_EXPIRE_SECONDS=2592000"


@pytest.mark.parametrize(
    ("given", "params"),
    [
        ((), {"revoked_kept": "0s"}),
        ((MONTH,), {"revoked_kept": "0s", "refresh_ttl": "30d"}),
        ((MONTH, "REFRESH_TOKEN_REUSE_PROTECTION=1"), {"revoked_kept": "30d", "refresh_ttl": "30d"}),
        (("REFRESH_TOKEN_REUSE_PROTECTION=1",), {}),
        ((MONTH, "REFRESH_TOKEN_GRACE_PERIOD_SECONDS=259200"), {"revoked_kept": "3d", "refresh_ttl": "30d"}),
    ],
    ids=["without an end", "a month", "reuse protection", "reuse protection without an end", "grace"],
)
def test_oauth_toolkit(postgres_url: str, given: tuple[str, ...], params: dict[str, Any]) -> None:
    tables = [f"oauth2_provider_{name}" for name in DOT]
    presets = {"django-oauth-toolkit": {**params, "orphans": True}}
    found = against(postgres_url, "dot", tables, presets, "oauth2_provider", *given)
    # Device grants are what their command forgets.
    assert found.tables(found.only_they_keep) == {"oauth2_provider_devicegrant"}
    assert not found.only_we_keep
    assert {key: row for key, row in found.theirs.items() if key not in found.only_they_keep} == found.ours


@pytest.mark.parametrize(
    ("given", "params"),
    [((), {}), ((MONTH,), {"revoked_kept": "30d", "refresh_ttl": "30d"})],
    ids=["without an end", "a month"],
)
def test_oauth_toolkit_before_3_4(postgres_url: str, given: tuple[str, ...], params: dict[str, Any]) -> None:
    tables = [f"oauth2_provider_{name}" for name in DOT[:4]]
    presets = {"django-oauth-toolkit": {**params, "device_grants": False}}
    found = against(postgres_url, "dot", tables, presets, "oauth2_provider", "older", *given)
    assert found.ours == found.theirs


BLACKLIST = ["token_blacklist_outstandingtoken", "token_blacklist_blacklistedtoken"]


def test_simplejwt(postgres_url: str) -> None:
    presets = {"simplejwt-blacklist": {"kept": "0s"}}
    found = against(postgres_url, "simplejwt", BLACKLIST, presets, "rest_framework_simplejwt")
    assert found.ours == found.theirs


def test_simplejwt_keeps_for_a_day_what_a_sliding_token_may_need(postgres_url: str) -> None:
    found = against(postgres_url, "simplejwt", BLACKLIST, {"simplejwt-blacklist": {}}, "rest_framework_simplejwt")
    assert not found.only_they_keep
    assert found.tables(found.only_we_keep) == set(BLACKLIST)


def test_allauth(postgres_url: str) -> None:
    tables = ["account_emailconfirmation", "allauth_idp_oidc_token", "usersessions_usersession", "account_emailaddress"]
    presets: dict[str, dict[str, Any]] = {
        "allauth-confirmations": {"lifetime": "3d"},
        "allauth-idp-tokens": {},
        "allauth-usersessions": {},
    }
    found = against(postgres_url, "allauth", tables, presets, "allauth")
    assert found.ours == found.theirs
    gone = set(found.before) - set(found.ours)
    assert found.tables(gone) == set(tables[:3])


def test_knox(postgres_url: str) -> None:
    found = against(postgres_url, "knox", ["knox_authtoken"], {"knox": {}}, "knox")
    assert found.ours == found.theirs
