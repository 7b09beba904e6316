"""Where the removal ledger and the quarantine are, from the settings and the folder of Dagster's own files."""

from pathlib import Path

from cleanup_pipeline.keeping.asking import Asking
from cleanup_pipeline.keeping.places import Folder, open_folder
from cleanup_pipeline.keeping.quarantine_reader import Reader
from cleanup_pipeline.settings.keeping import QuarantineSettings, RemovalSettings


def removals_folder(settings: RemovalSettings, state: Path) -> Folder:
    """Raises PlaceError."""
    return open_folder(settings.place or str(state / "cleanup-removals"), "the removal ledger")


def quarantine_folder(settings: QuarantineSettings, state: Path) -> Folder:
    """Raises PlaceError."""
    return open_folder(settings.place or str(state / "cleanup-quarantine"), "the quarantine")


def asking(settings: RemovalSettings, state: Path) -> Asking:
    """The removal ledger, to be asked. Raises PlaceError."""
    return Asking(removals_folder(settings, state), settings.keys)


def reading(settings: QuarantineSettings, state: Path) -> Reader:
    """The quarantine, to be read. Raises PlaceError."""
    return Reader(quarantine_folder(settings, state), settings.keys)
