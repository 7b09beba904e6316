"""`canaries:` of a target -> CanarySettings: `true`, or a mapping."""

from typing import Annotated, Any

from pydantic import Field

from cleanup_pipeline.layouts.field_types import Flag, Section, reads, refuse
from cleanup_pipeline.layouts.table_spec import SCALAR_SCHEMA
from cleanup_pipeline.model.canary import CanaryKind, CanarySettings
from cleanup_pipeline.model.rules import Scalar
from cleanup_pipeline.settings.faults import Fault, Path
from cleanup_pipeline.settings.translate import check_section

_WANTED = "true, false, or a mapping with kinds, values and allow_triggers"


def _kinds(value: Any) -> frozenset[CanaryKind]:
    expected = f"a list of {', '.join(CanaryKind)}, without `live` left out"
    if not isinstance(value, list) or not all(isinstance(each, str) and each in set(CanaryKind) for each in value):
        raise refuse(expected)
    kinds = frozenset(CanaryKind(str(each)) for each in value)
    if CanaryKind.LIVE not in kinds:
        raise refuse(expected)
    return kinds


def _values(value: Any) -> dict[str, Scalar]:
    if not isinstance(value, dict):
        raise refuse("a mapping of columns or fields to values, such as {user_id: 1}")
    for key, wanted in value.items():
        if not isinstance(wanted, bool | int | str) or not str(key).strip():
            raise refuse("text, a whole number, true or false for each column or field")
    return {str(key): str(wanted) if isinstance(wanted, str) else wanted for key, wanted in value.items()}


_KINDS_SCHEMA = {"type": "array", "items": {"enum": [str(each) for each in CanaryKind]}, "contains": {"const": "live"}}
_VALUES_SCHEMA = {"type": "object", "additionalProperties": SCALAR_SCHEMA}


class CanariesSection(Section):
    """`canaries: {...}`."""

    enabled: Flag = True
    kinds: Annotated[frozenset[CanaryKind], reads(_kinds, _KINDS_SCHEMA)] = frozenset(CanaryKind)
    values: Annotated[dict[str, Scalar], reads(_values, _VALUES_SCHEMA)] = Field(default_factory=dict)
    allow_triggers: Flag = False


def read_canaries(raw: Any, path: Path, faults: list[Fault]) -> CanarySettings | None:
    """The settings, None where there are to be none. `path` is that of the section around it."""
    if raw is None or raw is False or (isinstance(raw, str) and raw.strip().lower() in {"false", "no", "off"}):
        return None
    if raw is True or (isinstance(raw, str) and raw.strip().lower() in {"true", "yes", "on"}):
        return CanarySettings()
    section, _ = check_section(CanariesSection, raw, (*path, "canaries"), faults, _WANTED)
    if section is None or not section.enabled:
        return None
    return CanarySettings(section.kinds, dict(section.values), section.allow_triggers)
