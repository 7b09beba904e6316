"""How a record says when it dies: the closed set of expiry rules per store type, as presets and settings write them."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from cleanup_pipeline.layouts.field_types import (
    FieldPath,
    Flag,
    Prefix,
    SecondsOrMilliseconds,
    Section,
    Unit,
    one_of,
    refuse,
    text,
)
from cleanup_pipeline.layouts.member_spec import ElementsSpec, MembersSpec, ScoreSpec
from cleanup_pipeline.layouts.table_spec import Age, ColumnSpec, EarliestSpec, EntriesSpec, LatestSpec, StartSpec
from cleanup_pipeline.model.target import (
    ElementsExpiry,
    Expiry,
    FieldExpiry,
    HashFieldExpiry,
    JsonExpiry,
    JwtKeyExpiry,
    MembersExpiry,
    MsgpackExpiry,
    NativeTtl,
    PointerExpiry,
    ScoreExpiry,
    ValueExpiry,
)
from cleanup_pipeline.model.words import EpochUnit, StoreType

HashField = Annotated[str, text("the name of a hash field")]


class FieldSpec(Section):
    """MongoDB: an instant in a field."""

    field: FieldPath
    unit: Unit | None = None
    or_unit: Annotated[EpochUnit | None, one_of("ms")] = None
    lifetime: Age | None = None
    pull: FieldPath | None = None
    ttl_index: Flag = False

    @model_validator(mode="after")
    def _dates_or_numbers(self) -> Self:
        if self.unit is not None and self.or_unit is not None:
            raise refuse("unit (numbers alone) or or_unit (dates, or numbers in this unit), not both")
        return self

    @model_validator(mode="after")
    def _within_the_array(self) -> Self:
        if self.pull is not None and not self.field.startswith(f"{self.pull}."):
            raise refuse(f"a field within the array {self.pull}, such as {self.pull}.{self.field}")
        return self

    def build(self) -> Expiry:
        """The rule."""
        return FieldExpiry(
            field=self.field,
            unit=self.unit,
            pull=self.pull,
            lifetime=self.lifetime or timedelta(0),
            or_unit=self.or_unit,
            ttl_index=self.ttl_index,
        )


class HashFieldSpec(Section):
    """Redis: an epoch number in a field of a hash."""

    hash_field: HashField
    unit: Unit = EpochUnit.SECONDS
    repair_ttl: Flag = False

    def build(self) -> Expiry:
        """The rule."""
        return HashFieldExpiry(field=self.hash_field, unit=self.unit, repair_ttl=self.repair_ttl)


class JsonSpec(Section):
    """Redis: an instant at a path of a JSON string."""

    json_path: FieldPath = Field(alias="json")
    unit: Unit | None = None
    ttl_wins: Flag = False

    def build(self) -> Expiry:
        """The rule."""
        return JsonExpiry(path=tuple(self.json_path.split(".")), unit=self.unit, ttl_wins=self.ttl_wins)


class ValueSpec(Section):
    """Redis: the string value is the instant."""

    value: SecondsOrMilliseconds

    def build(self) -> Expiry:
        """The rule."""
        return ValueExpiry(unit=self.value)


class PointerSpec(Section):
    """Redis: the string value is the key of the hash that says when both die."""

    pointer_to: Prefix
    prefix: Prefix
    matches: HashField | None = None
    hash_field: HashField | None = None
    unit: Unit = EpochUnit.SECONDS

    @model_validator(mode="after")
    def _of_a_hash_or_of_anything(self) -> Self:
        if (self.matches is None) != (self.hash_field is None):
            raise refuse("both matches and hash_field, or neither: then the pointer dies when its record is gone")
        return self

    def build(self) -> Expiry:
        """The rule."""
        return PointerExpiry(
            prefix=self.prefix,
            target_prefix=self.pointer_to,
            matches=self.matches,
            expires=None if self.hash_field is None else HashFieldExpiry(field=self.hash_field, unit=self.unit),
        )


class JwtSpec(Section):
    """Redis: the key, after a prefix, is a JWT."""

    jwt_key: Prefix

    def build(self) -> Expiry:
        """The rule."""
        return JwtKeyExpiry(prefix=self.jwt_key)


class TtlSpec(Section):
    """Redis: nothing but the key's own TTL."""

    ttl: Annotated[Literal["native"], one_of("native")]

    def build(self) -> Expiry:
        """The rule."""
        return NativeTtl()


