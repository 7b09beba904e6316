"""No password gets out, wherever in the file or the environment it was put."""

import traceback
from pathlib import Path

import pytest

from cleanup_pipeline.settings import SettingsError, load_settings

from .conftest import Faults, Load

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ("{type: postgres, url: 'postgres://u:hunter2@h/db'}", "url", "a password written in the settings file"),
        ("{type: postgres, url: 'postgres://u:${PART}hunter2@h/db'}", "url", "a password written in the settings file"),
        ("{type: redis, url: 'redis://:hunter2@h'}", "url", "write ${VAR} and set the variable"),
        ("{type: postgres, url: '${NONE:-postgres://u:hunter2@h/db}'}", "url", "a password written in the settings"),
        ("{type: postgres, url: 'mysql://u:hunter2@h/db'}", "url", "found a mysql:// URL, expected a postgres URL"),
        ("{type: postgres, url: 'hunter2://u:hunter2@h/db'}", "url", "found something else, expected a postgres URL"),
        ("{type: redis, url: 'postgres://u:hunter2@h/db'}", "url", "found a postgres:// URL, expected a redis URL"),
        ("{type: postgres, url: 'host=h password=hunter2'}", "url", "found something else"),
        ("{type: postgres, url: 'postgres://u:x/hunter2@h/db'}", "url", "an @ after the host"),
        ("{type: postgres, url: 'postgres://u:x?hunter2@h/db'}", "url", "an @ after the host"),
        ("{type: postgres, url: 'postgres://u:x#hunter2@h/db'}", "url", "an @ after the host"),
        ("{type: postgres, url: 'postgres://h/db?password=hunter2'}", "url", "a password among the options"),
        ("{type: postgres, url: 'postgres://u:hunter2 @h/db'}", "url", "characters that no URL has"),
        ("{type: postgres, url: 'postgres://u:hunter2@[h/db'}", "url", "a URL that cannot be read"),
        ("{type: postgres, url: ['postgres://u:hunter2@h/db']}", "url", "found a list"),
        ("{type: postgres, url: {hunter2: hunter2}}", "url", "found a mapping"),
        ("{type: postgres, url: 5}", "url", "found no text"),
        ("{type: postgres, url: ''}", "url", "found an empty text"),
        ("{type: postgres}", "url", "found nothing, expected a postgres URL"),
        ("{type: redis, url: 'redis://'}", "url", "a URL without a host"),
        ("{type: postgres, url_file: 'postgres://u:hunter2@h/db'}", "url_file", "a URL belongs in url"),
        ("{type: postgres, url_file: /none/hunter}", "url_file", "cannot be read (FileNotFoundError)"),
        ("{type: postgres, url_file: [hunter2]}", "url_file", "found no text"),
        ("{type: postgres, url: 'postgres://h', url_file: hunter2}", None, "found url and url_file"),
        ("{type: postgres, urll: 'postgres://u:hunter2@h/db'}", "urll", "did you mean url?"),
        ("{type: 'postgres://u:hunter2@h/db', url: x}", "type", "found a URL (not shown)"),
        ("{type: postgres, url: 'postgres://h', pool_size: 'u:hunter2@h'}", "pool_size", "not shown"),
        ("{type: postgres, url: 'postgres://h', 'u:hunter2@h': 1}", "<...>", "an unknown key"),
        ("postgres://u:hunter2@h/db", None, "found a URL (not shown)"),
    ],
)
def test_a_wrong_store_is_named_without_its_secret(load: Load, text: str, path: str | None, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load("", stores=f"stores: {{main: {text}}}\n", environ={"PART": SECRET})
    (fault,) = caught.value.faults
    assert fault.path == (f"stores.main.{path}" if path else "stores.main")
    assert message in str(fault)
    said = str(caught.value) + repr(caught.value) + repr(fault) + "".join(traceback.format_exception(caught.value))
    assert SECRET not in said


@pytest.mark.parametrize(
    "text",
    [
        "stores: postgres://u:hunter2@h/db",
        "stores: {'postgres://u:hunter2@h/db': {}}\ntargets: {a: {store: b}}",
        "stores: {main: {type: postgres, url: *hunter2}}",
        "stores: {main: {type: postgres, url: @hunter2}}",
        "stores: {main: {type: postgres, url: 'postgres://u:hunter2@h/db}}",
        "targets: {a: {store: 'postgres://u:hunter2@h/db'}}",
        "'postgres://u:hunter2@h/db': 1",
        "cleanup: 'postgres://u:hunter2@h/db'",
        "postgres://u:hunter2@h/db",
    ],
)
def test_a_url_where_none_belongs(load: Load, text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load("", stores=text)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "url", ["mysql://u:hunter2@h", "hunter2", "postgres://u:hunter2@h h", "postgres://u:x/hunter2@h"]
)
def test_a_wrong_url_in_a_variable(faults: Faults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    fault = faults("", {"PG": url})["stores.main.url"]
    assert "${PG}" in str(fault)
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    with pytest.raises(SettingsError, match=r"\$\{CLEANUP_POSTGRES_URL\}") as caught:
        load_settings(None, {"CLEANUP_POSTGRES_URL": url})
    assert SECRET not in str(caught.value)
    assert list(faults("", {"CLEANUP__STORES__MAIN__URL": url})) == ["CLEANUP__STORES__MAIN__URL (stores.main.url)"]


def test_settings_do_not_show_urls(load: Load) -> None:
    settings = load("targets: {a: {store: main, table: t, expires: {column: e}}}")
    assert SECRET in settings.stores["main"].url
    assert SECRET not in repr(settings)


def test_a_password_may_come_from_outside_in_part_or_in_a_file(load: Load, tmp_path: Path) -> None:
    (tmp_path / "url").write_text("redis://:hunter2@h/0")
    text = """
stores:
  one: {type: postgres, url: "postgres://app:${PASSWORD}@h/db"}
  two: {type: redis, url_file: url}
  three: {type: mongo, url: "mongodb://a,b:27018/app?replicaSet=rs0"}
  four: {type: redis, url: "unix:///run/redis.sock?db=1"}
"""
    settings = load("", stores=text, environ={"PASSWORD": SECRET})
    assert settings.stores["one"].url == "postgres://app:hunter2@h/db"
    assert settings.stores["one"].where == "h/db"
    assert settings.stores["two"].url == "redis://:hunter2@h/0"
    assert list(settings.stores) == ["one", "two", "three", "four"]
