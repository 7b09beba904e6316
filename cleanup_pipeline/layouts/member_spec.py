"""Redis: rules about what is inside of a key: members of a set, sorted set, hash or list, elements of a JSON array."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import model_validator

from cleanup_pipeline.layouts.field_types import (
    FieldPath,
    SecondsOrMilliseconds,
    Section,
    Unit,
    number,
    one_of,
    reads,
    refuse,
    text,
)
from cleanup_pipeline.model.target import ElementsExpiry, Expiry, MembersExpiry, ScoreExpiry

_NAMED = re.compile(r"\{[a-z_]+\}")
MemberCodec = Annotated[str, one_of("raw", "utf8", "json", "jdk")]
IndexTemplate = Annotated[str, text("a template of the key, such as user_sessions:{user}", lambda v: "{" in v)]


def _key_templates(value: Any) -> tuple[str, ...]:
    """One template or a list of them."""
    given = value if isinstance(value, list | tuple) else [value]
    if not given or not all(isinstance(one, str) and _NAMED.search(one) and one.isprintable() for one in given):
        raise refuse("a key with {member}, or a name of `index`, in it, such as session:{member}, or a list of them")
    if any(one.startswith("{") for one in given):
        raise refuse("a key that begins with literal text, such as session:{member}")
    return tuple(str(one) for one in given)


_TEMPLATE_SCHEMA = {"type": "string", "pattern": r"^[^{].*\{[a-z_]+\}|\$\{"}
_TEMPLATES_SCHEMA = {"anyOf": [_TEMPLATE_SCHEMA, {"type": "array", "items": _TEMPLATE_SCHEMA, "minItems": 1}]}

KeyTemplates = Annotated[tuple[str, ...], reads(_key_templates, _TEMPLATES_SCHEMA)]


class MembersSpec(Section):
    """Redis: members of a set, sorted set, hash or list that name other keys."""

    members_of: KeyTemplates
    member_codec: MemberCodec = "raw"
    index: IndexTemplate | None = None

    def build(self) -> Expiry:
        """The rule."""
        return MembersExpiry(keys=self.members_of, codec=self.member_codec, index=self.index)


class ScoreSpec(Section):
    """Redis: the scores of a sorted set are the instants."""

    score: SecondsOrMilliseconds
    min: Annotated[float, number(-1e15, 1e15)] = 0.0
    target_key: KeyTemplates | None = None
    member_codec: MemberCodec = "raw"
    index: IndexTemplate | None = None

    def build(self) -> Expiry:
        """The rule."""
        members = None
        if self.target_key is not None:
            members = MembersExpiry(keys=self.target_key, codec=self.member_codec, index=self.index)
        return ScoreExpiry(unit=self.score, above=self.min, members=members)


class ElementsSpec(Section):
    """Redis: a string holds a JSON array, whose elements die one by one."""

    elements: Annotated[Literal["json"], one_of("json")]
    at: FieldPath | None = None
    unit: Unit | None = None
    member: FieldPath | None = None
    target_key: KeyTemplates | None = None
    member_codec: MemberCodec = "raw"
    index: IndexTemplate | None = None

    @model_validator(mode="after")
    def _some_end(self) -> Self:
        if self.at is None and self.target_key is None:
            raise refuse("at (where an element says when it dies), target_key (the key that it dies with), or both")
        return self

    def build(self) -> Expiry:
        """The rule."""
        members = None
        if self.target_key is not None:
            members = MembersExpiry(keys=self.target_key, codec=self.member_codec, index=self.index)
        return ElementsExpiry(
            path=None if self.at is None else tuple(self.at.split(".")),
            unit=self.unit,
            member=tuple(self.member.split(".")) if self.member else (),
            members=members,
        )
