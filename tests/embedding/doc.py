"""The blocks of docs/embedding.md, which the tests run."""

import re
import textwrap
from pathlib import Path

DOC = Path(__file__).parents[2] / "docs" / "embedding.md"


def files() -> dict[str, str]:
    """What the page has put into files, by the name in their first line."""
    blocks = re.findall(r"^```(?:yaml|python)\n# (\S+)\n(.*?)^```", DOC.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return {name: textwrap.dedent(text) for name, text in blocks}


def commands() -> list[str]:
    """What the page has typed."""
    blocks = re.findall(r"^```console\n(.*?)^```", DOC.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]
