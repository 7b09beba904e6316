"""What `check` says, by the codes of its findings."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from cleanup_pipeline.engine.checkup import check_store, check_target
from cleanup_pipeline.model.plan import Finding
from cleanup_pipeline.model.rules import ColumnExpiry
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.target import TableSource, Target
from cleanup_pipeline.model.words import Mode, StoreType
from cleanup_pipeline.stores.open import open_store

NOWHERE = "postgresql://nobody@127.0.0.1:9/none"

WEB = Target(
    name="web",
    store="main",
    store_type=StoreType.POSTGRES,
    pass_name="sessions",
    kind="session",
    source=TableSource("web"),
    expiry=ColumnExpiry("expires_at"),
    mode=Mode.DELETE,
)


@dataclass(frozen=True)
class Looked:
    findings: Sequence[Finding]

    @property
    def codes(self) -> set[str]:
        return {each.code for each in self.findings}

    def of(self, code: str) -> Finding:
        [found] = [each for each in self.findings if each.code == code]
        return found


def look(url: str, target: Target = WEB, **config: Any) -> Looked:
    store = open_store(StoreConfig("main", target.store_type, url, **config))
    try:
        about_store = check_store(store)
        more = check_target(store, target).findings if about_store.reached else ()
    finally:
        store.close()
    return Looked([*about_store.findings, *more])


def as_role(role: str, url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=f"{role}@{parts.netloc.rpartition('@')[2]}").geturl()


def web(**changes: Any) -> Target:
    return replace(WEB, **changes)


Provoke = Callable[..., Looked]
Provoked = Mapping[str, Provoke]
