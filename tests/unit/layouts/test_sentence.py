"""What a target does, in words that say neither more nor less."""

from pathlib import Path

import pytest

from cleanup_pipeline.layouts import layouts
from cleanup_pipeline.layouts.sentence import sentence
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.settings import load_settings
from cleanup_pipeline.settings.targets import targets_of

URLS = {"P": "postgresql://db/app", "M": "mongodb://docs/app", "R": "redis://cache"}
STORES = 'stores: {p: {type: postgres, url: "${P}"}, m: {type: mongo, url: "${M}"}, r: {type: redis, url: "${R}"}}\n'
TYPES = {"expires_at": "timestamp with time zone", "valid_until": "timestamp without time zone", "exp": "bigint"}
SAID = {
    "store: p, table: public.logins, expires: {column: expires_at}, grace: 7d": (
        "A row of public.logins is dead once expires_at (timestamptz) lies before now - 7d; NULL never expires."
        " The row is deleted."
    ),
    "store: p, table: t, expires: {column: valid_until, zone: session, null_means: dead}": (
        "A row of t is dead once valid_until (timestamp, read in the zone of the database's sessions) lies before now;"
        " NULL is dead. The row is deleted."
    ),
    "store: p, table: t, expires: {column: exp, unit: ms, never_values: [-1]}, where: {used: true}": (
        "A row of t is dead once exp (bigint, milliseconds since 1970) lies before now; NULL, 0 and -1 never expire."
        " It goes only where used is true. The row is deleted."
    ),
    "store: p, table: t, expires: {start: created_at, lifetime: 2h}, grace: 1d, set_null: [a, b]": (
        "A row of t is dead once created_at + 2h lies before now - 1d; NULL never expires. The row stays; a and b"
        " become NULL."
    ),
    "store: p, table: t, expires: {start: s, lifetime_column: {column: l, unit: s}}, children: delete_first": (
        "A row of t is dead once s + l (seconds) lies before now; where l is NULL, 0 or less, it never expires."
        " The row is deleted, after the rows that refer to it."
    ),
    'store: p, table: t, expires: {start: s, lifetime_by: {column: k, values: {a: 1d}, prefixes: {"b:": 1h}}}': (
        "A row of t is dead once s + what its k says (1d for a, 1h for b:*) lies before now; any other k never expires."
        " The row is deleted."
    ),
    "store: p, table: t, expires: {latest: [{column: a}, {start: b, lifetime: 1h}]}": (
        "A row of t is dead once a and b + 1h all lie before now; one that never expires keeps it. The row is deleted."
    ),
    "store: p, table: t, expires: {column: x}, cascade: allow": (
        "A row of t is dead once x lies before now; NULL never expires. The row is deleted, with the rows of other"
        " tables that go by cascade."
    ),
    'store: r, keys: "h:*", expires: {hash_field: x, repair_ttl: true}': (
        "A key h:* (hash) is dead once its field x (seconds since 1970) lies before now; what is missing, 0 or"
        " unreadable never expires; a live one that lost its TTL gets it back. The key is deleted."
    ),
    "store: p, table: t, expires: {earliest: [{column: a}, {column: b}]}": (
        "A row of t is dead once the first of a and b lies before now. The row is deleted."
    ),
    "store: p, table: t, expires: {column: x, of: {table: o, key: id, by: o}}, detach: [{table: d, key: k, by: id}]": (
        "A row of t is dead once the latest x of the rows of o whose id is its o lies before now; NULL never expires;"
        " a row without any never expires. First k of d becomes NULL. The row is deleted."
    ),
    "store: m, collection: c, expires: {field: a.b, or_unit: ms}, unset: [a.b]": (
        "A document of c is dead once a.b (date, or milliseconds since 1970) lies before now; a missing, null or other"
        " value never expires. The document stays; a.b goes."
    ),
    "store: m, collection: c, expires: {field: t.w, pull: t, lifetime: 90d}": (
        "An element of t, in a document of c, is dead once t.w (date) + 90d lies before now; a missing, null or other"
        " value never expires. The element is pulled; the document stays."
    ),
    'store: r, keys: "s:*", exclude: ["s:by:*"], expires: {json: a.b, ttl_wins: true}': (
        "A key s:* (string) is dead once a.b (ISO 8601) of its JSON lies before now; what is missing, 0 or unreadable"
        " never expires; a key that has a TTL is left to it. Keys that match s:by:* are left alone. The key is deleted."
    ),
    'store: r, keys: "z:*", expires: {score: s, target_key: "t:{member}"}': (
        "A member of z:* (sorted set) is dead once its score (seconds since 1970) lies before now and t:{member} is"
        " gone; a score of 0 or less never expires. The member is removed; the key stays while it has others."
    ),
    'store: r, keys: "i:*", expires: {pointer_to: "s:", prefix: "i:", matches: token, hash_field: exp}': (
        "A key i:* (string) is dead once the key s:... that its value names is gone, that one's exp (seconds since"
        " 1970) lies before now, or its token is another one. The key is deleted."
    ),
    'store: r, keys: "c:*", expires: {ttl: native}': (
        "A key c:* (string) is dead when its own TTL says so; keys without one are counted and left. A pass deletes"
        " nothing."
    ),
}


def loaded(text: str, folder: Path) -> Target:
    file = folder / "cleanup.yaml"
    file.write_text(f"{STORES}targets: {{one: {{{text}}}}}\n", encoding="utf-8")
    (target,) = load_settings(file, URLS).targets
    return target


@pytest.mark.parametrize("text", SAID)
def test_a_target_in_a_sentence(text: str, tmp_path: Path) -> None:
    assert sentence(loaded(text, tmp_path), TYPES) == SAID[text]


def test_a_text_where_a_date_belongs_is_told(tmp_path: Path) -> None:
    target = loaded("store: m, collection: c, expires: {field: ends}", tmp_path)
    assert "what was seen there is string, which is no date and so never expires" in sentence(
        target, {"ends": "string"}
    )


def test_every_step_of_every_layout_has_one() -> None:
    for preset in layouts().values():
        for target in targets_of(preset, preset.every_layout(), "one", "main"):
            words = sentence(target)
            assert words.endswith(".") and "`" not in words and "Expiry" not in words
