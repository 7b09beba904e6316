"""Layout presets: how known frameworks and services store what expires. One YAML file each in presets/.

A preset is a list of layouts, one for each step: a table, collection or key pattern with its rule. Most have one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Annotated, Any

import yaml
from pydantic import Field

from cleanup_pipeline.layouts.expiry_spec import choose_spec, key_type_of
from cleanup_pipeline.layouts.field_types import Column, FieldPath, Flag, Kind, Section, duration, one_of, text
from cleanup_pipeline.layouts.params import (
    MADE_UP,
    ParamSpec,
    Value,
    columns_in,
    filled_in,
    given_value,
    model_of,
    renamed,
    values_of,
)
from cleanup_pipeline.layouts.source_spec import CollectionSpec, KeysSpec, TableSpec
from cleanup_pipeline.layouts.table_spec import GuardSpec, RelatedSpec
from cleanup_pipeline.model.rules import Guard, Related
from cleanup_pipeline.model.target import Expiry, Scalar, Source
from cleanup_pipeline.model.words import StoreType


@dataclass(frozen=True, slots=True)
class Layout:
    """How one framework stores one kind of expiring record: a step of a preset, its parameters filled in."""

    name: str
    """Of the preset."""
    step: str
    """Empty where the preset has no other."""
    about: str
    """Which records go, as a phrase."""
    store_type: StoreType
    pass_name: str
    kind: str
    source: Source
    expiry: Expiry
    where: Mapping[str, Scalar]
    guards: tuple[Guard, ...]
    set_null: tuple[str, ...]
    unset: tuple[str, ...]
    detach: tuple[Related, ...]
    children_first: bool
    grace: timedelta
    client: str | None
    """Where a record says which client of the application it was made for."""
    owner: str | None = None
    """Column or field that says whose a record is."""


_Sentence = Annotated[str, text("a sentence", longest=2000)]


class _StepFile(Section):
    step: Kind | None = None
    about: _Sentence | None = None
    when: str | None = None
    pass_name: Kind = Field(alias="pass")
    kind: Kind
    source: dict[str, Any]
    known_by: tuple[FieldPath, ...] = ()
    """What else `init` wants to see in such a record: columns, fields, paths of the value."""
    known_anywhere_by: tuple[FieldPath, ...] | None = None
    """What it wants to see besides where the name is another one; None: under its own name alone."""
    expires: dict[str, Any]
    where: dict[str, Scalar] = Field(default_factory=dict)
    guards: tuple[GuardSpec, ...] = ()
    set_null: tuple[Column, ...] = ()
    unset: tuple[FieldPath, ...] = ()
    detach: tuple[RelatedSpec, ...] = ()
    children: Annotated[str, one_of("keep", "delete_first")] = "keep"
    owner: FieldPath | None = None
    grace: Annotated[timedelta, duration()] = timedelta(0)
    client: FieldPath | None = None


class _ProofFile(Section):
    differential: _Sentence | None = None
    must_keep: _Sentence | None = None


class _PresetFile(Section):
    name: Annotated[str, text("a name")]
    title: _Sentence
    store: Annotated[StoreType, one_of(*StoreType)]
    framework: _Sentence
    versions: _Sentence
    params: dict[str, ParamSpec] = Field(default_factory=dict)
    steps: tuple[dict[str, Any], ...]
    keeps: tuple[_Sentence, ...]
    notes: tuple[_Sentence, ...] = ()
    differs: tuple[_Sentence, ...] = ()
    report_only: _Sentence | None = None
    proof: _ProofFile = Field(default_factory=_ProofFile)
    source_of_facts: _Sentence
    default: Flag = False


@dataclass(frozen=True, slots=True)
class Preset:
    """One preset file."""

    name: str
    title: str
    store_type: StoreType
    framework: str
    versions: str
    params: Mapping[str, ParamSpec]
    keeps: tuple[str, ...]
    """Sentences on what stays, and why."""
    notes: tuple[str, ...]
    """Sentences on how to set it, and what to look out for."""
    differs: tuple[str, ...]
    """Sentences on where it goes or keeps other records than the framework's own cleaner, and why."""
    report_only: str | None
    """Why nothing may be deleted by it; None where it may."""
    differential: str | None
    """The framework's own cleaner that it is compared with, record by record."""
    must_keep: str | None
    """What its records are made from, where the framework itself is not run."""
    source_of_facts: str
    """Where it is read that the framework stores things so."""
    default: bool
    """True when it is looked for on every store of its type that came without a settings file."""
    raw_steps: tuple[Mapping[str, Any], ...] = field(repr=False)

    @property
    def kind_of_proof(self) -> str:
        """How it is proven, in two words."""
        if self.differential:
            return "differential test"
        return "must-keep test"

    @property
    def proof(self) -> str:
        """What proves it, as a sentence without its point."""
        if self.differential:
            return f"compared, row by row, with {self.differential}"
        return f"rows that have to stay beside rows that have to go, made from {self.must_keep}"

    @property
    def params_model(self) -> type[Section]:
        """A section whose keys are the parameters."""
        return model_of(self.name.replace("-", "_"), self.params)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that may have other names in a user's tables."""
        return tuple(columns_in([dict(step) for step in self.raw_steps]))

    @property
    def several(self) -> bool:
        """Whether a target of it is several, one for each step."""
        return len(self.raw_steps) > 1

    def missing(self, given: Section | None) -> dict[str, ParamSpec]:
        """The required parameters that are not given."""
        return {key: spec for key, spec in self.params.items() if spec.required and given_value(given, key) is None}

    def resolve(self, given: Section | None = None, columns: Mapping[str, str] | None = None) -> tuple[Layout, ...]:
        """A layout for each step that the parameters ask for.

        Raises pydantic.ValidationError or ValueError for a preset that is wrong or a required parameter that is
        missing.
        """
        absent = self.missing(given)
        if absent:
            raise ValueError(f"layout {self.name} needs {', '.join(absent)}")
        values = values_of(self.params, given)
        raw_steps = [step for step in self.raw_steps if step.get("when") is None or values[step["when"]]]
        return tuple(self._layout(renamed(dict(step), columns or {}), values) for step in raw_steps)

    def any_layout(self) -> Layout:
        """The first step, for what no parameter changes."""
        return self.every_layout()[0]

    def every_layout(self) -> tuple[Layout, ...]:
        """All steps, under the defaults, with something made up for what has none."""
        made_up: dict[str, Value] = {
            key: MADE_UP.get(spec.type) if spec.default is None else spec.default for key, spec in self.params.items()
        }
        return tuple(self._layout(dict(step), made_up) for step in self.raw_steps)

    def _layout(self, raw: Mapping[str, Any], values: Mapping[str, Value]) -> Layout:
        step = _StepFile.model_validate(filled_in(_wanted(raw, values), values))
        spec = choose_spec(self.store_type, step.expires)
        if spec is None:
            raise ValueError(f"layout {self.name}: no expiry rule of {self.store_type} in {step.expires}")
        expiry = spec.model_validate(step.expires).build()
        return Layout(
            name=self.name,
            step=step.step or "",
            about=step.about or self.title,
            store_type=self.store_type,
            pass_name=step.pass_name,
            kind=step.kind,
            source=_source(self.store_type, step.source, expiry),
            expiry=expiry,
            where=MappingProxyType(dict(step.where)),
            guards=tuple(guard.build() for guard in step.guards),
            set_null=step.set_null,
            unset=step.unset,
            detach=tuple(one.build() for one in step.detach),
            children_first=step.children == "delete_first",
            grace=step.grace,
            client=step.client,
            owner=step.owner,
        )


