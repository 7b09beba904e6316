"""A page of documentation for each preset, and the table of all, made from the presets themselves.

`python -m cleanup_pipeline.layouts.pages docs` writes them.
"""

import sys
from pathlib import Path

from cleanup_pipeline.layouts.layout import Layout, Preset, layouts
from cleanup_pipeline.layouts.words import (
    grace_words,
    guard_words,
    removal_words,
    rule_words,
    source_words,
    value_words,
)

SETTINGS_HEAD = "## Layouts\n"
_NOTE = "<!-- Made from the preset by `make layout-docs`. Change the preset. -->\n"
_APPLICATION_SERVICES = "sso-"
"""The presets of one application share a page that is written by hand."""


def page(preset: Preset) -> str:
    """What the preset of one framework does, as Markdown."""
    layouts_of_it = preset.every_layout()
    parts = [
        f"# {preset.name}\n",
        _NOTE,
        f"{preset.title}. {preset.framework}; {preset.versions}.\n",
    ]
    if preset.report_only:
        parts.append(f"**Only reports.** {preset.report_only}\n")
    parts += ["## Set it\n", f"```yaml\n{_example(preset)}```\n"]
    if preset.params:
        parts.append(_params(preset))
    parts += ["## What goes\n", *(_step(preset, layout) for layout in layouts_of_it)]
    parts += ["## What stays\n", _list(preset.keeps)]
    if preset.differs:
        parts += ["## Where it differs from the framework's own cleaner\n", _list(preset.differs)]
    if preset.notes:
        parts += ["## Look out\n", _list(preset.notes)]
    parts += ["## What was proven\n", f"{_sentence(preset.proof)} Facts: {preset.source_of_facts}.\n"]
    return "\n".join(parts)


def _example(preset: Preset) -> str:
    lines = ["targets:", f"  {preset.name.replace('-', '_')}:", "    store: main", f"    layout: {preset.name}"]
    required = [key for key, spec in preset.params.items() if spec.required]
    if required:
        # No example that could be copied: a lifetime that is too short logs everybody out.
        lines.append("    params:")
        specs = {key: preset.params[key] for key in required}
        lines += [f"      {key}: {spec.example or '...'}        # {spec.wanted}" for key, spec in specs.items()]
    if not preset.report_only:
        lines.append("    mode: dry_run        # delete, when the plan has been read")
    return "\n".join(lines) + "\n"


def _params(preset: Preset) -> str:
    rows = ["| parameter | type | default | what it is |", "|---|---|---|---|"]
    for key, spec in preset.params.items():
        default = (
            "**required**"
            if spec.required
            else "none"
            if spec.default in {None, ""}
            else f"`{value_words(spec.default)}`"
        )
        rows.append(f"| `{key}` | {spec.type} | {default} | {spec.about} |")
    return "\n".join(rows) + "\n"


def _step(preset: Preset, layout: Layout) -> str:
    title = f"**{layout.step}**: {layout.about}" if preset.several else f"{layout.about[0].upper()}{layout.about[1:]}"
    when = next((raw.get("when") for raw in preset.raw_steps if raw.get("step") == layout.step), None)
    lines = [f"{title}." + (f" Only with the parameter `{when}`." if when else ""), ""]
    lines.append(f"- from {source_words(layout.source)}, {rule_words(layout.expiry)}")
    lines += [f"- only where `{name}` is `{value_words(value)}`" for name, value in layout.where.items()]
    lines += [f"- only {guard_words(guard)}" for guard in layout.guards]
    lines += [f"- {words}" for words in removal_words(layout)]
    if layout.grace:
        lines.append(f"- {grace_words(layout.grace)}")
    return "\n".join(lines) + "\n"


def _list(sentences: tuple[str, ...]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences) + "\n"


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def table() -> str:
    """The rows of docs/settings.md."""
    rows = ["| layout | store | cleans | default |", "|---|---|---|---|"]
    for preset in layouts().values():
        title = preset.title + (" (only reports)" if preset.report_only else "")
        default = "yes" if preset.default else "no"
        rows.append(f"| `{preset.name}` | {preset.store_type} | {title} | {default} |")
    return "\n".join(rows) + "\n"


def with_table(settings_page: str) -> str:
    """docs/settings.md with the table as it should be."""
    before, head, _ = settings_page.partition(SETTINGS_HEAD)
    links = "What each does, keeps and asks for is on its page in [layouts](layouts).\n"
    return f"{before}{head}\n{links}\n{table()}"


def pages() -> dict[str, str]:
    """Every page by the name of its file."""
    return {
        f"{preset.name}.md": page(preset)
        for preset in layouts().values()
        if not preset.name.startswith(_APPLICATION_SERVICES)
    }


def write(docs: Path) -> None:
    """Write all of it below the folder of the documentation."""
    for name, text in pages().items():
        (docs / "layouts" / name).write_text(text, encoding="utf-8")
    settings = docs / "settings.md"
    settings.write_text(with_table(settings.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
