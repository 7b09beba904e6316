"""`notifications:` -> NotificationSettings: who is told. URLs and secrets come from outside, and stay unseen."""

from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path as FilePath
from types import MappingProxyType
from typing import Annotated, Any
from urllib.parse import urlsplit

from cleanup_pipeline.layouts.field_types import (
    Kind,
    Section,
    one_of,
    or_variable,
    reads,
    refuse,
    shown_as,
    whole_number,
)
from cleanup_pipeline.model.alert import AlertName, AlertSeverity
from cleanup_pipeline.model.pace import Network
from cleanup_pipeline.settings.faults import Fault, FromEnvironment, Path, dotted, nearest, show
from cleanup_pipeline.settings.outside import LONGEST_URL, has_literal_password, read_outside
from cleanup_pipeline.settings.targets import check_name
from cleanup_pipeline.settings.translate import check_section, missing

SECTION = "notifications"
URL_VARIABLE = "CLEANUP_NOTIFY_URL"
SECRET_VARIABLE = "CLEANUP_NOTIFY_SECRET"  # noqa: S105 - the name of a variable
DEFAULT = "default"
"""The channel that CLEANUP_NOTIFY_URL alone makes."""
EVENTS = ("pass_given_up", "target_unfinished", "target_braked", "canary_missing")
"""What is told besides alerts."""
_FROM_OUTSIDE = "write ${VAR} and set the variable, or name a file with"
_MOST_SECRETS = 10


class ChannelType(StrEnum):
    """How a channel is spoken to."""

    WEBHOOK = "webhook"
    APPRISE = "apprise"


