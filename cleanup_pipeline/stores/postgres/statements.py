"""The SQL of this store, read from its .sql files: `-- name:` starts a statement.

Identifiers reach a statement only as psycopg.sql identifiers, values only as parameters.
"""

from functools import cache
from importlib.resources import files
from typing import LiteralString

from psycopg import sql


@cache
def statements() -> dict[str, LiteralString]:
    """Every named statement, by name."""
    found: dict[str, LiteralString] = {}
    for entry in files("cleanup_pipeline.stores.postgres").joinpath("sql").iterdir():
        for part in entry.read_text(encoding="utf-8").split("-- name: ")[1:]:
            name, _, body = part.partition("\n")
            # The files ship with the package: as trustworthy as a literal in the code.
            found[name.strip()] = body.strip()
    return found


NONE: dict[str, object] = {}
"""Of a statement that has an identifier and no values: without parameters psycopg leaves its percent signs doubled."""


def identifier(*names: str) -> sql.Identifier:
    """A quoted identifier for a statement that has parameters, in which psycopg reads a percent sign as one."""
    return sql.Identifier(*(name.replace("%", "%%") for name in names))


def as_it_is(text: str) -> str:
    """Text of a statement that has parameters, or NONE, with its percent signs."""
    return text.replace("%", "%%")


def statement(name: str, /, **parts: sql.Composable) -> sql.Composed:
    """A named statement with its identifiers and predicates filled in."""
    return sql.SQL(statements()[name]).format(**parts)
