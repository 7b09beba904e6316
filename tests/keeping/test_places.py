"""Where things are kept: what cannot be read is never taken for empty, and a fault says no URL."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ftplib import error_temp
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from cleanup_pipeline.keeping.places import Folder, GoneError, PlaceError, open_folder

SECRET = "ftp://me:secret@host"


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may read everything."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that others may look into, which those of pytest are not."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.mark.parametrize("closed", ["", "web"])
def test_a_folder_that_cannot_be_read_is_not_empty(shared: Path, closed: str) -> None:
    folder = open_folder(str(shared / "removals"), "the removal ledger")
    folder.write("web/1.removed", b"12345")
    assert [stored.name for stored in folder.list()] == ["web/1.removed"]
    for each in ("", "web"):
        (shared / "removals" / each).chmod(0o000 if each == closed else 0o755)
    with as_nobody():
        with pytest.raises(PlaceError, match=r"^the removal ledger cannot be read \(PermissionError\)$"):
            list(folder.list())
        with pytest.raises(PlaceError, match="PermissionError"):
            folder.used()
    (shared / "removals" / closed).chmod(0o755)
    assert folder.used() == 5


def test_one_that_is_not_there_is_empty_and_a_file_is_no_folder(tmp_path: Path) -> None:
    for place in (str(tmp_path / "none"), f"memory://{tmp_path.name}/none"):
        assert list(open_folder(place, "it").list()) == list(open_folder(place, "it").list("web")) == []
    (tmp_path / "file").touch()
    with pytest.raises(PlaceError, match="NotADirectoryError"):
        list(open_folder(str(tmp_path / "file"), "it").list())


class Faulty(MemoryFileSystem):  # type: ignore[misc]
    """One whose exceptions are no OSErrors, as those of ftplib and botocore."""

    def _fail(self, *_: Any, **__: Any) -> Any:
        raise error_temp(SECRET)  # noqa: S321 - nothing is called

    find = cat_file = open = rm_file = pipe_file = _fail


@pytest.mark.parametrize(
    "does",
    [
        lambda folder: list(folder.list()),
        lambda folder: folder.read("a"),
        lambda folder: folder.open("a").__enter__(),
        lambda folder: folder.remove("a"),
        lambda folder: folder.write("a", b""),
    ],
)
def test_a_fault_of_a_file_system_is_one_line_without_its_text(does: Callable[[Folder], object]) -> None:
    with pytest.raises(PlaceError, match=r"error_temp\)$") as fault:
        does(Folder(None, Faulty(), "/faulty", "it"))
    assert "secret" not in str(fault.value)


def test_a_file_that_is_gone_is_told_from_one_that_cannot_be_read(tmp_path: Path) -> None:
    for place in (str(tmp_path), f"memory://{tmp_path.name}"):
        folder = open_folder(place, "it")
        with pytest.raises(GoneError):
            folder.read("none")
        with pytest.raises(GoneError), folder.open("none"):
            pass
        folder.remove("none")
