"""Settings that are not a cleanup.yaml: a mapping, and the defs.yaml of a Dagster component with the same sections.

They go through the same reader as a file, so that `${VAR}`, limits and every fault are the same.
Does not belong here: the component itself (dagster_defs/component.py).
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from cleanup_pipeline.settings import faults as f
from cleanup_pipeline.settings.document import Document, Raw, read_document
from cleanup_pipeline.settings.faults import Fault, SettingsError

COMPONENT = "cleanup_pipeline.CleanupComponent"
"""`type` of a component's file, as `dg` writes it."""
_CLASS = COMPONENT.rpartition(".")[2]
SECTIONS = (
    "cleanup",
    "app",
    "stores",
    "passes",
    "targets",
    "alerts",
    "notifications",
    "history",
    "plans",
    "removals",
    "quarantine",
    "execution",
)
"""Of a settings file. `app: {cleanup: ...}` is `cleanup: ...`."""
ATTRIBUTES = ("file", *SECTIONS)
"""What a component may say: the name of a settings file, or its sections."""
MAPPING = "the mapping that was given"
"""`Settings.source` of a mapping: no file has that name."""
_TEMPLATE = "{{"


def document_of(mapping: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> Document:
    """What a mapping says, as if it had been read from a file: `${VAR}` is put in, all else is plain values.

    Never raises for anything that the mapping holds: what no file can hold is a fault.
    """
    try:
        text = yaml.safe_dump(_plain(mapping), allow_unicode=True, sort_keys=False)
    except (yaml.YAMLError, RecursionError):
        found = "a value that is no text, number, truth value, list or mapping"
        return Document(faults=[Fault("", found, "what YAML can say")])
    return read_document(text.encode(), os.environ if environ is None else environ)


def refuse_templates(document: Document, mapping: Mapping[str, Any]) -> None:
    """A fault for each `{{ ... }}`, which Dagster's own components fill in and settings do not."""
    paths = list(_templates(mapping, ()))
    expected = "a value, or ${NAME} for an environment variable"
    document.faults += [Fault(f.dotted(path), "a template ({{ ... }})", expected) for path in paths]
    # What else is wrong there only follows from it.
    document.unset += paths


def component_document(document: Document, folder: Path) -> tuple[Document, Path | None]:
    """The settings in what may be a component's defs.yaml, and the settings file that it names instead of them.

    `folder` is the file's own, which the name is relative to. A document that is no component's comes back as it is.
    """
    content = document.content
    if str(content.get("type")).rpartition(".")[2] != _CLASS:
        return document, None
    attributes = content.get("attributes")
    inner: Raw = attributes if isinstance(attributes, dict) else {}
    named = inner.get("file")
    if len(inner) == 1 and isinstance(named, str) and named:
        return document, folder / named
    made = Document(inner, [_without_head(fault) for fault in document.faults], [path[1:] for path in document.unset])
    if not inner and not made.faults:
        made.faults.append(Fault("attributes", f.show(attributes), "file, or sections of cleanup.yaml"))
    refuse_templates(made, inner)
    return made, None


def choose(attributes: Mapping[str, Any], folder: Path, source: str) -> Path | None:
    """The settings file that a component's attributes name, if they do; its name is relative to `folder`.

    Raises SettingsError for a file besides sections, and for a name that is none.
    """
    named = attributes.get("file")
    if named is None:
        return None
    others = [key for key in attributes if key != "file"]
    if others:
        fault = Fault("file", f"a file besides {', '.join(others)}", "one of the two")
    elif not isinstance(named, str) or not named.strip():
        fault = Fault("file", f.show(named), "the name of a settings file, relative to defs.yaml")
    else:
        return (folder / named).resolve()
    raise SettingsError(source, [fault])


def _without_head(fault: Fault) -> Fault:
    head, _, rest = fault.path.partition(".")
    return Fault(rest, fault.found, fault.expected, fault.nearest, fault.remedy) if head == "attributes" else fault


def _plain(value: Any) -> Any:
    # A mapping or list of a kind of its own, such as Dagster's, is as good as YAML's.
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    return value


def _templates(value: Any, path: f.Path) -> list[f.Path]:
    if isinstance(value, Mapping):
        return [found for key, item in value.items() for found in _templates(item, (*path, str(key)))]
    if isinstance(value, list | tuple):
        return [found for index, item in enumerate(value) for found in _templates(item, (*path, str(index)))]
    return [path] if isinstance(value, str) and _TEMPLATE in value else []
