"""Whatever a file holds: settings or a SettingsError, never anything else."""

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cleanup_pipeline.layouts.expiry_spec import EXPIRY_SPECS, spec_keys
from cleanup_pipeline.settings import Settings, SettingsError, load_settings
from cleanup_pipeline.settings.schema import CleanupSection, PassSection, StoreSection, TargetSection

ANY = settings(max_examples=250, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
ENVIRON = {"URL": "postgres://u:hunter2@h/db", "N": "3"}

TEXTS = """
main cache a postgres redis mongo sessions django-sessions sso-sessions 1h 50ms -1h 0 delete dry_run skip s ms utc
native s:* * public.t ${URL} ${N} ${NOPE} ${ $${N} postgres://h/db redis://:hunter2@h true 1 \x07
"""
WORDS = st.sampled_from(TEXTS.split()) | st.just("x" * 200)
SCALARS = (
    WORDS
    | st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.dates()
    | st.binary(max_size=5)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def mapping_with(keys: tuple[str, ...], values: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.dictionaries(st.sampled_from(keys) | st.text(max_size=5), values, max_size=7)


RULE_KEYS = tuple({key for specs in EXPIRY_SPECS.values() for spec in specs for key in spec_keys(spec)})
RULES = mapping_with(RULE_KEYS, VALUES)
STORES = st.fixed_dictionaries({"type": WORDS, "url": WORDS | VALUES}) | mapping_with(spec_keys(StoreSection), VALUES)
TARGETS = mapping_with(spec_keys(TargetSection), RULES | VALUES)
NAMES = st.sampled_from(["main", "cache", "a", "sessions"]) | st.text(max_size=5)
DOCUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "cleanup": mapping_with(spec_keys(CleanupSection), VALUES) | VALUES,
        "app": st.fixed_dictionaries({"cleanup": VALUES}) | VALUES,
        "stores": st.dictionaries(NAMES, STORES | VALUES, max_size=3) | VALUES,
        "passes": st.dictionaries(NAMES, mapping_with(spec_keys(PassSection), VALUES) | VALUES, max_size=3) | VALUES,
        "targets": st.dictionaries(NAMES, TARGETS | VALUES, max_size=3) | VALUES,
    },
)


def check(data: bytes, tmp_path: Path, environ: dict[str, str] | None = None) -> None:
    file = tmp_path / "cleanup.yaml"
    file.write_bytes(data)
    try:
        found = load_settings(file, {**ENVIRON, **(environ or {})})
    except SettingsError as error:
        assert error.faults
        assert "hunter2" not in str(error)
        assert all(line.isprintable() for line in str(error).split("\n"))
        assert len(str(error).split("\n")) == len(error.faults) + 1
    else:
        assert isinstance(found, Settings)
        assert "hunter2" not in repr(found)


@ANY
@given(st.binary(max_size=200))
def test_any_bytes(tmp_path: Path, data: bytes) -> None:
    check(data, tmp_path)


@ANY
@given(st.text(alphabet=st.sampled_from(list("ab:{}[]&*!|>'\"#%@`,?-<=~.0123$_ \n\t")), max_size=60))
def test_any_text_of_the_characters_that_yaml_minds(tmp_path: Path, text: str) -> None:
    check(text.encode(), tmp_path)


@ANY
@given(VALUES)
def test_any_structure(tmp_path: Path, value: object) -> None:
    check(yaml.safe_dump(value, allow_unicode=True).encode(), tmp_path)


@ANY
@given(DOCUMENTS)
def test_any_document_with_the_right_keys(tmp_path: Path, value: object) -> None:
    check(yaml.safe_dump(value, allow_unicode=True).encode(), tmp_path)


@ANY
@given(
    st.dictionaries(
        st.from_regex(r"CLEANUP__(TARGETS|STORES|CLEANUP|PASSES)(__[A-Z]{1,4}){0,4}", fullmatch=True)
        | st.sampled_from(["CLEANUP_PAUSE", "CLEANUP_BATCH_SIZE", "CLEANUP_REDIS_URL", "CLEANUP__STORES__A__URL"]),
        WORDS | st.text(max_size=20),
        max_size=4,
    ),
    VALUES,
)
def test_any_environment(tmp_path: Path, environ: dict[str, str], value: object) -> None:
    check(json.dumps({"targets": value}, default=str).encode(), tmp_path, environ)


@pytest.mark.parametrize("text", ["a: 0b_", "a: =", "a: " + "9" * 5000, "<<: 3", "a: {<<: [1]}", "a: 1e999", "a: .nan"])
def test_scalars_that_yaml_trips_over(tmp_path: Path, text: str) -> None:
    check(text.encode(), tmp_path)
    check(f"cleanup: {{batch_size: {text[3:]}}}".encode(), tmp_path)
