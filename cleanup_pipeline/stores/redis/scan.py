"""Naming the keys of a target, page by page, without judging them."""

from collections.abc import Iterator
from dataclasses import dataclass

from cleanup_pipeline.model.target import MAX_BATCH, KeySource
from cleanup_pipeline.stores.redis.connection import Client, send
from cleanup_pipeline.stores.redis.glob import matches

START = 0
_SPECIAL = frozenset(b"*?[]\\^")


@dataclass(frozen=True, slots=True)
class Page:
    """The keys that one SCAN named and that are still to be judged, and the cursor behind them (0: that was all)."""

    at: int
    following: int
    keys: tuple[bytes, ...]


def scan_page(
    client: Client, source: KeySource, at: int, count: int, *, any_type: bool = False, node: str = ""
) -> Page:
    """One SCAN of about `count` keys of the database. May name no key at all without being the last."""
    command: list[str | int] = ["SCAN", at, "MATCH", source.pattern, "COUNT", count]
    if not any_type:
        command += ["TYPE", source.key_type]
    following, keys = send(client, *command, node=node)
    excluded = [pattern.encode("utf-8", "surrogateescape") for pattern in source.exclude]
    # Whole keys, of which there may be many, by looking them up.
    plain = {pattern for pattern in excluded if not _SPECIAL & set(pattern)}
    globs = [pattern for pattern in excluded if pattern not in plain]
    # SCAN may name a key twice; within a page that is seen here, across pages UNLINK's own answer counts.
    kept = tuple(
        key for key in dict.fromkeys(keys) if key not in plain and not any(matches(pattern, key) for pattern in globs)
    )
    return Page(at, int(following), kept)


def pages(
    client: Client, source: KeySource, at: int, count: int, *, any_type: bool = False, node: str = ""
) -> Iterator[Page]:
    """Pages from a cursor on, until the last one, without judging what is on them."""
    stride = count
    while True:
        page = scan_page(client, source, at, stride, any_type=any_type, node=node)
        yield page
        at = page.following
        if at == START:
            return
        stride = count if page.keys else min(stride * 2, MAX_BATCH)
