"""The sections about what is kept of removed records, read together with the targets that ask for it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from cleanup_pipeline.model.target import Target
from cleanup_pipeline.settings.document import Raw
from cleanup_pipeline.settings.faults import Fault
from cleanup_pipeline.settings.keeping import (
    QUARANTINE_KEY,
    REMOVAL_KEY,
    QuarantineSection,
    QuarantineSettings,
    RemovalSettings,
    RemovalsSection,
    read_keys_of,
)
from cleanup_pipeline.settings.translate import check_section


def read_keeping(
    content: Raw, targets: Sequence[Target], folder: Path, environ: Mapping[str, str], faults: list[Fault]
) -> tuple[RemovalSettings, QuarantineSettings]:
    """Both sections, with the keys from outside. Faults, also of a key that a target needs, are added to `faults`."""
    removals, _ = check_section(RemovalsSection, content.get("removals") or {}, ("removals",), faults)
    quarantine, _ = check_section(QuarantineSection, content.get("quarantine") or {}, ("quarantine",), faults)
    removals, quarantine = removals or RemovalsSection(), quarantine or QuarantineSection()
    asks_for_one = next((f"targets.{t.name}.removal_ledger" for t in targets if t.removals), None)
    asks_for_other = next((f"targets.{t.name}.quarantine" for t in targets if t.quarantine), None)
    return (
        RemovalSettings(
            _place(removals.place, folder),
            removals.keep,
            removals.at_most,
            read_keys_of(REMOVAL_KEY, environ, folder, asks_for_one, faults),
        ),
        QuarantineSettings(
            _place(quarantine.place, folder),
            quarantine.keep,
            quarantine.at_most,
            quarantine.keep_free,
            read_keys_of(QUARANTINE_KEY, environ, folder, asks_for_other, faults),
        ),
    )


def _place(place: str | None, folder: Path) -> str | None:
    """A folder is meant from where the settings file is, wherever a worker runs."""
    if place is None or "://" in place or "::" in place:
        return place
    return str((folder / place).resolve())
