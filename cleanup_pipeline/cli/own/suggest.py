"""What of the things that were seen is probably meant. Suggestions only: somebody says yes to them."""

import re

from cleanup_pipeline.model.seen import Seen, SeenField
from cleanup_pipeline.model.words import StoreType

AWARE = "timestamp with time zone"
NAIVE = ("timestamp without time zone", "date")
NUMBERS = ("smallint", "integer", "bigint", "numeric", "double precision", "real")
TEXTS = ("text", "character varying", "character")
_ENDS = re.compile(
    r"expir|valid_?(un)?til|valid_?to\b|not_?after|deadline|_until$|^until$|ends?_?at|^exp$|ttl", re.IGNORECASE
)
_BEGINS = re.compile(
    r"creat|issued|insert|start|sent_?at|began|last_?(used|seen|activity|access)|refreshed|updat|^when$", re.IGNORECASE
)
_KINDS = (
    (r"reset|forgot", "password_reset_token"),
    (r"verif|confirm|magic|otp|one_time|activation|invit|link", "verification_token"),
    (r"refresh", "refresh_token"),
    (r"access|token|grant", "access_token"),
)
"""The first of them that a name contains says what the records are."""
_VERIFYING = frozenset({"password_reset_token", "verification_token"})


def is_end(name: str) -> bool:
    """Whether a column of this name probably says when a record dies."""
    return bool(_ENDS.search(name))


def is_beginning(name: str) -> bool:
    """Whether one probably says when it began."""
    return bool(_BEGINS.search(name)) and not is_end(name)


def instants(seen: Seen, store_type: StoreType) -> list[SeenField]:
    """The columns, fields or places that may hold an instant, the likelier ones first."""
    found = [field for field in seen.fields if _may_hold(field, store_type)]
    return sorted(found, key=lambda field: (not is_end(field.name), not is_beginning(field.name), _rank(field)))


def most_likely(seen: Seen, store_type: StoreType) -> SeenField | None:
    """The one that probably says when a record dies; None where none does."""
    found = [field for field in instants(seen, store_type) if is_end(field.name) or field.type in {"value", "score"}]
    return found[0] if found else None


def _may_hold(field: SeenField, store_type: StoreType) -> bool:
    match store_type:
        case StoreType.POSTGRES:
            if field.type in TEXTS or field.type in NUMBERS:
                return is_end(field.name) or is_beginning(field.name)
            return field.type == AWARE or field.type in NAIVE
        case StoreType.MONGO:
            return "date" in field.type or field.unit is not None
        case StoreType.REDIS:
            return field.unit is not None or field.iso


def _rank(field: SeenField) -> int:
    return 0 if field.type == AWARE or "date" in field.type else 1


def kind_of(name: str) -> str:
    """What records of this name probably are."""
    return next((kind for pattern, kind in _KINDS if re.search(pattern, name, re.IGNORECASE)), "session")


def pass_of(kind: str) -> str:
    """The pass that is meant for such records."""
    return "verification_tokens" if kind in _VERIFYING else "sessions"


def name_of(source: str) -> str:
    """A name for a target, from a table, a collection or a pattern."""
    plain = re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", source).lower()).strip("_")
    return (plain if plain[:1].isalpha() else f"own_{plain}".rstrip("_"))[:63]
