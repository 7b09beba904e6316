"""What all three stores say of TLS: whether a host is this one, and what is wrong when a certificate is refused."""

import re
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address

from cleanup_pipeline.model.plan import Finding
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.words import Severity, StoreType
from cleanup_pipeline.stores.base import StoreError

CA_OPTION: Mapping[StoreType, str] = {
    StoreType.POSTGRES: "sslrootcert",
    StoreType.REDIS: "ssl_ca_certs",
    StoreType.MONGO: "tlsCAFile",
}
"""How a URL names the certificate of the authority that signed the server's."""
_PLAIN: Mapping[StoreType, str] = {
    StoreType.POSTGRES: "sslmode=disable in the URL",
    StoreType.REDIS: "redis:// in place of rediss://",
    StoreType.MONGO: "tls=false in the URL",
}
# What OpenSSL, libpq, redis-py and PyMongo write, from what tells most to what tells least.
_EXPIRED = re.compile(r"certificate has expired")
_EARLY = re.compile(r"certificate is not yet valid")
_HOST = re.compile(r"hostname mismatch|ip address mismatch|does not match host name|doesn't match", re.IGNORECASE)
_AUTHORITY = re.compile(
    r"self.signed certificate|unable to get (local )?issuer|unable to verify the first|unknown ca", re.IGNORECASE
)
_NO_FILE = re.compile(r"root certificate file .* (does not exist|could not be)|could not read root certificate")
_NO_TLS = re.compile(r"does not support SSL|wrong version number|record layer failure|packet length too long")
_REFUSED = re.compile(r"certificate verify failed", re.IGNORECASE)
_CLIENT = re.compile(r"certificate required|handshake failure|connection requires a valid client cert", re.IGNORECASE)


def is_local(host: str) -> bool:
    """Whether a host as a URL names it is this one: a socket in the file system, or a loopback address."""
    plain = host.strip().strip("[]").lower().rstrip(".")
    if plain in ("", "localhost") or plain.startswith(("/", "@", "%2f")) or plain.endswith(".localhost"):
        return True
    try:
        return ip_address(plain).is_loopback
    except ValueError:
        return False


def far_hosts(hosts: Iterable[str]) -> list[str]:
    """Those that are not this host."""
    return [host for host in hosts if not is_local(host)]


def tls_fault(text: str, config: StoreConfig) -> StoreError | None:
    """The fault that a driver's message about TLS stands for; None when it is about something else.

    Not worth another try: a certificate does not become right within a pass.
    """
    option, where = CA_OPTION[config.type], config.where
    if _EXPIRED.search(text):
        found = f"the certificate of {where} has expired", "renew it on the server"
    elif _EARLY.search(text):
        found = f"the certificate of {where} is not valid yet", "set both clocks by NTP, or correct the certificate"
    elif _HOST.search(text):
        found = (
            f"the certificate of {where} is for another host name",
            "write the name that the certificate is for into the URL, or issue one for this name",
        )
    elif _AUTHORITY.search(text):
        found = (
            f"the certificate of {where} is signed by nobody that this host trusts",
            f"name the certificate of its authority in the URL: {option}=/path/to/ca.pem",
        )
    elif _NO_FILE.search(text):
        found = f"the file that {option} names for {where} is not there or holds no certificate", f"correct {option}"
    elif _NO_TLS.search(text):
        found = (
            f"{where} does not speak TLS",
            f"set it up there; {_PLAIN[config.type]} would send everything readable, the password too",
        )
    elif _REFUSED.search(text):
        found = (
            f"the certificate of {where} is not trusted",
            f"renew it if it has expired, or name its authority in the URL: {option}=/path/to/ca.pem",
        )
    elif _CLIENT.search(text):
        found = f"{where} wants a certificate of this client", "name one in the URL"
    else:
        return None
    return StoreError(found[0], setting=config.url_setting, remedy=found[1])


def reach_remedy(*, encrypted: bool) -> str:
    """What to do about a server that does not answer. One that has no TLS waits for ever for what it understands."""
    return f"start the server, {'see that it speaks TLS, ' if encrypted else ''}or correct host and port"


def tls_findings(hosts: Iterable[str], *, encrypted: bool, verified: bool, remedy: str) -> Iterator[Finding]:
    """What a person should know of the way to these hosts. Nothing where it does not leave this host."""
    if not far_hosts(hosts):
        return
    if not encrypted:
        what = "the way to it is not encrypted: whoever is on it reads the password and every session"
        yield Finding(Severity.WARNING, what, remedy, code="way.plain")
    elif not verified:
        what = "its certificate is not checked: whoever is on the way can pretend to be it"
        yield Finding(Severity.WARNING, what, remedy, code="way.unchecked")
