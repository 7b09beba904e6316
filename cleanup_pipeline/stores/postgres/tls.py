"""TLS to PostgreSQL: libpq would use it only where the server offers it, and would not look at the certificate."""

import os
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from cleanup_pipeline.model.plan import Finding
from cleanup_pipeline.stores.tls import far_hosts, tls_findings

CHECKED = "verify-full"
_READABLE = frozenset({"disable", "allow", "prefer"})
"""Modes in which a server, or whoever pretends to be it, may talk in plain."""


def tls_arguments(url: str) -> dict[str, str]:
    """What psycopg.connect() takes besides the URL so that the server's certificate and name are checked.

    Empty where the URL, PGSSLMODE or a service says what is wanted, and where the way does not leave this host.
    """
    said = _options(url)
    if _mode(said) or "service" in said or os.environ.get("PGSERVICE") or not far_hosts(_hosts(said)):
        return {}
    if said.get("sslrootcert") or os.environ.get("PGSSLROOTCERT") or _usual_file().exists():
        return {"sslmode": CHECKED}
    # libpq looks into the user's home folder only; a public authority is one of the system's.
    paths = ssl.get_default_verify_paths()
    found = next((each for each in (paths.cafile, paths.openssl_cafile) if each and Path(each).exists()), "system")
    return {"sslmode": CHECKED, "sslrootcert": found}


def findings(url: str) -> Iterator[Finding]:
    """What is worth knowing of the way to the server."""
    said = _options(url)
    mode = tls_arguments(url).get("sslmode") or _mode(said) or "prefer"
    remedy = "set sslmode=verify-full, with sslrootcert=/path/to/ca.pem for an authority of your own"
    if "service" not in said:
        yield from tls_findings(_hosts(said), encrypted=mode not in _READABLE, verified=mode == CHECKED, remedy=remedy)


def _options(url: str) -> dict[str, Any]:
    try:
        return dict(conninfo_to_dict(url))
    except psycopg.ProgrammingError:
        return {}


def _mode(said: dict[str, Any]) -> str:
    return str(said.get("sslmode") or os.environ.get("PGSSLMODE") or "")


def _hosts(said: dict[str, Any]) -> list[str]:
    hosts = said.get("hostaddr") or said.get("host") or os.environ.get("PGHOSTADDR") or os.environ.get("PGHOST") or ""
    return str(hosts).split(",")


def _usual_file() -> Path:
    return Path.home() / ".postgresql" / "root.crt"
