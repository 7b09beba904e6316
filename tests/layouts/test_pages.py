"""The pages of docs/layouts are those that the presets make: `make layout-docs` writes them."""

from pathlib import Path

from cleanup_pipeline.layouts.pages import pages, with_table

DOCS = Path(__file__).parents[2] / "docs"


def test_every_page_is_current() -> None:
    for name, text in pages().items():
        file = DOCS / "layouts" / name
        assert file.exists(), f"{name} is missing: make layout-docs"
        assert file.read_text(encoding="utf-8") == text, f"{name} is not current: make layout-docs"


def test_no_page_is_left_of_a_preset_that_is_gone() -> None:
    written_by_hand = {"sso.md"}
    assert {file.name for file in (DOCS / "layouts").glob("*.md")} == set(pages()) | written_by_hand


def test_the_table_of_the_settings_is_current() -> None:
    text = (DOCS / "settings.md").read_text(encoding="utf-8")
    assert text == with_table(text)
