"""What a target may say of MongoDB fields and Redis keys, and what it is told when it says something else."""

import pytest

from cleanup_pipeline.layouts.source_spec import literal_glob, literal_prefix
from cleanup_pipeline.model.rules import FieldGuard, FieldTest
from cleanup_pipeline.model.target import CollectionSource, FieldExpiry, KeySource, MembersExpiry, PointerExpiry
from cleanup_pipeline.model.words import EpochUnit
from cleanup_pipeline.stores.redis.glob import matches

from .conftest import Faults, Load


def target(text: str) -> str:
    return f"targets: {{a: {{{text}}}}}"


DOCS = "store: docs, collection: c"


def test_fields_of_documents_are_read(load: Load) -> None:
    (found,) = load(
        target(
            f"{DOCS}, types: {{_id: string, n: [int, long]}}, expires: {{field: p.when, or_unit: ms, lifetime: 3d}},"
            " guards: [{field: p.reason, in: [reset], or_missing: true}, {field: i, lacks: '-'},"
            " {field: n, at_least: 0}, {field: t, exists: false}, {field: u, exists: true}], unset: [p]"
        )
    ).targets
    assert found.source == CollectionSource("c", field_types=(("_id", ("string",)), ("n", ("int", "long"))))
    assert isinstance(found.expiry, FieldExpiry)
    assert (found.expiry.or_unit, found.expiry.lifetime.days) == (EpochUnit.MILLISECONDS, 3)
    assert found.guards == (
        FieldGuard("p.reason", FieldTest.IN, ("reset",), or_missing=True),
        FieldGuard("i", FieldTest.LACKS, ("-",)),
        FieldGuard("n", FieldTest.AT_LEAST, (0,)),
        FieldGuard("t", FieldTest.MISSING),
        FieldGuard("u", FieldTest.EXISTS),
    )
    assert found.unset == ("p",)


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        (f"{DOCS}, expires: {{field: e, unit: s, or_unit: ms}}", "expires", "not both"),
        (f"{DOCS}, expires: {{field: e, or_unit: s}}", "expires.or_unit", "expected ms"),
        (f"{DOCS}, expires: {{field: e}}, unset: [a]", "unset", "e, or a field that it is in, among them"),
        (f"{DOCS}, expires: {{field: a.e, pull: a}}, unset: [a]", "unset", "one of the two"),
        (f"{DOCS}, expires: {{field: e}}, guards: [{{column: a, in: [b]}}]", "guards.0", "a guard on a field"),
        (f"{DOCS}, expires: {{field: e}}, guards: [{{field: a}}]", "guards.0", "{field, in}"),
        (f"{DOCS}, expires: {{field: e}}, guards: [{{field: a, in: [b], exists: true}}]", "guards.0", "{field, in}"),
        (f"{DOCS}, expires: {{field: e}}, types: {{a: text}}", "types", "a type is one of string"),
        (
            "store: main, table: t, expires: {column: e}, guards: [{field: a, exists: true}]",
            "guards.0",
            "a guard on a column",
        ),
        ("store: main, table: t, expires: {column: e}, unset: [a]", "unset", "no unset, which is for MongoDB"),
        ("store: main, table: t, expires: {column: e}, types: {a: int}", "types", "which only a mongo store has"),
        (
            "store: cache, keys: 's:*', expires: {ttl: native}, guards: [{field: a, exists: true}]",
            "guards.0",
            "no guards",
        ),
        (
            "store: cache, layout: redis-refresh-set, params: {index: 'i:'}",
            "params.tokens",
            "text that keys begin with",
        ),
        (
            "store: cache, layout: redis-refresh-set, params: {index: 'i:', tokens: '{app}:'}",
            "params.tokens",
            "without a word in braces",
        ),
        ("store: cache, layout: redis-refresh-zset, params: {index: 'i:', unit: m}", "params.unit", "expected s or ms"),
        ("store: docs, layout: fastapi-users-beanie", "params.lifetime", "lifetime_seconds of DatabaseStrategy"),
        ("store: cache, layout: connect-redis", "params.unused", "a session that is only read keeps an old one"),
    ],
)
def test_what_is_wrong_is_named(faults: Faults, text: str, path: str, message: str) -> None:
    found = faults(target(text))
    assert list(found) == [f"targets.a.{path}"], found
    assert message in str(found[f"targets.a.{path}"])


def test_a_prefix_stands_for_itself(load: Load) -> None:
    """Redis takes [1] for a class of characters: user[1]: would match user1:, which is somebody else's."""
    (found,) = load(
        target(r"store: cache, layout: redis-refresh-set, params: {index: 'user[1]:*\', tokens: 'refresh[1]:'}")
    ).targets
    assert found.source == KeySource(r"user\[1\]:\*\\*", "set")
    assert isinstance(found.source, KeySource)
    assert matches(found.source.pattern.encode(), b"user[1]:*\\7")
    assert not matches(found.source.pattern.encode(), b"user1:7")
    assert found.expiry == MembersExpiry(("refresh[1]:{member}",))


def test_a_pointer_with_such_a_prefix_agrees_with_its_keys(load: Load) -> None:
    params = "{session_prefix: 'a*:s:', by_user_prefix: 'a*:s:by:', token_prefix: 'a*:t:'}"
    sessions, by_user, _ = load(target(f"store: cache, layout: authjs-upstash, params: {params}")).targets
    assert sessions.source == KeySource(r"a\*:s:*", "string", exclude=(r"a\*:s:by:*",))
    assert by_user.source == KeySource(r"a\*:s:by:*", "string")
    assert by_user.expiry == PointerExpiry("a*:s:by:", "a*:s:")


@pytest.mark.parametrize("text", ["session:", "a*b", "a?b", "[x]", "back\\slash", "^a", "ü*"])
def test_literal_globs_match_their_text_alone(text: str) -> None:
    assert matches(literal_glob(text).encode(), text.encode())
    assert not matches(literal_glob(text).encode(), text.encode() + b"x")
    assert literal_prefix(f"{literal_glob(text)}*rest") == text


def test_renamed_fields_are_renamed_everywhere(load: Load) -> None:
    (found,) = load(
        target("store: docs, layout: symfony-mongo, params: {collection: c}, columns: {expires_at: until, data: d}")
    ).targets
    assert found.source == CollectionSource(
        "c", field_types=(("_id", ("string",)), ("d", ("binData",)), ("time", ("date",)))
    )
    assert found.expiry == FieldExpiry("until")


def test_every_step_is_in_the_database_that_the_target_names(load: Load) -> None:
    found = load(target("store: docs, layout: authjs-mongodb, database: app")).targets
    assert [one.source.database for one in found if isinstance(one.source, CollectionSource)] == ["app", "app"]
