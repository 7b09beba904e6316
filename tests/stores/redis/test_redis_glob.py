"""Our glob against the server's own."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cleanup_pipeline.stores.redis.glob import example, literal_bytes, matches

KEYS = [
    b"a",
    b"b",
    b"ab",
    b"a:b",
    b"a:c:b",
    b"a*",
    b"a?",
    b"a[b]",
    b"a\\b",
    b"a]",
    b"a-b",
    b"^",
    b"-",
    b"\n",
    b"a\nb",
    b"\xff",
]
ALPHABET = st.sampled_from(["a", "b", "c", ":", "*", "?", "[", "]", "^", "-", "\\", "\n"])


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(ALPHABET, min_size=1, max_size=7))
def test_matches_what_the_server_matches(client, pattern):
    client.mset(dict.fromkeys(KEYS, b""))
    assert {key for key in KEYS if matches(pattern.encode(), key)} == set(client.keys(pattern))


def test_a_pattern_of_many_stars_does_not_explode():
    assert not matches(b"*a" * 12 + b"b", b"a" * 200)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from([b"a", b"*", b"?", b"[ab]", b"[^a]", b"[a-c]", b"\\*", b":"]), max_size=6))
def test_an_example_is_matched(parts):
    pattern = b"".join(parts)
    if b"*" in parts:
        assert matches(pattern, example(pattern, b"filler"))


def test_what_stands_for_itself():
    assert [literal_bytes(p) for p in (b"*", b"**", b"?*", b"[a-z]*", b"", b"s:*", b"\\**")] == [0, 0, 0, 0, 0, 2, 0]
