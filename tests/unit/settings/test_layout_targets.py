"""`layout:` with parameters, renamed columns and steps; guards of a target's own. Faults are named by path."""

from datetime import timedelta

import pytest

from cleanup_pipeline.model.rules import (
    AgeGuard,
    ColumnExpiry,
    ColumnGuard,
    EarliestExpiry,
    LatestExpiry,
    LifetimeByValue,
    LifetimeColumn,
    NullMeans,
    Related,
    RowGuard,
    StartExpiry,
    Test,
)
from cleanup_pipeline.model.target import TableSource, Target
from cleanup_pipeline.model.words import EpochUnit, Mode
from cleanup_pipeline.settings import SettingsError
from tests.unit.settings.conftest import Load

HOUR = timedelta(hours=1)


def targets(load: Load, text: str) -> dict[str, Target]:
    return {target.name: target for target in load(f"targets: {{a: {{store: main, {text}}}}}").targets}


def faults(load: Load, text: str) -> str:
    with pytest.raises(SettingsError) as raised:
        targets(load, text)
    return str(raised.value)


def test_parameters_go_where_the_layout_says(load: Load) -> None:
    found = targets(load, "layout: laravel-sessions, params: {lifetime: 2h, table: web.sessions}, mode: delete")["a"]
    assert found.expiry == StartExpiry(ColumnExpiry("last_activity", unit=EpochUnit.SECONDS), 2 * HOUR)
    assert isinstance(found.source, TableSource)
    assert (found.source.schema, found.source.table) == ("web", "sessions")
    assert (found.layout, found.mode) == ("laravel-sessions", Mode.DELETE)


def test_a_layout_of_several_steps_makes_several_targets_in_order(load: Load) -> None:
    found = targets(load, "layout: django-oauth-toolkit, params: {refresh_ttl: 30d, revoked_kept: 0s}, batch_size: 10")
    steps = ["revoked_refresh", "expired_refresh", "access", "id_tokens", "grants", "device_grants"]
    assert list(found) == [f"a_{step}" for step in steps]
    assert {target.batch_size for target in found.values()} == {10}
    assert found["a_access"].guards == (RowGuard(Related("oauth2_provider_refreshtoken", "access_token_id", "id")),)
    detach = (Related("oauth2_provider_accesstoken", "source_refresh_token_id", "id"),)
    assert found["a_revoked_refresh"].detach == detach
    assert (found["a_grants"].pass_name, found["a_access"].pass_name) == ("verification_tokens", "sessions")


def test_a_schema_is_for_every_step(load: Load) -> None:
    found = targets(load, "layout: django-oauth-toolkit, schema: sso")
    assert {target.source.schema for target in found.values() if isinstance(target.source, TableSource)} == {"sso"}


def test_columns_may_have_other_names(load: Load) -> None:
    renames = "columns: {expires: expires_at, sessionToken: session_token}"
    found = targets(load, f"layout: authjs-pg, {renames}")
    session = found["a_sessions"]
    assert session.expiry == ColumnExpiry("expires_at")
    assert isinstance(session.source, TableSource)
    assert session.source.required_columns == ("id", "userId", "expires_at", "session_token")


def test_a_targets_own_guards_add_to_those_of_its_layout(load: Load) -> None:
    own = "guards: [{column: user_id, in: [1, 2]}]"
    found = targets(load, f"layout: allauth-usersessions, {own}")["a"]
    gone = RowGuard(Related("django_session", "session_key", "session_key"), gone=True)
    assert found.guards == (gone, ColumnGuard("user_id", Test.IN, (1, 2)))


def test_every_rule_can_be_written_without_a_layout(load: Load) -> None:
    plain = "table: t, expires: "
    of = "of: {table: auth.tokens, key: id, by: token_id}"
    rules = {
        "{column: c, null_means: dead, never_values: [-1, 0], unit: ms}": ColumnExpiry(
            "c", unit=EpochUnit.MILLISECONDS, null_means=NullMeans.DEAD, never_values=(-1, 0)
        ),
        "{column: c, zone: session}": ColumnExpiry("c", zone="session"),
        f"{{column: c, {of}}}": ColumnExpiry("c", of=Related("tokens", "id", "token_id", "auth")),
        "{start: c, lifetime: 1h}": StartExpiry(ColumnExpiry("c"), HOUR),
        "{start: {column: c, zone: utc}, lifetime_column: {column: l, unit: ms}}": StartExpiry(
            ColumnExpiry("c", zone="UTC"), LifetimeColumn("l", EpochUnit.MILLISECONDS)
        ),
        "{start: c, lifetime_by: {column: k, values: {x: 1h}, prefixes: {'y:': 2h}}}": StartExpiry(
            ColumnExpiry("c"), LifetimeByValue("k", (("x", HOUR),), (("y:", 2 * HOUR),))
        ),
        "{latest: [{column: c, null_means: dead}, {start: d, lifetime: 1h}]}": LatestExpiry(
            (ColumnExpiry("c", null_means=NullMeans.DEAD), StartExpiry(ColumnExpiry("d"), HOUR))
        ),
        "{earliest: [{column: c}, {column: d}]}": EarliestExpiry((ColumnExpiry("c"), ColumnExpiry("d"))),
    }
    for written, rule in rules.items():
        assert targets(load, plain + written)["a"].expiry == rule, written


