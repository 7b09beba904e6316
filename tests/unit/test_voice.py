"""Messages in one voice: what is wrong and what to do, as fragments of sentences, with nobody to blame and no apology.

Read from the source, so that one that no test provokes is read, too.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import cleanup_pipeline

ROOT = Path(cleanup_pipeline.__file__).parent
NAMES = re.compile(r"(Error|Fault|Finding|Brake)$")
"""What is made with a message for people."""
STARTS = re.compile(
    r"""[a-z0-9{$'"`-]           # a fragment, a name out of the settings
    |[A-Z_]{2,}\b               # a command or a variable: GRANT, DAGSTER_HOME, TTL
    |(Apprise|Dagster|Django|MongoDB|PLAN|PostgreSQL|Redis|TTL|YAML|MessagePack)\b
    |\.|<""",
    re.VERBOSE,
)
UNWANTED = re.compile(
    r"\b(please|sorry|oops|invalid (value|input|argument)|illegal|failed to|unable to)\b|\w!|(?<!\.\.)\.$|n't\b",
    re.IGNORECASE,
)


def _text(node: ast.expr) -> str | None:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(
            part.value if isinstance(part, ast.Constant) and isinstance(part.value, str) else "{}"
            for part in node.values
        )
    return None


def _messages() -> Iterator[tuple[str, str]]:
    for file in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if not NAMES.search(called):
                continue
            for given in (*node.args, *(each.value for each in node.keywords)):
                text = _text(given)
                if text and " " in text:
                    yield f"{file.relative_to(ROOT)}:{node.lineno}", text


MESSAGES = list(_messages())


def test_there_are_messages_to_read():
    assert len(MESSAGES) > 400


def test_each_is_a_fragment_that_says_what_was_found_and_what_to_do():
    wrong = [f"{where}: {text}" for where, text in MESSAGES if not STARTS.match(text.lstrip()) or UNWANTED.search(text)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "text", ["Please set it", "invalid value", "could not open it.", "it doesn't work", "Something was wrong"]
)
def test_it_hears_another_voice(text: str):
    assert not STARTS.match(text) or UNWANTED.search(text)
