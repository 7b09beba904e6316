"""The quarantine: what is kept is encrypted, on disk before anything goes, bounded, and read with its key alone."""

import os
import resource
import signal
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cleanup_pipeline.keeping import markers
from cleanup_pipeline.keeping.asking import Asking
from cleanup_pipeline.keeping.forgetting import forget_owner
from cleanup_pipeline.keeping.handover import Keeping
from cleanup_pipeline.keeping.places import Folder, PlaceError, open_folder
from cleanup_pipeline.keeping.quarantine import QuarantineWriter, Room
from cleanup_pipeline.keeping.quarantine_reader import DamagedError, KeyLostError, Reader, instead_of
from cleanup_pipeline.keeping.removals import RemovalWriter
from cleanup_pipeline.model.removed import Lot, Removed
from cleanup_pipeline.model.secret_keys import SecretKey, read_keys
from cleanup_pipeline.model.target import ColumnExpiry, TableSource, Target
from cleanup_pipeline.model.words import StoreType
from cleanup_pipeline.stores.base import StoreError
from tests.small_disk import small_disk as small_disk

OLD, NEW = read_keys("0123456789abcdefghijklmnopqrstuvwxyz0123, ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
WIDE = Room(10**9, 0)


def lot(count: int = 5, start: int = 0) -> Lot:
    return Lot(
        [
            Removed(owner=f"user {n % 3}".encode(), body=f"secret body {n}".encode() * 20, form=n % 2)
            for n in range(start, start + count)
        ],
        ({"store": "x", "table": ["a", "b"]}, {"store": "x"}),
    )


@pytest.fixture(params=["local", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    place = str(tmp_path / "q") if request.param == "local" else f"memory://{tmp_path.name}/q"
    return open_folder(place, "the quarantine")


def writer(
    folder: Folder, key: SecretKey = OLD, room: Room = WIDE, run: str = "run-1", shard: int = 0
) -> QuarantineWriter:
    made = QuarantineWriter(folder, key, run, "web", shard, room)
    made.begin(None)
    return made


def read(folder: Folder, *keys: SecretKey, run: str = "run-1") -> list[tuple[Lot, bool]]:
    """Each block's records that went or may have, and whether that is certain."""
    reader = Reader(folder, keys or (OLD,))
    return [(reader.lot(k, block), block.gone is not None) for k in reader.kept(run) for block in reader.blocks(k)]


def test_what_went_is_read_again_and_what_stayed_is_not(folder: Folder) -> None:
    one = writer(folder)
    one.hold(lot())
    one.settle(None, (), 5)
    one.hold(lot(start=5))
    one.settle([1, 3], [4], 5)
    one.hold(lot(start=10))
    # A batch that failed, and was tried again.
    one.hold(lot(start=10))
    one.settle([], (), 5)
    one.close()
    found = read(folder)
    assert [(len(part.records), sure) for part, sure in found] == [(5, True), (3, True), (5, False), (0, True)]
    assert [r.body for r in found[0][0].records] == [r.body for r in lot().records]
    assert [r.form for r in found[0][0].records] == [0, 1, 0, 1, 0]
    assert found[0][0].forms == list(lot().forms)
    assert [r.body for r in found[1][0].records] == [lot(start=5).records[n].body for n in (1, 3, 4)]
    assert (one.records, one.gone) == (20, 7)


def test_nothing_of_a_record_can_be_read_in_it(tmp_path: Path) -> None:
    one = writer(open_folder(str(tmp_path), "it"))
    one.hold(lot())
    one.settle(None, (), 5)
    one.close()
    [file] = [file for file in tmp_path.rglob("*") if file.is_file()]
    data = file.read_bytes()
    assert b"secret" not in data and b"user" not in data and b"table" not in data
    assert OLD.material not in data
    assert file.stat().st_mode & 0o077 == 0


def test_each_key_reads_its_own_and_a_lost_one_is_named(folder: Folder) -> None:
    for key, shard in ((OLD, 0), (NEW, 1)):
        one = writer(folder, key, shard=shard)
        one.hold(lot())
        one.settle(None, (), 5)
        one.close()
    assert len(read(folder, NEW, OLD)) == 2
    with pytest.raises(KeyLostError) as fault:
        read(folder, NEW)
    assert str(fault.value) == OLD.id


@pytest.mark.parametrize("part", ["a bit", "the name"])
def test_a_block_that_was_changed_or_moved_is_not_read(tmp_path: Path, part: str) -> None:
    folder = open_folder(str(tmp_path), "it")
    one = writer(folder)
    one.hold(lot())
    one.settle(None, (), 5)
    one.close()
    [file] = list(tmp_path.rglob("*.kept"))
    if part == "a bit":
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    else:
        file.rename(file.with_name(file.name.replace("web.0", "app.0")))
    with pytest.raises(DamagedError):
        read(folder)


@pytest.mark.parametrize("cut", [1, 20, 400])
def test_half_a_block_at_the_end_is_none(tmp_path: Path, cut: int) -> None:
    folder = open_folder(str(tmp_path), "it")
    one = writer(folder)
    one.hold(lot())
    one.hold(lot(start=5))
    one.close()
    [file] = list(tmp_path.rglob("*.kept"))
    os.truncate(file, file.stat().st_size - cut)
    assert len(read(folder)) == 1


def test_a_cap_holds_and_nothing_is_half_written(folder: Folder) -> None:
    one = writer(folder, room=Room(6000, 0))
    one.hold(lot())
    one.settle(None, (), 5)
    with pytest.raises(PlaceError, match="has no room"):
        one.hold(lot(100))
    one.close()
    assert [len(part.records) for part, _ in read(folder)] == [5]
    assert folder.used() < 6000
    with pytest.raises(PlaceError, match="has no room"):
        QuarantineWriter(folder, OLD, "run-2", "web", 0, Room(6000, 0)).begin(expected=5000)


def test_a_cap_holds_for_several_that_write(folder: Folder) -> None:
    several = [writer(folder, room=Room(9000, 0), shard=n) for n in range(4)]
    for one in several:
        with pytest.raises(PlaceError, match="has no room"):
            while True:
                one.hold(lot())
                one.settle(None, (), 5)
    assert 5000 < folder.used() <= 9000


def test_a_disk_that_is_nearly_full_is_left_alone(tmp_path: Path) -> None:
    folder = open_folder(str(tmp_path), "the quarantine")
    with pytest.raises(PlaceError, match="are to stay free"):
        writer(folder, room=Room(10**12, 10**15))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("says", ["bytes free", "No space left"])
def test_a_disk_that_runs_full_stops_it_and_what_was_kept_is_whole(
    small_disk: Path, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if says == "No space left":
        # Somebody else takes the room behind the look.
        monkeypatch.setattr(Folder, "free", lambda _: None)
    folder = open_folder(str(small_disk), "the quarantine")
    one = writer(folder)
    kept = 0
    with pytest.raises(PlaceError, match=says):
        for start in range(0, 100_000, 100):
            one.hold(lot(100, start))
            one.settle(None, (), 100)
            kept += 1
    one.close()
    assert kept > 3
    assert len(read(folder)) == kept


def test_a_limit_on_files_stops_it_and_what_was_kept_is_whole(tmp_path: Path) -> None:
    folder = open_folder(str(tmp_path / "q"), "the quarantine")
    one = writer(folder)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    kept = 0
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
        with pytest.raises(PlaceError, match="cannot be written to"):
            while True:
                one.hold(lot(100, kept))
                one.settle(None, (), 100)
                kept += 1
        with pytest.raises(PlaceError):
            one.hold(lot(100, kept))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    one.close()
    assert kept > 1
    assert [len(part.records) for part, _ in read(folder)] == [100] * kept


def test_what_is_too_old_goes(folder: Folder) -> None:
    for run in ("run-1", "run-2"):
        one = writer(folder, run=run)
        one.hold(lot())
        one.close()
    reader = Reader(folder, (OLD,))
    assert reader.prune(timedelta(days=1), datetime.now(UTC)) == (0, 0)
    shards, size = reader.prune(timedelta(days=1), datetime.now(UTC) + timedelta(days=2))
    assert shards == 2 and size > 1000
    assert reader.kept() == [] and folder.used() == 0


def test_an_owner_is_erased_from_it(folder: Folder) -> None:
    one = writer(folder)
    plain = Lot([replace_form(r) for r in lot(9).records], ({"store": "x"},))
    one.hold(plain)
    one.settle([0, 1, 2, 5], [7], 9)
    one.hold(plain)
    one.close()
    nothing = Asking(open_folder(f"memory://{id(folder)}/none", "it"), (OLD,))
    reader = Reader(folder, (OLD,))
    done = forget_owner(nothing, reader, "user 1")
    assert (done.entries, done.quarantined, done.lost_keys) == (0, 6, ())
    found = read(folder)
    # Of 0, 1, 2, 5 and perhaps 7, those of user 1 were 1 and 7.
    assert [[r.body for r in part.records] for part, _ in found] == [
        [plain.records[n].body for n in (0, 2, 5)],
        [plain.records[n].body for n in (0, 2, 3, 5, 6, 8)],
    ]
    assert forget_owner(nothing, reader, "user 1").quarantined == 0


def test_an_owner_is_not_erased_from_what_a_pass_is_writing(folder: Folder, tmp_path: Path) -> None:
    one = writer(folder)
    plain = Lot([replace_form(r) for r in lot(9).records], ({"store": "x"},))
    one.hold(plain)
    one.settle(None, (), 9)
    nothing = Asking(open_folder(str(tmp_path / "none"), "it"), (OLD,))
    done = forget_owner(nothing, Reader(folder, (OLD,)), "user 1")
    assert (done.quarantined, len(done.busy)) == (0, 1)
    # What it keeps from now on is where it is looked for.
    one.hold(plain)
    one.settle(None, (), 9)
    one.close()
    assert sum(len(part.records) for part, _ in read(folder)) == 18
    done = forget_owner(nothing, Reader(folder, (OLD,)), "user 1")
    assert (done.quarantined, done.busy) == (6, ())


def test_a_pass_at_a_url_that_was_killed_is_erased_from_a_day_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = open_folder(f"memory://{tmp_path.name}/q", "the quarantine")
    one = writer(folder)
    one.hold(single())
    nothing = Asking(open_folder(str(tmp_path / "none"), "it"), (OLD,))
    assert forget_owner(nothing, Reader(folder, (OLD,)), "user 1").busy == ("run-1",)
    later = time.time() + markers.DEAD_AFTER + 1
    monkeypatch.setattr(markers, "time", lambda: later)
    done = forget_owner(nothing, Reader(folder, (OLD,)), "user 1")
    assert (done.quarantined, done.busy, done.faults) == (3, (), ())
    Reader(folder, (OLD,)).prune(timedelta(days=1), datetime.now(UTC) + timedelta(days=2))
    assert folder.used() == 0


def test_erasing_at_a_url_that_is_cut_off_leaves_it_readable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = open_folder(f"memory://{tmp_path.name}/q", "the quarantine")
    one = writer(folder)
    for _ in range(3):
        one.hold(single())
        one.settle([0, 1, 2, 5], [7], 9)
    one.close()
    nothing, reader = Asking(open_folder(str(tmp_path / "none"), "it"), (OLD,)), Reader(folder, (OLD,))

    def cut_off(_: Folder, __: str) -> None:
        raise PlaceError("cut off")

    def kept() -> list[list[bytes]]:
        return [[record.body for record in part.records] for part, _ in read(folder)]

    with monkeypatch.context() as patched:
        patched.setattr(Folder, "remove", cut_off)
        done = forget_owner(nothing, reader, "user 1")
    assert done.quarantined == 9 and done.faults[0].endswith("cut off")
    without_one = kept()
    assert without_one == [[single().records[n].body for n in (0, 2, 5)]] * 3
    assert len(reader.kept()[0].parts) == 5
    # Half of another one counts for nothing.
    folder.write(instead_of(reader.kept()[0], reader.parts(reader.kept()[0]), 10_000), b"half")
    assert kept() == without_one
    done = forget_owner(nothing, reader, "user 1")
    assert (done.quarantined, done.faults, len(reader.kept()[0].parts)) == (0, (), 1)
    assert forget_owner(nothing, reader, "user 2").quarantined == 9
    assert kept() == [[single().records[0].body]] * 3
    assert len(reader.kept()[0].parts) == 1


@pytest.mark.parametrize("place", [-60, 12])
def test_what_is_damaged_is_named_and_the_rest_is_erased(tmp_path: Path, place: int) -> None:
    folder = open_folder(str(tmp_path / "q"), "the quarantine")
    for run in ("run-1", "run-2", "run-3"):
        one = writer(folder, run=run)
        one.hold(single())
        one.close()
    [file] = list((tmp_path / "q" / "run-2").iterdir())
    data = bytearray(file.read_bytes())
    data[place] ^= 0xFF
    file.write_bytes(data)
    nothing = Asking(open_folder(str(tmp_path / "none"), "it"), (OLD,))
    for erased in (6, 0):
        done = forget_owner(nothing, Reader(folder, (OLD,)), "user 1")
        assert (done.quarantined, done.busy, done.lost_keys) == (erased, (), ())
        [fault] = done.faults
        assert fault.startswith("run-2/web.0.") and "not what was written" in fault


def single() -> Lot:
    return Lot([replace_form(r) for r in lot(9).records], ({"store": "x"},))


def replace_form(record: Removed) -> Removed:
    return record._replace(form=0)


def test_a_shard_that_may_not_begin_leaves_nothing_that_says_it_did(folder: Folder, tmp_path: Path) -> None:
    removals = open_folder(str(tmp_path / "removals"), "the removal ledger")
    target = Target("web", "main", StoreType.POSTGRES, "p", "session", TableSource("web"), ColumnExpiry("at"))
    for room, at_most in ((Room(10, 0), 10**9), (WIDE, 10)):
        full = writer(folder)
        full.hold(lot())
        full.close()
        kept = QuarantineWriter(folder, OLD, "run-2", "web", 0, room)
        keeping = Keeping(target, RemovalWriter(removals, OLD, "web", {"run": "run-2"}, at_most), kept)
        with pytest.raises(StoreError, match=r"has no room|is full"):
            keeping.begin()
    assert [stored.name for stored in removals.list()] == []
    assert [stored.name for stored in folder.list() if "run-2" in stored.name] == []
