from datetime import timedelta
from importlib.resources import files

import pytest
from pydantic import ValidationError

from cleanup_pipeline.layouts import layouts
from cleanup_pipeline.layouts.layout import read_preset
from cleanup_pipeline.model.target import (
    CollectionSource,
    ColumnExpiry,
    FieldExpiry,
    HashFieldExpiry,
    JwtKeyExpiry,
    KeySource,
    NativeTtl,
    PointerExpiry,
    TableSource,
)

TOKEN_COLUMNS = ("token", "user_id", "endpoint", "recipient", "token_type_id", "created_at", "expires_at")
SESSION_COLUMNS = ("id", "user_id", "app_id", "device_id", "refresh_token", "last_visited_at", "expires_at")
DAY = timedelta(days=1)
EXPECTED = {
    "django-sessions": (
        TableSource("django_session", None, ("session_key", "session_data", "expire_date")),
        ColumnExpiry("expire_date"),
        {},
        "sessions",
        "session",
        timedelta(0),
    ),
    "flask-session-mongo": (
        CollectionSource("sessions", "flask_session", (), (("id", ("string",)), ("val", ("binData",)))),
        FieldExpiry("expiration", ttl_index=True),
        {},
        "sessions",
        "session",
        timedelta(0),
    ),
    "flask-session-redis": (
        KeySource("session:*", "string", ("session:*:*",)),
        NativeTtl(),
        {},
        "sessions",
        "session",
        timedelta(0),
    ),
    "sso-legacy-sessions": (
        TableSource("sessions", None, SESSION_COLUMNS),
        ColumnExpiry("expires_at"),
        {},
        "sessions",
        "session",
        timedelta(0),
    ),
    "sso-mongo-legacy-sessions": (
        CollectionSource("sessions", None, SESSION_COLUMNS[1:]),
        FieldExpiry("expires_at"),
        {},
        "sessions",
        "session",
        timedelta(0),
    ),
    "sso-mongo-reset-password-tokens": (
        CollectionSource("verification_tokens", None, TOKEN_COLUMNS),
        FieldExpiry("expires_at"),
        {"token_type_id": 1},
        "verification_tokens",
        "password_reset_token",
        DAY,
    ),
    "sso-mongo-verify-email-tokens": (
        CollectionSource("verification_tokens", None, TOKEN_COLUMNS),
        FieldExpiry("expires_at"),
        {"token_type_id": 0},
        "verification_tokens",
        "verification_token",
        DAY,
    ),
    "sso-refresh-index": (
        KeySource("refresh_index:*", "string"),
        PointerExpiry("refresh_index:", "session:", "refresh_token", HashFieldExpiry("expires_at")),
        {},
        "sessions",
        "refresh_token",
        timedelta(0),
    ),
    "sso-reset-password-tokens": (
        TableSource("tokens", None, TOKEN_COLUMNS),
        ColumnExpiry("expires_at"),
        {"token_type_id": 1},
        "verification_tokens",
        "password_reset_token",
        DAY,
    ),
    "sso-revoked-tokens": (
        KeySource("revoked_token:*", "string"),
        JwtKeyExpiry("revoked_token:"),
        {},
        "sessions",
        "revoked_token",
        timedelta(0),
    ),
    "sso-sessions": (
        KeySource("session:*:*", "hash", required_fields=("user_id", "device_id", "refresh_token")),
        HashFieldExpiry("expires_at", repair_ttl=True),
        {},
        "sessions",
        "session",
        timedelta(0),
    ),
    "sso-verify-email-tokens": (
        TableSource("tokens", None, TOKEN_COLUMNS),
        ColumnExpiry("expires_at"),
        {"token_type_id": 0},
        "verification_tokens",
        "verification_token",
        DAY,
    ),
}


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_preset_means_what_its_framework_stores(name: str) -> None:
    (layout,) = layouts()[name].resolve()
    found = (layout.source, layout.expiry, dict(layout.where), layout.pass_name, layout.kind, layout.grace)
    assert found == EXPECTED[name]


def test_every_file_is_a_preset_of_its_own_name() -> None:
    folder = files("cleanup_pipeline.layouts") / "presets"
    names = [entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml")]
    assert sorted(names) == sorted(layouts())
    assert set(EXPECTED) <= set(names)
    assert [layout.name for layout in layouts().values()] == list(layouts())


def test_presets_say_what_they_keep_and_where_that_is_read() -> None:
    for layout in layouts().values():
        assert layout.keeps, layout.name
        assert len(layout.source_of_facts) > 20, layout.name


def test_presets_cannot_be_changed_by_accident() -> None:
    with pytest.raises(TypeError):
        layouts()["django-sessions"].resolve()[0].where["x"] = 1  # type: ignore[index]


def test_a_preset_with_an_unknown_key_is_refused() -> None:
    text = (files("cleanup_pipeline.layouts") / "presets" / "django-sessions.yaml").read_text(encoding="utf-8")
    with pytest.raises(ValidationError, match="tabel"):
        read_preset(text.replace("{table: ", "{tabel: ").replace('  table: "', '  tabel: "'))
    with pytest.raises(ValueError, match="no expiry rule of postgres"):
        read_preset(text.replace("{column:", "{field:"))
