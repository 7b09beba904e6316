"""`stores:` -> StoreConfig. The only place that handles a URL; nothing here puts one into a message."""

from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.words import StoreType
from cleanup_pipeline.settings.faults import Fault, FromEnvironment, Path, dotted, nearest
from cleanup_pipeline.settings.outside import LONGEST_URL, has_literal_password, read_outside
from cleanup_pipeline.settings.schema import StoreSection
from cleanup_pipeline.settings.translate import check_section, missing

SCHEMES: Mapping[StoreType, tuple[str, ...]] = {
    StoreType.POSTGRES: ("postgresql", "postgres"),
    StoreType.REDIS: (
        "redis",
        "rediss",
        "valkey",
        "valkeys",
        "unix",
        "redis+cluster",
        "rediss+cluster",
        "redis+sentinel",
        "rediss+sentinel",
    ),
    StoreType.MONGO: ("mongodb", "mongodb+srv"),
}
_OTHER_SCHEMES = ("mysql", "mariadb", "sqlite", "http", "https", "amqp", "memcached", "postgresql+psycopg2", "jdbc")
_SHOWN_SCHEMES = {*_OTHER_SCHEMES, *(scheme for schemes in SCHEMES.values() for scheme in schemes)}
_VALKEY = {"valkey": "redis", "valkeys": "rediss"}
_SECRET_OPTIONS = {"password", "passwd", "pwd", "sslpassword", "ssl_password", "tlscertificatekeyfilepassword"}
MOST_URLS = 64
"""Of one store: a pass asks each for its clock and its leases."""
_NO_LITERAL = "write ${VAR} and set the variable, or name a file with url_file"


def read_store(
    name: str, raw: Any, path: Path, folder: FilePath, faults: list[Fault]
) -> StoreConfig | StoreType | None:
    """The store, or what is known of its type when it has faults."""
    before = len(faults)
    section, wrong = check_section(StoreSection, raw, path, faults)
    if section is None:
        return None
    store_type = section.type
    if store_type is None:
        missing((*path, "type"), wrong, "redis, postgres or mongo", faults)
        return None
    if section.url is None and any(nearest(key, ("url", "url_file")) for key in wrong):
        return store_type  # the misspelt key has its fault already
    urls = _urls_of(section, path, faults, schemes_of(store_type)) if section.urls is not None else []
    url = urls[0] if urls else None
    if section.urls is None:
        url = _url_of(section, path, folder, faults, schemes_of(store_type))
    if url is not None and not urls:
        _check_url(url, (*path, "url" if section.url is not None else "url_file"), store_type, faults)
    for number, each in enumerate(urls):
        _check_url(each, (*path, "urls", str(number)), store_type, faults)
    for option in ("write_concern", "read_preference"):
        if getattr(section, option) is not None and store_type is not StoreType.MONGO:
            found = f"{option} on a {store_type} store"
            faults.append(Fault(dotted((*path, option)), found, f"no {option}, which is for MongoDB"))
    if url is None or len(faults) > before:
        return store_type
    return StoreConfig(
        name=name,
        type=store_type,
        url=_plain_url(url),
        urls=tuple(_plain_url(each) for each in urls),
        pool_size=section.pool_size,
        connect_timeout=section.connect_timeout,
        statement_timeout=section.statement_timeout,
        lock_timeout=section.lock_timeout,
        lease=section.lease or None,
        budget=section.budget,
        write_concern=section.write_concern,
        read_preference=section.read_preference or "primary",
    )


def _plain_url(url: str) -> str:
    """The URL as drivers know it: Valkey has its own schemes, redis-py only those of Redis."""
    scheme, separator, rest = str(url).strip().partition("://")
    return f"{_VALKEY.get(scheme.lower(), scheme)}{separator}{rest}"


def schemes_of(store_type: StoreType) -> str:
    """What URLs of a store type begin with, as text for a message."""
    schemes = [f"{scheme}://" for scheme in SCHEMES[store_type]]
    return f"a {store_type} URL ({', '.join(schemes)})"


