"""Files that are no settings at all, and what ${...} means."""

from pathlib import Path

import pytest

from cleanup_pipeline.settings import SettingsError, load_settings

from .conftest import Faults, Load

TARGET = "targets:\n  a: {store: main, table: t, expires: {column: e}, grace: %s}\n"


def fault_of(data: bytes, tmp_path: Path) -> str:
    file = tmp_path / "cleanup.yaml"
    file.write_bytes(data)
    with pytest.raises(SettingsError) as caught:
        load_settings(file, {})
    assert len(caught.value.faults) == 1
    return str(caught.value)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "an empty file"),
        (b"# nothing\n\n---\n", "an empty file"),
        (b"- a\n- b\n", "found a list, expected a mapping"),
        (b"just words", "found a single value, expected a mapping"),
        (b"cleanup: {a: [1, 2}\n", "line 1, column 19: found a YAML syntax error"),
        (b"\xff\xfe\x00", "not UTF-8 at offset 0"),
        (b"a: \x00", "YAML syntax error"),
        (b"cleanup: !!python/object:os.system {}", "line 1, column 10: found a YAML tag"),
        (b"a: " + b"[" * 5000, "more than 12 levels"),
        (b"a: " + b"x" * (1024 * 1024), "at most 1048576 bytes"),
        (b"a: 2024-99-99", "quotes"),
        (b"? [1, 2]\n: x\n", "line 1, column 3: found a key that is no text"),
        ("a: \ue000".encode(), "private use character"),
    ],
)
def test_a_file_that_is_no_settings_file(data: bytes, words: str, tmp_path: Path) -> None:
    text = fault_of(data, tmp_path)
    assert words in text
    assert "1 fault, nothing is cleaned" in text


def test_few_lines_cannot_grow_into_millions(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    assert "at most 20000 values" in fault_of("\n".join(lines).encode(), tmp_path)
    assert "at most 20000 values" in fault_of(b"a: &a [*a]", tmp_path)
    assert "at most 20000 values" in fault_of(b"a: &a {<<: *a}", tmp_path)


def test_a_named_file_has_to_exist(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"no such file, expected a settings file at .*CLEANUP_SETTINGS"):
        load_settings(tmp_path / "none.yaml", {})
    with pytest.raises(SettingsError, match="no such file"):
        load_settings(None, {"CLEANUP_SETTINGS": str(tmp_path / "none.yaml")})
    with pytest.raises(SettingsError, match="a file that cannot be read"):
        load_settings(tmp_path, {})


def test_the_variable_names_the_file_and_the_folder_has_the_last_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_settings(None, {}).source == "environment"
    Path("cleanup.yaml").write_text("cleanup: {batch_size: 10}")
    assert load_settings(None, {}).source == "cleanup.yaml"
    Path("other.yaml").write_text("cleanup: {enabled: false}")
    named = load_settings(None, {"CLEANUP_SETTINGS": "other.yaml"})
    assert (named.source, named.enabled) == ("other.yaml", False)


def test_the_same_key_twice_is_a_fault(faults: Faults) -> None:
    found = faults("targets:\n  a: {store: main, table: t, expires: {column: e}, table: u}\n")
    assert str(found["targets.a.table"]).startswith("targets.a.table: found the same key again in line 7")


def test_variables_are_put_in(load: Load) -> None:
    assert load(TARGET % "${GRACE}", {"GRACE": "7d"}).targets[0].grace.days == 7
    assert load(TARGET % "${GRACE:-2d}").targets[0].grace.days == 2
    assert load(TARGET % "${GRACE:-2d}", {"GRACE": ""}).targets[0].grace.days == 2
    assert load(TARGET % '"${N}${UNIT}"', {"N": "3", "UNIT": "d"}).targets[0].grace.days == 3
    guarded = "targets:\n  a: {store: main, table: t, expires: {column: e}, where: {a: ${N}, b: '${N}', c: '$${N}'}}\n"
    assert dict(load(guarded, {"N": "3"}).targets[0].where) == {"a": 3, "b": "3", "c": "${N}"}


def test_a_variable_holds_no_structure(load: Load) -> None:
    text = "targets:\n  a: {store: main, table: t, expires: {column: e}, where: {a: ${X}}}\n"
    hostile = "1}, mode: delete, kind: x # "
    target = load(text, {"X": hostile}).targets[0]
    assert dict(target.where) == {"a": hostile}
    assert target.mode == "dry_run"


def test_a_variable_that_is_not_set_is_one_fault(faults: Faults) -> None:
    found = faults(TARGET % "${NOPE}")
    assert list(found) == ["targets.a.grace"]
    assert "${NOPE}, which is not set" in str(found["targets.a.grace"])
    assert "the environment variable NOPE" in str(found["targets.a.grace"])
    assert "without the name of a variable" in str(faults(TARGET % "${}")["targets.a.grace"])


def test_what_a_variable_holds_is_not_shown(faults: Faults) -> None:
    fault = faults(TARGET % "${SECRET}", {"SECRET": "s3cr3t"})["targets.a.grace"]
    assert fault.found == "the value of ${SECRET}"


def test_aliases_do_not_tie_targets_together(load: Load) -> None:
    text = """
targets:
  a: &a {store: main, table: t, expires: {column: e}}
  b: *a
  c: {<<: *a, table: u}
"""
    settings = load(text, {"CLEANUP__TARGETS__A__TABLE": "mine"})
    assert [target.source_name for target in settings.targets] == ["mine", "t", "u"]


def test_keys_are_text_whatever_yaml_thinks_of_them(load: Load) -> None:
    text = "targets:\n  a: {store: main, table: t, expires: {column: e}, where: {no: 1, on: 2, 3: 4}}\n"
    assert dict(load(text).targets[0].where) == {"no": 1, "on": 2, "3": 4}
