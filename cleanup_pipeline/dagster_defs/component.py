"""The passes as a component of a `dg` project: `type: cleanup_pipeline.CleanupComponent` in a defs.yaml.

Its attributes are the sections of cleanup.yaml, or the name of one. Dagster hands them on as they are written, because
the settings have a reader of their own, which says every fault at once. Does not belong here: what the passes are.
"""

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import dagster as dg
from pydantic import BaseModel, Field

from cleanup_pipeline.dagster_defs.build import build_defs
from cleanup_pipeline.settings import Settings, load_settings
from cleanup_pipeline.settings.faults import Fault, SettingsError
from cleanup_pipeline.settings.given import ATTRIBUTES, COMPONENT, MAPPING, choose, document_of, refuse_templates
from cleanup_pipeline.settings.json_schema import json_schema
from cleanup_pipeline.settings.load import settings_of

FILES = ("defs.yaml", "defs.yml", "component.yaml")
"""What Dagster calls the file of a component."""
_AS_WRITTEN = dg.Resolver(lambda _, value: value, model_field_type=Any, inject_before_resolve=False)
Section = Annotated[Any, _AS_WRITTEN]
_STARTER = """\
type: {type}

# The sections of cleanup.yaml, or `file: cleanup.yaml` for one beside this file, which
# `cleanup-pipeline init` writes. Every command takes this file for settings, too:
# cleanup-pipeline plan --settings {name}
attributes:
  cleanup:
    enabled: false
  stores: {{}}
  #  main: {{type: postgres, url: "${{CLEANUP_POSTGRES_URL}}"}}
  targets: {{}}
  #  web_sessions: {{store: main, layout: django-sessions}}   # `mode: delete` once you have read its plan
"""


class Parameters(BaseModel):
    """What `dg scaffold defs` may be told."""

    file: str = Field(default="", description="An existing settings file, relative to the new defs.yaml.")


class CleanupScaffolder(dg.Scaffolder[Parameters]):
    """Writes a defs.yaml that loads, and cleans nothing yet."""

    @classmethod
    def get_scaffold_params(cls) -> type[Parameters]:
        """The parameters."""
        return Parameters

    def scaffold(self, request: dg.ScaffoldRequest[Parameters]) -> None:
        """Write the file. Raises ValueError for Python, which has build_cleanup_definitions."""
        if request.scaffold_format != "yaml" or request.append:
            raise ValueError("this writes a new defs.yaml; in Python, call build_cleanup_definitions")
        if request.params.file:
            dg.scaffold_component(request, {"file": request.params.file})
            return
        name = request.target_path / FILES[0]
        shown = name.relative_to(request.project_root) if request.project_root else name
        name.write_text(_STARTER.format(type=COMPONENT, name=shown), encoding="utf-8")


@dg.scaffold_with(CleanupScaffolder)
class CleanupComponent(dg.Component, dg.Resolvable, dg.Model):
    """Removes expired sessions and tokens from Redis, PostgreSQL and MongoDB, on a schedule.

    Its attributes are the sections of cleanup.yaml, as docs/settings.md has them, or `file`, the name of such a file.
    """

    file: Section = None
    cleanup: Section = None
    app: Section = None
    stores: Section = None
    passes: Section = None
    targets: Section = None
    alerts: Section = None
    notifications: Section = None
    history: Section = None
    plans: Section = None
    removals: Section = None
    quarantine: Section = None
    execution: Section = None

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        """The attributes; their schema is that of cleanup.yaml, for editors and `dg check yaml`."""
        return _described(cls.model())

    @classmethod
    def get_spec(cls) -> dg.ComponentTypeSpec:
        """What Dagster's lists show of it."""
        return dg.ComponentTypeSpec(
            description=cls.__doc__, tags=["cleanup"], produces=["asset", "asset_check", "job", "schedule", "sensor"]
        )

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The passes. Raises SettingsError, with every fault in the attributes."""
        folder = context.path if context.path.is_dir() else context.path.parent
        return build_defs(self.settings(folder), embedded=True)

    def settings(self, folder: Path) -> Settings:
        """The settings in the attributes. Names of files in them are relative to `folder`. Raises SettingsError."""
        attributes: Mapping[str, Any] = {key: value for key in ATTRIBUTES if (value := getattr(self, key)) is not None}
        source = next((str(file) for name in FILES if (file := folder / name).is_file()), MAPPING)
        if not attributes:
            # Or whatever the environment names would be cleaned by a file that says nothing of it.
            raise SettingsError(source, [Fault("attributes", "nothing", "file, or sections of cleanup.yaml")])
        named = choose(attributes, folder, source)
        if named is not None:
            return load_settings(named)
        document = document_of(attributes)
        refuse_templates(document, attributes)
        return settings_of(document, folder, source, os.environ)


@cache
def _described(model: type[BaseModel]) -> type[BaseModel]:
    class Attributes(model):  # type: ignore[misc,valid-type]
        @classmethod
        def model_json_schema(cls, *_: Any, **__: Any) -> dict[str, Any]:
            schema = json_schema()
            file = {"type": "string", "description": "The name of a settings file, instead of all others."}
            return {**schema, "title": "CleanupComponent", "properties": {"file": file, **schema["properties"]}}

    return Attributes
