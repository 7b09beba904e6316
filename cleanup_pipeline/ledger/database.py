"""The one variable that puts everything the product keeps into a PostgreSQL database: Dagster's history, the ledger.

Does not belong here: connecting (connect.py), what Dagster makes of it (dagster_defs/storage.py).
"""

import os
from collections.abc import Mapping
from pathlib import Path

from cleanup_pipeline.ledger.faults import LedgerError

LEDGER_VARIABLE = "CLEANUP_LEDGER_URL"
VARIABLE = "CLEANUP_DAGSTER_POSTGRES_URL"
FILE_VARIABLE = f"{VARIABLE}_FILE"
"""Names a file that holds the URL and nothing else: a mounted secret."""
LONGEST_URL = 8192
_SCHEMES = ("postgresql://", "postgres://", "postgresql+psycopg2://", "postgresql+psycopg://")


def database_url(environ: Mapping[str, str] | None = None) -> str | None:
    """The database, as postgresql://...; None: none is named, and everything is in files of this machine.

    Raises LedgerError, which never says what was found: a password may be in it.
    """
    variables = os.environ if environ is None else environ
    named, file = variables.get(VARIABLE, "").strip(), variables.get(FILE_VARIABLE, "").strip()
    if named and file:
        raise LedgerError(f"{VARIABLE}: {FILE_VARIABLE} is set, too; unset one of the two")
    if file:
        named = _read(file)
    if not named and not file:
        return None
    for scheme in _SCHEMES:
        if named.startswith(scheme) and len(named) > len(scheme):
            return f"postgresql://{named.removeprefix(scheme)}"
    where = FILE_VARIABLE if file else VARIABLE
    raise LedgerError(f"{where}: this is no URL of PostgreSQL; write postgresql://USER@HOST/DATABASE")


def place_variable(environ: Mapping[str, str] | None = None) -> str:
    """The variable that says where the ledger is, for whoever has to name one."""
    variables = os.environ if environ is None else environ
    if variables.get(LEDGER_VARIABLE):
        return LEDGER_VARIABLE
    return next((name for name in (VARIABLE, FILE_VARIABLE) if variables.get(name)), LEDGER_VARIABLE)


def _read(file: str) -> str:
    try:
        with Path(file).open("rb") as opened:
            return opened.read(LONGEST_URL).decode("utf-8").strip()
    except (OSError, ValueError) as fault:
        raise LedgerError(
            f"{FILE_VARIABLE}: found a file that cannot be read ({type(fault).__name__}),"
            " expected one that holds nothing but a URL"
        ) from None
