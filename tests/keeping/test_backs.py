"""What was seen to be back: known to the next undo, also where files are written anew, and gone with the records."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cleanup_pipeline.keeping.asking import Asking
from cleanup_pipeline.keeping.backs import backs_of
from cleanup_pipeline.keeping.forgetting import forget_owner
from cleanup_pipeline.keeping.markers import Marker
from cleanup_pipeline.keeping.places import Folder, PlaceError, open_folder
from cleanup_pipeline.keeping.quarantine import marker_of
from cleanup_pipeline.keeping.quarantine_reader import Reader
from tests.keeping.test_quarantine import OLD, single, writer
from tests.keeping.test_quarantine import folder as folder


def back(reader: Reader) -> list[set[bytes]]:
    """Bodies of the records that were seen to be back, block by block."""
    [kept] = reader.kept()
    backs = backs_of(reader.folder, kept.name)
    return [
        {reader.whole(kept, block).records[place].body for place in backs.of(block)} for block in reader.blocks(kept)
    ]


@pytest.fixture
def reader(folder: Folder) -> Reader:
    """Of two blocks, each with nine records of three users; of the first 0, 1, 4 and 8 were seen to be back."""
    one = writer(folder)
    for _ in range(2):
        one.hold(single())
        one.settle(None, (), 9)
    one.close()
    found = Reader(folder, (OLD,))
    [kept] = found.kept()
    first = found.blocks(kept)[0]
    backs = backs_of(folder, kept.name)
    backs.add(first, [4, 0])
    backs.add(first, [])
    backs.add(first, [8, 1])
    assert backs.of(first) == {0, 1, 4, 8}
    return found


def bodies(*numbers: int) -> set[bytes]:
    return {single().records[n].body for n in numbers}


def test_it_is_known_to_the_next_one(reader: Reader) -> None:
    assert back(reader) == [bodies(0, 1, 4, 8), set()]
    # A shard's own files are what they were.
    assert len(reader.kept()) == 1 and len(reader.blocks(reader.kept()[0])) == 2


def test_what_is_written_anew_without_an_owner_keeps_it(reader: Reader, tmp_path: Path) -> None:
    nothing = Asking(open_folder(str(tmp_path / "none"), "it"), (OLD,))
    # Of user 1 are 1, 4 and 7: 8 was the ninth, and is the sixth.
    assert forget_owner(nothing, reader, "user 1").quarantined == 6
    assert back(reader) == [bodies(0, 8), set()]
    assert forget_owner(nothing, reader, "user 0").quarantined == 6
    assert back(reader) == [bodies(8), set()]


def test_erasing_that_is_cut_off_behind_it_changes_nothing(
    reader: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = Asking(open_folder(str(tmp_path / "none"), "it"), (OLD,))
    real = Folder.write

    def cut_off(self: Folder, name: str, data: bytes) -> None:
        if ".kept" in name:
            raise PlaceError("cut off")
        real(self, name, data)

    monkeypatch.setattr(Folder, "write", cut_off)
    assert len(forget_owner(nothing, reader, "user 1").faults) == 1
    assert back(reader) == [bodies(0, 1, 4, 8), set()]


def test_an_owner_is_not_erased_from_what_an_undo_is_putting_back(reader: Reader, tmp_path: Path) -> None:
    nothing = Asking(open_folder(str(tmp_path / "none"), "it"), (OLD,))
    [kept] = reader.kept()
    marker = Marker(reader.folder, marker_of(kept.name), {"run": kept.run})
    with reader.folder.in_use(kept.parts[0]):
        if reader.folder.local is None:
            marker.begin()
        done = forget_owner(nothing, reader, "user 1")
        assert (done.quarantined, done.busy) == (0, ("run-1",))
    marker.remove()
    assert forget_owner(nothing, reader, "user 1").quarantined == 6


def test_half_a_line_spoils_no_other(tmp_path: Path) -> None:
    folder = open_folder(str(tmp_path / "q"), "the quarantine")
    one = writer(folder)
    one.hold(single())
    one.close()
    reader = Reader(folder, (OLD,))
    [kept] = reader.kept()
    [block] = reader.blocks(kept)
    backs_of(folder, kept.name).add(block, [1])
    [file] = (tmp_path / "q").rglob("*.back")
    assert file.stat().st_mode & 0o777 == 0o600
    # Whoever wrote the second one was killed.
    with file.open("ab") as opened:
        opened.write(file.read_bytes()[:20])
    backs_of(folder, kept.name).add(block, [3])
    assert back(reader) == [bodies(1, 3)]


def test_it_goes_with_what_it_is_about(reader: Reader) -> None:
    assert reader.folder.used() > 0
    reader.prune(timedelta(days=1), datetime.now(UTC) + timedelta(days=2))
    assert reader.folder.used() == 0