def _wanted(raw: Mapping[str, Any], values: Mapping[str, Value]) -> dict[str, Any]:
    """The step with the guards that the parameters ask for: the table of one may not be there otherwise."""
    guards = [
        {key: value for key, value in guard.items() if key != "when"}
        for guard in raw.get("guards", ())
        if "when" not in guard or values[guard["when"]]
    ]
    return {**raw, "guards": guards}


def read_preset(text_of_file: str) -> Preset:
    """One preset. Raises pydantic.ValidationError or ValueError: presets are part of the product, not user input."""
    # In Python alone, ninety presets take a second, and so does the start of each program that reads them.
    loader = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
    raw: dict[str, Any] = yaml.load(text_of_file, Loader=loader)  # noqa: S506 - both are safe ones
    if "steps" not in raw:
        # A preset of one step has its keys at the top.
        own = {info.alias or name for name, info in _StepFile.model_fields.items()}
        raw = {key: value for key, value in raw.items() if key not in own} | {
            "steps": [{key: value for key, value in raw.items() if key in own}]
        }
    file = _PresetFile.model_validate(raw)
    preset = Preset(
        name=file.name,
        title=file.title,
        store_type=StoreType(file.store),
        framework=file.framework,
        versions=file.versions,
        params=MappingProxyType(dict(file.params)),
        keeps=file.keeps,
        notes=file.notes,
        differs=file.differs,
        report_only=file.report_only,
        differential=file.proof.differential,
        must_keep=file.proof.must_keep,
        source_of_facts=file.source_of_facts,
        default=file.default,
        raw_steps=tuple(MappingProxyType(dict(step)) for step in file.steps),
    )
    preset.any_layout()
    return preset


def _source(store_type: StoreType, raw: dict[str, Any], expiry: Expiry) -> Source:
    if store_type is StoreType.POSTGRES:
        return TableSpec.model_validate({key: value for key, value in raw.items() if value is not None}).build()
    if store_type is StoreType.MONGO:
        return CollectionSpec.model_validate(raw).build()
    return KeysSpec.model_validate(raw).build((key_type_of(expiry) or ("string",))[0])


def preset_texts() -> Mapping[str, str]:
    """The text of every preset file, by the name of the preset."""
    folder = files("cleanup_pipeline.layouts") / "presets"
    return {
        entry.name.removesuffix(".yaml"): entry.read_text(encoding="utf-8")
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name)
        if entry.name.endswith(".yaml")
    }


@cache
def layouts() -> Mapping[str, Preset]:
    """Every preset by name, in order of name."""
    found = [read_preset(text_of_file) for text_of_file in preset_texts().values()]
    return MappingProxyType({preset.name: preset for preset in found})