def _url_of(section: StoreSection, path: Path, folder: FilePath, faults: list[Fault], wanted: str) -> str | None:
    if section.url is not None and section.url_file is not None:
        faults.append(Fault(dotted(path), "url and url_file", "one of the two"))
        return None
    if section.url_file is not None:
        return read_outside(section.url_file, (*path, "url_file"), folder, faults)
    if section.url is None:
        faults.append(Fault(dotted((*path, "url")), "nothing", wanted, remedy="write url: ${VAR}, or url_file"))
        return None
    if not isinstance(section.url, str):
        kind = (
            "a mapping" if isinstance(section.url, dict) else "a list" if isinstance(section.url, list) else "no text"
        )
        faults.append(Fault(dotted((*path, "url")), kind, wanted, remedy="put a URL in quotes"))
        return None
    return section.url


def _urls_of(section: StoreSection, path: Path, faults: list[Fault], wanted: str) -> list[str]:
    """A list, or the text of one variable that holds several with blanks between them."""
    place, raw = dotted((*path, "urls")), section.urls
    if section.url is not None or section.url_file is not None:
        faults.append(Fault(dotted(path), "urls beside url or url_file", "one of them"))
        return []
    if isinstance(raw, FromEnvironment) and not raw.literal.replace("\0", "").strip():
        raw = [FromEnvironment(each, raw.names, "\0") for each in raw.split()]
    if not isinstance(raw, list) or not raw or not all(isinstance(each, str) for each in raw):
        faults.append(
            Fault(place, "no list of URLs", f"a list, each {wanted}", remedy="or one ${VAR} that holds several")
        )
        return []
    if len(raw) > MOST_URLS:
        faults.append(Fault(place, f"{len(raw)} URLs", f"at most {MOST_URLS}", remedy="make several stores of them"))
    elif len({_plain_url(each) for each in raw}) < len(raw):
        faults.append(Fault(place, "the same URL twice", "each server once"))
    return list(raw)


def _check_url(url: str, path: Path, store_type: StoreType, faults: list[Fault]) -> None:
    fault = _fault_of_url(url, store_type)
    if fault is not None:
        found, expected, remedy = fault
        faults.append(Fault(dotted(path), found, expected, remedy=remedy))


def _fault_of_url(given: str, store_type: StoreType) -> tuple[str, str, str] | None:
    """Found, expected and remedy, none of which holds a part of the URL except a well-known scheme."""
    wanted = schemes_of(store_type)
    url = given.strip()
    scheme, separator, _ = url.partition("://")
    if not url:
        return _outside(given, "an empty text"), wanted, ""
    if not separator or scheme.lower() not in SCHEMES[store_type]:
        shown = f"a {scheme.lower()}:// URL" if separator and scheme.lower() in _SHOWN_SCHEMES else "something else"
        return _outside(given, shown), wanted, ""
    if not url.isprintable() or " " in url or len(url) > LONGEST_URL:
        return _outside(given, "a URL with characters that no URL has"), wanted, "percent-encode user and password"
    try:
        parts = urlsplit(url)
        options = {key.lower() for key, _ in parse_qsl(parts.query, keep_blank_values=True)}
    except ValueError:
        return _outside(given, "a URL that cannot be read"), wanted, "percent-encode user and password"
    stray = parts.path + parts.fragment + ("" if "@" in parts.netloc else parts.query)
    if "@" in stray and parts.scheme != "unix":
        return _outside(given, "a URL with an @ after the host"), wanted, "percent-encode user and password"
    if not (parts.netloc.rpartition("@")[2] or parts.path or store_type is StoreType.POSTGRES):
        return _outside(given, "a URL without a host"), wanted, ""
    if options & _SECRET_OPTIONS:
        return "a password among the options of the URL", "user:password@ before the host", ""
    literal = given.literal if isinstance(given, FromEnvironment) else given
    if has_literal_password(literal):
        return "a password written in the settings file", "a URL whose password comes from outside", _NO_LITERAL
    return None


def _outside(given: str, found: str) -> str:
    names = given.names if isinstance(given, FromEnvironment) else ()
    return f"{found} in {' and '.join(f'${{{name}}}' for name in names)}" if names else found
