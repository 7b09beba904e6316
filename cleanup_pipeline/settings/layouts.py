"""`layout:`, `params:` and `columns:` of a target -> the layouts of its preset."""

from pydantic import ValidationError

from cleanup_pipeline.layouts import Layout, Preset
from cleanup_pipeline.model.words import Mode
from cleanup_pipeline.settings.faults import Fault, Path, dotted, nearest, show
from cleanup_pipeline.settings.schema import TargetSection
from cleanup_pipeline.settings.translate import check_section


def read_layout(
    section: TargetSection, preset: Preset | None, path: Path, faults: list[Fault]
) -> tuple[Layout | None, ...]:
    """One for each step of the preset, None alone for a target without one; none with faults, which are added."""
    before = len(faults)
    if preset is None:
        for key in ("params", "columns"):
            if getattr(section, key) is not None:
                found = f"{key}, which are about a layout"
                faults.append(Fault(dotted((*path, key)), found, "none without `layout`", remedy="name the layout"))
        return (None,)
    if preset.report_only and section.mode is Mode.DELETE:
        wanted = f"dry_run, because layout {preset.name} only reports"
        faults.append(Fault(dotted((*path, "mode")), "'delete'", wanted, remedy=preset.report_only))
    where = (*path, "params")
    raw = {} if section.params is None else section.params
    wanted = f"a mapping with {', '.join(preset.params)}" if preset.params else "none: the layout has no parameters"
    given, wrong = check_section(preset.params_model, raw, where, faults, wanted)
    meant = {nearest(key, preset.params) for key in wrong}
    for key, spec in preset.missing(given).items():
        if key not in wrong and key not in meant and isinstance(raw, dict):
            faults.append(Fault(dotted((*where, key)), "nothing", spec.wanted, remedy=spec.about))
    for key in section.columns or {}:
        if key not in preset.columns:
            expected = f"a column of layout {preset.name}, one of {', '.join(preset.columns)}"
            faults.append(Fault(dotted((*path, "columns", key)), show(key), expected, nearest(key, preset.columns)))
    if len(faults) > before:
        return ()
    try:
        return preset.resolve(given, section.columns)
    except ValidationError:
        faults.append(Fault(dotted(where), "parameters that do not go together", "names that can stand in a table"))
        return ()