@dataclass(frozen=True, slots=True)
class Channel:
    """Somebody who is told."""

    name: str
    type: ChannelType
    url: str = field(repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """A webhook is signed with each of them."""
    only: frozenset[str] | None = None
    """Alerts and events that it hears of; None: all."""
    min_severity: AlertSeverity = AlertSeverity.WARNING
    networks: tuple[Network, ...] = ()
    """To which the URL may lead besides addresses of the Internet: `cleanup.allow_networks`."""


@dataclass(frozen=True, slots=True)
class NotificationSettings:
    """All channels."""

    per_hour: int = 20
    """Messages that a channel gets in an hour, the summary of what is over not counted."""
    channels: Mapping[str, Channel] = field(default_factory=lambda: MappingProxyType(dict[str, Channel]()))


def _only(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(each, str) for each in value):
        raise refuse(f"a list of alerts or events, such as [{AlertName.NOT_RUNNING}, {EVENTS[0]}]")
    return tuple(str(each) for each in value)


_HEARD = {"type": "array", "minItems": 1, "items": or_variable({"enum": [*map(str, AlertName), *EVENTS]})}
_OUTSIDE = {"type": "string", "pattern": r"\$\{"}
_SEVERAL = {"type": "array", "items": _OUTSIDE, "minItems": 1, "maxItems": _MOST_SECRETS}
_FILE = {"type": "string", "pattern": r"\S"}


class ChannelSection(Section):
    """`notifications: {channels: {name: ...}}`."""

    type: Annotated[ChannelType | None, one_of(*ChannelType)] = None
    # Checked below, by code that cannot show them.
    url: Annotated[Any, shown_as(_OUTSIDE)] = None
    url_file: Annotated[Any, shown_as(_FILE)] = None
    secret: Annotated[Any, shown_as({"anyOf": [_OUTSIDE, _SEVERAL]})] = None
    secret_file: Annotated[Any, shown_as(_FILE)] = None
    only: Annotated[tuple[str, ...] | None, reads(_only, _HEARD)] = None
    min_severity: Annotated[AlertSeverity, one_of(*AlertSeverity)] = AlertSeverity.WARNING


class NotificationsSection(Section):
    """`notifications: {...}`."""

    per_hour: Annotated[int, whole_number(1, 10_000)] = 20
    channels: Annotated[Any, shown_as(dict[Kind, ChannelSection] | None)] = None


def read_notifications(
    raw: Any, folder: FilePath, environ: Mapping[str, str], faults: list[Fault], networks: tuple[Network, ...] = ()
) -> NotificationSettings:
    """The settings; what is wrong is added to `faults`. `folder` is what the names of files are relative to.

    `networks` are those to which channels may lead besides the Internet.
    """
    section, _ = check_section(NotificationsSection, {} if raw is None else raw, (SECTION,), faults)
    section = section or NotificationsSection()
    path: Path = (SECTION, "channels")
    written = section.channels or {}
    if not isinstance(written, dict):
        faults.append(Fault(dotted(path), show(written), "a mapping of names to channels"))
        written = {}
    if not written and environ.get(URL_VARIABLE):
        written, path = {DEFAULT: _by_environment(environ)}, (SECTION,)
    channels = {name: _read_channel(name, content, (*path, name), folder, faults) for name, content in written.items()}
    usable = {name: replace(each, networks=networks) for name, each in channels.items() if each is not None}
    return NotificationSettings(section.per_hour, MappingProxyType(usable))


def _by_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    secret = environ.get(SECRET_VARIABLE)
    return {
        "type": "webhook",
        "url": FromEnvironment(environ[URL_VARIABLE], (URL_VARIABLE,), "\0"),
        "secret": FromEnvironment(secret, (SECRET_VARIABLE,), "\0") if secret else None,
    }


def _read_channel(name: str, raw: Any, path: Path, folder: FilePath, faults: list[Fault]) -> Channel | None:
    before = len(faults)
    check_name(name, path, faults)
    section, wrong = check_section(ChannelSection, raw, path, faults)
    if section is None:
        return None
    if section.type is None:
        missing((*path, "type"), wrong, "webhook or apprise", faults)
    url = _url_of(section, path, folder, faults, wrong)
    secrets = _secrets_of(section, path, folder, faults)
    known = [*AlertName, *EVENTS]
    for each in section.only or ():
        if each not in known:
            expected = f"one of {', '.join(known)}"
            faults.append(Fault(dotted((*path, "only")), show(each), expected, nearest(each, known)))
    if url is None or section.type is None or len(faults) > before:
        return None
    only = None if section.only is None else frozenset(section.only)
    return Channel(name, ChannelType(section.type), url, secrets, only, AlertSeverity(section.min_severity))


def _url_of(section: ChannelSection, path: Path, folder: FilePath, faults: list[Fault], wrong: set[str]) -> str | None:
    if section.url is not None and section.url_file is not None:
        faults.append(Fault(dotted(path), "url and url_file", "one of the two"))
        return None
    if section.url_file is not None:
        url: Any = read_outside(section.url_file, (*path, "url_file"), folder, faults)
    else:
        url = section.url
        if url is None:
            missing((*path, "url"), wrong, "a URL as ${VAR}, or url_file", faults)
    if url is None:
        return None
    wanted = "an http:// or https:// URL" if section.type is not ChannelType.APPRISE else "a URL of Apprise"
    found, remedy = _fault_of_url(url, section.type)
    if found:
        where = (*path, "url" if section.url is not None else "url_file")
        faults.append(Fault(dotted(where), found, wanted, remedy=remedy))
        return None
    return str(url).strip()


def _fault_of_url(url: Any, channel_type: ChannelType | None) -> tuple[str, str]:
    """What is wrong with it, without any of it, and what to do; two empty texts if nothing is."""
    if not isinstance(url, FromEnvironment) or has_literal_password(url.literal):
        found = "a URL written in the settings file" if isinstance(url, str) else show(url)
        return found, f"{_FROM_OUTSIDE} url_file"
    plain = str(url).strip()
    of = f" in {' and '.join(f'${{{name}}}' for name in url.names)}" if url.names else ""
    if not plain:
        return f"an empty text{of}", ""
    if not plain.isprintable() or " " in plain or "://" not in plain or len(plain) > LONGEST_URL:
        return f"something that is no URL{of}", ""
    if channel_type is ChannelType.APPRISE:
        return "", ""
    try:
        parts = urlsplit(plain)
        usable = parts.scheme.lower() in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not plain.isascii():
        return f"something else{of}", ""
    if "@" in parts.netloc:
        return f"a URL with a user{of}", "a token belongs in the path or the query"
    return "", ""


def _secrets_of(section: ChannelSection, path: Path, folder: FilePath, faults: list[Fault]) -> tuple[str, ...]:
    if section.secret is None and section.secret_file is None:
        return ()
    if section.type is ChannelType.APPRISE:
        faults.append(
            Fault(dotted((*path, "secret")), "secret on an apprise channel", "no secret, which is for webhooks")
        )
        return ()
    if section.secret is not None and section.secret_file is not None:
        faults.append(Fault(dotted(path), "secret and secret_file", "one of the two"))
        return ()
    where = (*path, "secret" if section.secret is not None else "secret_file")
    if section.secret is not None:
        given: Sequence[Any] = section.secret if isinstance(section.secret, list) else [section.secret]
    else:
        content = read_outside(section.secret_file, where, folder, faults, "the secret, or one a line")
        if content is None:
            return ()
        given = [FromEnvironment(line, (), "\0") for line in content.splitlines() if line.strip()]
    expected = "text from outside the file, or a list of such texts while a secret is changed"
    if not 1 <= len(given) <= _MOST_SECRETS:
        faults.append(Fault(dotted(where), f"{len(given)} secrets", f"1 to {_MOST_SECRETS} secrets"))
        return ()
    secrets = []
    for each in given:
        if not isinstance(each, FromEnvironment) or each.literal.replace("\0", "").strip():
            literal = isinstance(each, str)
            found = "a secret written in the settings file" if literal else "a value that is no text"
            remedy = f"{_FROM_OUTSIDE} secret_file" if literal else 'put it in quotes: "${VAR}"'
            faults.append(Fault(dotted(where), found, expected, remedy=remedy))
        elif not _usable(str(each).strip()):
            faults.append(Fault(dotted(where), f"{show(each)}, which is no secret", "whsec_ and base64, or plain text"))
        else:
            secrets.append(str(each).strip())
    return tuple(dict.fromkeys(secrets))


def _usable(secret: str) -> bool:
    if not secret.startswith("whsec_"):
        return bool(secret)
    try:
        return bool(b64decode(secret.removeprefix("whsec_"), validate=True))
    except ValueError:
        return False
