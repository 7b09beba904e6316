"""Layout presets: how known frameworks and services store what expires. One YAML file each in presets/."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Annotated, Any

import yaml
from pydantic import Field

from cleanup_pipeline.layouts.expiry_spec import choose_spec, key_type_of
from cleanup_pipeline.layouts.field_types import Flag, Kind, Section, duration, one_of, text
from cleanup_pipeline.layouts.source_spec import CollectionSpec, KeysSpec, TableSpec
from cleanup_pipeline.model.target import Expiry, Scalar, Source
from cleanup_pipeline.model.words import StoreType


@dataclass(frozen=True, slots=True)
class Layout:
    """How one framework stores one kind of expiring record."""

    name: str
    title: str
    store_type: StoreType
    framework: str
    versions: str
    pass_name: str
    kind: str
    source: Source
    expiry: Expiry
    where: Mapping[str, Scalar]
    grace: timedelta
    keeps: tuple[str, ...]
    """Sentences on what stays, and why."""
    source_of_facts: str
    """Where it is read that the framework stores things so."""
    default: bool
    """True when it is looked for on every store of its type that came without a settings file."""


_Sentence = Annotated[str, text("a sentence", longest=2000)]


class _LayoutFile(Section):
    name: Annotated[str, text("a name")]
    title: _Sentence
    store: Annotated[StoreType, one_of(*StoreType)]
    framework: _Sentence
    versions: _Sentence
    pass_name: Kind = Field(alias="pass")
    kind: Kind
    source: dict[str, Any]
    expires: dict[str, Any]
    where: dict[str, Scalar] = Field(default_factory=dict)
    grace: Annotated[timedelta, duration()] = timedelta(0)
    keeps: tuple[_Sentence, ...]
    source_of_facts: _Sentence
    default: Flag = False


def read_layout(text_of_file: str) -> Layout:
    """One preset. Raises pydantic.ValidationError or ValueError: presets are part of the product, not user input."""
    file = _LayoutFile.model_validate(yaml.safe_load(text_of_file))
    store_type = StoreType(file.store)
    spec = choose_spec(store_type, file.expires)
    if spec is None:
        raise ValueError(f"layout {file.name}: no expiry rule of {store_type} in {file.expires}")
    expiry = spec.model_validate(file.expires).build()
    return Layout(
        name=file.name,
        title=file.title,
        store_type=store_type,
        framework=file.framework,
        versions=file.versions,
        pass_name=file.pass_name,
        kind=file.kind,
        source=_source(store_type, file.source, expiry),
        expiry=expiry,
        where=MappingProxyType(dict(file.where)),
        grace=file.grace,
        keeps=file.keeps,
        source_of_facts=file.source_of_facts,
        default=file.default,
    )


def _source(store_type: StoreType, raw: dict[str, Any], expiry: Expiry) -> Source:
    if store_type is StoreType.POSTGRES:
        return TableSpec.model_validate(raw).build()
    if store_type is StoreType.MONGO:
        return CollectionSpec.model_validate(raw).build()
    return KeysSpec.model_validate(raw).build((key_type_of(expiry) or ("string",))[0])


@cache
def layouts() -> Mapping[str, Layout]:
    """Every preset by name, in order of name."""
    folder = files("cleanup_pipeline.layouts") / "presets"
    found = [
        read_layout(entry.read_text(encoding="utf-8"))
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name)
        if entry.name.endswith(".yaml")
    ]
    return MappingProxyType({layout.name: layout for layout in found})
