"""TLS to MongoDB: PyMongo would speak in plain unless the URL says otherwise."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl

from cleanup_pipeline.model.plan import Finding
from cleanup_pipeline.stores.tls import far_hosts, tls_findings

_WEAK = frozenset({"tlsinsecure", "tlsallowinvalidcertificates", "tlsallowinvalidhostnames"})


def tls_options(url: str) -> dict[str, Any]:
    """What MongoClient() takes besides the URL so that the way is encrypted and the certificate checked.

    Empty where the URL says what is wanted (tls=false too), and where the way does not leave this host.
    """
    said = _options(url)
    if "tls" in said or "ssl" in said or url.startswith("mongodb+srv:") or not far_hosts(_hosts(url)):
        return {}
    return {"tls": True}


def is_encrypted(url: str) -> bool:
    """Whether the way is, by what the URL says or by default."""
    said = _options(url)
    return "true" in (said.get("tls"), said.get("ssl")) or bool(tls_options(url)) or url.startswith("mongodb+srv:")


def findings(url: str) -> Iterator[Finding]:
    """What is worth knowing of the way to the servers."""
    said = _options(url)
    plain = "false" in (said.get("tls"), said.get("ssl"))
    weak = any(said.get(option) == "true" for option in _WEAK)
    remedy = "take tls=false out of the URL" if plain else "take tlsInsecure and tlsAllowInvalid... out of the URL"
    yield from tls_findings(_hosts(url), encrypted=not plain, verified=not weak, remedy=remedy)


def _options(url: str) -> dict[str, str]:
    return {key.lower(): value.lower() for key, value in parse_qsl(url.partition("?")[2].replace(";", "&"))}


def _hosts(url: str) -> list[str]:
    # The login may hold anything but a plain "@"; what follows the hosts is a path or a query.
    places = url.partition("://")[2].partition("?")[0].rpartition("@")[2].partition("/")[0].split(",")
    return [each.partition("]")[0] if each.startswith("[") else each.partition(":")[0] for each in places]