def test_every_guard_can_be_written(load: Load) -> None:
    guards = (
        "[{column: a, in: x}, {column: b, is_null: true}, {column: c, is_null: false}, {older_than: 1h, since: d},"
        " {not_referenced_by: r, key: k, by: id, where: {status: valid}}, {gone: s.p, key: k, by: p_id}]"
    )
    found = targets(load, f"table: t, expires: {{column: e}}, guards: {guards}, set_null: [x, y]")["a"]
    assert found.guards == (
        ColumnGuard("a", Test.IN, ("x",)),
        ColumnGuard("b", Test.NULL),
        ColumnGuard("c", Test.NOT_NULL),
        AgeGuard(ColumnExpiry("d"), HOUR),
        RowGuard(Related("r", "k", "id"), (("status", "valid"),)),
        RowGuard(Related("p", "k", "p_id", "s"), gone=True),
    )
    assert found.set_null == ("x", "y")


def test_other_records_are_another_rule(load: Load) -> None:
    """The plan of one is not carried out for the other."""
    plain = "table: t, expires: {column: e}"
    written = [
        plain,
        f"{plain}, guards: [{{column: a, in: x}}]",
        f"{plain}, set_null: [e]",
        "table: t, expires: {start: e, lifetime: 1h}",
        "table: t, expires: {column: e, null_means: dead}",
    ]
    assert len({targets(load, text)["a"].fingerprint for text in written}) == len(written)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "layout: laravel-sessions",
            "targets.a.params.lifetime: found nothing, expected a duration such as 2h or 30d; session.lifetime",
        ),
        (
            "layout: laravel-sessions, params: {lifetimes: 2h}",
            "targets.a.params.lifetimes: found an unknown key, expected one of lifetime, table; did you mean lifetime?",
        ),
        ("layout: laravel-sessions, params: {lifetime: 0}", "targets.a.params.lifetime: found 0, expected a duration"),
        ("layout: laravel-sessions, params: {lifetime: soon}", "targets.a.params.lifetime: found 'soon', expected"),
        (
            "layout: laravel-sessions, params: 2h",
            "targets.a.params: found '2h', expected a mapping with lifetime, table",
        ),
        (
            "layout: connect-pg-simple, params: {zone: Mars/Olympus}",
            "targets.a.params.zone: found 'Mars/Olympus', expected utc, session (that of the database) or an IANA",
        ),
        (
            "layout: django-sessions, columns: {expire_dat: e}",
            "targets.a.columns.expire_dat: found 'expire_dat', expected a column of layout django-sessions",
        ),
        (
            "table: t, expires: {column: e}, params: {lifetime: 2h}",
            "targets.a.params: found params, which are about a layout, expected none without `layout`",
        ),
        (
            "layout: authjs-pg, table: t",
            "targets.a.table: found table, which is about one table, expected none with authjs-pg, which cleans",
        ),
        (
            "layout: keycloak, mode: delete",
            "targets.a.mode: found 'delete', expected dry_run, because layout keycloak only reports",
        ),
        (
            "table: t, expires: {start: c}",
            "targets.a.expires: found a mapping, expected one of lifetime, lifetime_column and lifetime_by",
        ),
        ("table: t, expires: {start: c, lifetime: 1h, lifetime_column: {column: l}}", "expected one of lifetime"),
        (
            "table: t, expires: {start: {column: c, zon: utc}, lifetime: 1h}",
            (
                "targets.a.expires.start.zon: found an unknown key, expected one of column, zone, unit, null_means,"
                " never_values, of; did you mean zone?"
            ),
        ),
        (
            "table: t, expires: {latest: [{column: c, unti: s}, {column: d}]}",
            "targets.a.expires.latest.0.unti: found an unknown key, expected one of column, zone, unit",
        ),
        ("table: t, expires: {latest: [{column: c}]}", "targets.a.expires.latest: found a list, expected"),
        (
            "table: t, expires: {column: c}, guards: [{column: x}]",
            "targets.a.guards.0: found a mapping, expected {column, in}, {column, is_null}",
        ),
        (
            "table: t, expires: {column: c}, guards: [{gone: p, kee: k, by: b}]",
            "targets.a.guards.0.kee: found an unknown key, expected one of column, in, is_null",
        ),
    ],
)
def test_faults(load: Load, text: str, said: str) -> None:
    assert said in faults(load, text)


def test_what_only_postgres_has(load: Load) -> None:
    text = "targets: {a: {store: cache, keys: 's:*', expires: {ttl: native}, guards: [{column: c, is_null: true}]}}"
    with pytest.raises(SettingsError, match=r"targets\.a\.guards\.0: found a guard on a column, expected no guards"):
        load(text)


def test_a_step_may_not_have_the_name_of_another_target(load: Load) -> None:
    text = """
targets:
  web: {store: main, layout: authjs-pg}
  web_sessions: {store: main, layout: django-sessions}
"""
    with pytest.raises(SettingsError, match=r"targets\.web_sessions: found a target named as a step"):
        load(text)