class MsgpackSpec(Section):
    """Redis: an instant at a path of a MessagePack string."""

    msgpack: FieldPath
    unit: Unit | None = None
    ttl_wins: Flag = False

    def build(self) -> Expiry:
        """The rule."""
        return MsgpackExpiry(path=tuple(self.msgpack.split(".")), unit=self.unit, ttl_wins=self.ttl_wins)


ExpirySpec = (
    ColumnSpec
    | StartSpec
    | LatestSpec
    | EarliestSpec
    | EntriesSpec
    | FieldSpec
    | HashFieldSpec
    | JsonSpec
    | ValueSpec
    | PointerSpec
    | JwtSpec
    | TtlSpec
    | MembersSpec
    | ScoreSpec
    | ElementsSpec
    | MsgpackSpec
)

EXPIRY_SPECS: Mapping[StoreType, tuple[type[ExpirySpec], ...]] = {
    StoreType.POSTGRES: (StartSpec, LatestSpec, EarliestSpec, EntriesSpec, ColumnSpec),
    StoreType.MONGO: (FieldSpec,),
    # The pointer comes first: it also has a hash_field.
    StoreType.REDIS: (
        PointerSpec,
        JwtSpec,
        TtlSpec,
        MembersSpec,
        # It has a target_key, too.
        ElementsSpec,
        ScoreSpec,
        MsgpackSpec,
        JsonSpec,
        ValueSpec,
        HashFieldSpec,
    ),
}

EXPIRY_WANTED: Mapping[StoreType, str] = {
    StoreType.POSTGRES: (
        "{column: ...}, {start: ..., lifetime: ...}, {latest: [...]}, {earliest: [...]} or {entries_of: ..., at: ...}"
    ),
    StoreType.MONGO: "{field: ...}",
    StoreType.REDIS: (
        "one of {hash_field: ...}, {json: ...}, {msgpack: ...}, {value: s|ms}, {score: s|ms}, {members_of: ...},"
        " {elements: json, ...}, {pointer_to: ...}, {jwt_key: ...}, {ttl: native}"
    ),
}


_TELL_NOTHING = {"unit", "pull", "ttl_wins", "member_codec", "index"}
"""Keys that several rules have."""


def spec_keys(model: type[Section]) -> tuple[str, ...]:
    """The keys of a section as they are written in YAML."""
    return tuple(info.alias or name for name, info in model.model_fields.items())


def choose_spec(store_type: StoreType, keys: Iterable[str]) -> type[ExpirySpec] | None:
    """The rule that a mapping with these keys means on a store of this type; None when no key is known there."""
    present = set(keys) - _TELL_NOTHING
    for model in EXPIRY_SPECS[store_type]:
        telling = set(spec_keys(model)) - _TELL_NOTHING
        if model is PointerSpec:
            telling -= {"hash_field"}
        if model is ElementsSpec:
            telling = {"elements"}
        if telling & present:
            return model
    return None


def key_type_of(expiry: Expiry) -> tuple[str, ...] | None:
    """The Redis types of key that an expiry rule can be read from, the usual one first; None: no Redis rule."""
    match expiry:
        case HashFieldExpiry():
            return ("hash",)
        case JsonExpiry() | ValueExpiry() | PointerExpiry() | MsgpackExpiry() | ElementsExpiry():
            return ("string",)
        case JwtKeyExpiry() | NativeTtl():
            return ("string", "hash", "zset", "set", "list")
        case ScoreExpiry():
            return ("zset",)
        case MembersExpiry():
            return ("set", "hash", "zset", "list")
        case _:
            return None
