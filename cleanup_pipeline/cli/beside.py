"""A line of words beside a heading: wrapped under itself on a terminal, one line in a pipe."""

from rich.console import Console
from rich.text import Text


def say_beside(out: Console, head: Text, words: str) -> None:
    """`words` behind `head`, further lines indented by as much."""
    if out.soft_wrap:
        out.print(Text.assemble(head, words))
        return
    lines = Text(words).wrap(out, max(20, out.width - head.cell_len))
    for number, line in enumerate(lines):
        out.print(Text.assemble(head if number == 0 else Text(" " * head.cell_len), line))
