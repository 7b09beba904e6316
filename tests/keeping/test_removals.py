"""The removal ledger: found by identifier and owner, with other keys, merged, bounded, erased; nothing else in it."""

import multiprocessing
import random
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cleanup_pipeline.keeping import bounds, hashing, markers
from cleanup_pipeline.keeping import removals as removals_module
from cleanup_pipeline.keeping.asking import Asking
from cleanup_pipeline.keeping.places import Folder, PlaceError, open_folder
from cleanup_pipeline.keeping.removals import RemovalWriter
from cleanup_pipeline.keeping.segments import Segment, merged, open_segment
from cleanup_pipeline.model.removed import Lot, Removed
from cleanup_pipeline.model.secret_keys import SecretKey, read_keys

OLD, NEW = read_keys("0123456789abcdefghijklmnopqrstuvwxyz0123, ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
ORIGIN = {"run": "run-1", "shard": 0, "pass": "sessions", "kind": "session"}
Write = Callable[..., RemovalWriter]


def records(count: int, start: int = 0) -> list[Removed]:
    return [
        Removed(f"id-{n}".encode(), f"user-{n % 7}".encode() if n % 3 else b"", n * 1000)
        for n in range(start, start + count)
    ]


@pytest.fixture(params=["local", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "removals") if request.param == "local" else f"memory://{tmp_path.name}/removals"


def write(
    place: str, lot: list[Removed], key: SecretKey = OLD, target: str = "web", run: str = "run-1"
) -> RemovalWriter:
    writer = RemovalWriter(open_folder(place, "it"), key, target, {**ORIGIN, "run": run}, 10**9)
    writer.begin()
    for start in range(0, len(lot), 250):
        writer.add(Lot(lot[start : start + 250]), None, ())
    writer.close()
    assert writer.fault is None
    return writer


def ask(place: str, *keys: SecretKey) -> Asking:
    return Asking(open_folder(place, "it"), keys or (OLD,))


def test_every_record_is_found_and_no_other(place: str) -> None:
    writer = write(place, records(3000))
    assert writer.records == 3000
    assert writer.size < 3000 * 44 + 4000
    asking = ask(place)
    for n in random.Random(1).sample(range(3000), 50):
        [entry] = asking.by_id("web", f"id-{n}").entries
        assert (entry.died, entry.origin["run"], entry.perhaps) == (n * 1000, "run-1", False)
        assert abs(entry.at - datetime.now(UTC).timestamp()) < 60
    assert asking.by_id("web", "id-3000").entries == ()
    assert asking.by_id("other", "id-1").entries == ()
    owned = [n for n in range(3000) if n % 3 and n % 7 == 4]
    assert sorted(e.died or 0 for e in asking.by_owner("web", "user-4").entries) == [n * 1000 for n in owned]
    assert asking.by_owner("web", "user-9").entries == ()
    assert asking.cut_off("web") == ()


def test_nothing_of_a_record_can_be_read_in_it(tmp_path: Path) -> None:
    write(str(tmp_path), records(100))
    data = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert b"run-1" in data
    assert b"id-5" not in data and b"user-" not in data
    assert OLD.material not in data


def test_the_hash_is_hmac_sha_256() -> None:
    import hmac

    from cleanup_pipeline.model.secret_keys import derived

    key = derived(OLD, b"cleanup-pipeline: removal ledger")
    expected = hmac.digest(key, b"record of web\0id-1", "sha256")[:12]
    assert hashing.of_records(OLD, "web")(b"id-1") == expected
    assert hashing.of_records(OLD, "app")(b"id-1") != expected != hashing.of_records(NEW, "web")(b"id-1")


def test_a_new_key_reads_on_with_the_old_one_and_says_what_a_lost_one_hides(place: str) -> None:
    write(place, records(10), OLD)
    write(place, records(10, start=5), NEW, run="run-2")
    both = ask(place, NEW, OLD)
    assert [e.origin["run"] for e in both.by_id("web", "id-7").entries if e.origin["run"]] != []
    assert {e.origin["run"] for e in both.by_id("web", "id-7").entries} == {"run-1", "run-2"}
    assert both.by_id("web", "id-7").lost_keys == ()
    only = ask(place, NEW).by_id("web", "id-2")
    assert (only.entries, only.lost_keys) == ((), (OLD.id,))
    assert ask(place, NEW).forget("user-1").lost_keys == (OLD.id,)


def test_merging_changes_no_answer(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MOST_RECORDS", 1000)
    for n in range(6):
        write(place, records(300, start=300 * n), NEW if n == 5 else OLD, run=f"run-{n}")
    asking = ask(place, NEW, OLD)
    before = {n: asking.by_id("web", f"id-{n}").entries for n in range(0, 1800, 50)}
    owned = sorted((e.died or 0, e.origin["run"]) for e in asking.by_owner("web", "user-2").entries)
    assert asking.prune(timedelta(days=1), 10**9, datetime.now(UTC)) == (0, 0)
    files = [s for s in asking.folder.list("web") if s.name.endswith(".removed")]
    assert len(files) == 3
    assert {n: asking.by_id("web", f"id-{n}").entries for n in before} == before
    assert sorted((e.died or 0, e.origin["run"]) for e in asking.by_owner("web", "user-2").entries) == owned
    # Again: nothing more to merge.
    asking.prune(timedelta(days=1), 10**9, datetime.now(UTC))
    assert [s for s in asking.folder.list("web") if s.name.endswith(".removed")] == files


def test_what_is_too_old_or_too_much_goes_and_is_known_to_be_gone(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    at = float(int(datetime.now(UTC).timestamp()))
    monkeypatch.setattr(removals_module, "time", lambda: at)
    write(place, records(1000))
    write(place, records(1000), target="app")
    asking = ask(place)
    later = datetime.now(UTC) + timedelta(days=3)
    used = asking.folder.used()
    gone, freed = asking.prune(timedelta(days=7), used // 2 + 1000, later)
    assert gone == 1000 and freed > 20_000
    assert asking.prune(timedelta(days=1), 10**9, later)[0] == 1000
    answer = asking.by_id("web", "id-1")
    assert answer.entries == () and answer.since is not None and answer.since <= later
    assert asking.folder.used() < 1000


def write_at(place: str, at: datetime, lot: list[Removed], monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(removals_module, "time", at.timestamp)
        write(place, lot)


def test_entries_go_when_they_are_old_whatever_they_were_merged_with(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three years of a day a month, pruned each time."""
    now, asking = datetime.now(UTC).replace(microsecond=0), ask(place)
    keep = timedelta(days=400)
    for n in range(36):
        at = now - timedelta(days=30 * (35 - n))
        write_at(place, at, records(10, 10 * n), monkeypatch)
        asking.prune(keep, 10**10, at)
    found = [bool(asking.by_id("web", f"id-{10 * n}").entries) for n in range(36)]
    assert found == [30 * (35 - n) <= 400 for n in range(36)]
    [since] = {asking.by_id("web", "none").since}
    assert since is not None and now - timedelta(days=400) <= since <= now - timedelta(days=390)
    # One that was merged without a look at time, as before: what is old is cut out of it.
    every = list(bounds.segments(asking.folder, "web"))
    bounds.replace(asking.folder, every, merged([segment.table() for segment in every]))
    assert asking.prune(timedelta(days=100), 10**10, now)[0] == 100
    assert [bool(asking.by_id("web", f"id-{10 * n}").entries) for n in (31, 32, 35)] == [False, True, True]
    assert asking.by_id("web", "none").since == now - timedelta(days=90)


def test_the_latest_entries_stay_whatever_a_merged_segment_takes(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    now, asking = datetime.now(UTC).replace(microsecond=0), ask(place)
    for n in range(20):
        write_at(place, now - timedelta(hours=20 - n), records(500, 500 * n), monkeypatch)
    every = list(bounds.segments(asking.folder, "web"))
    bounds.replace(asking.folder, every, merged([segment.table() for segment in every]))
    size = asking.folder.used()
    gone, freed = asking.prune(timedelta(days=400), size // 2, now)
    assert size // 3 < asking.folder.used() <= size // 2
    assert gone == 10_000 - sum(len(asking.by_id("web", f"id-{n}").entries) for n in range(0, 10_000, 500)) * 500
    assert freed > size // 2 - 100
    assert len(asking.by_id("web", "id-9999").entries) == 1 and not asking.by_id("web", "id-0").entries
    since = asking.by_id("web", "none").since
    assert since is not None and now - timedelta(hours=12) < since < now
    # Small ones are merged up to a part of the bound, and the bound then takes away no more than such a part.
    for n in range(20):
        write_at(place, now + timedelta(seconds=n), records(500, 500 * n), monkeypatch)
    asking.prune(timedelta(days=400), size, now)
    assert all(each.size <= size // 10 for each in list(bounds.segments(asking.folder, "web"))[1:])
    used = asking.folder.used()
    asking.prune(timedelta(days=400), used - 1, now)
    assert asking.folder.used() > used * 0.85


def test_an_owner_is_erased_everywhere_with_proof(place: str) -> None:
    write(place, records(700))
    write(place, records(70), NEW, target="app")
    asking = ask(place, NEW, OLD)
    theirs = len(asking.by_owner("web", "user-4").entries) + len(asking.by_owner("app", "user-4").entries)
    others = len(asking.by_owner("web", "user-5").entries)
    erased = asking.forget("user-4")
    assert erased.records == theirs > 70
    assert len(erased.digest) == 64
    assert asking.by_owner("web", "user-4").entries == asking.by_id("web", "id-4").entries == ()
    assert len(asking.by_owner("web", "user-5").entries) == others
    assert [e.died for e in asking.by_id("web", "id-5").entries] == [5000]
    again = asking.forget("user-4")
    assert (again.records, again.digest != erased.digest) == (0, True)


def test_a_shard_that_has_entries_in_memory_is_named_when_an_owner_is_erased(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = RemovalWriter(open_folder(place, "it"), OLD, "web", ORIGIN, 10**9)
    writer.begin()
    writer.add(Lot(records(10)), None, ())
    erased = ask(place).forget("user-4")
    assert (erased.records, erased.busy) == (0, ("run-1",))
    writer.close(uncertain=1)
    if writer.folder.local is None:
        # Nobody can say there that it is over.
        assert ask(place).forget("user-9").busy == ("run-1",)
        later = time.time() + markers.DEAD_AFTER + 1
        monkeypatch.setattr(markers, "time", lambda: later)
    erased = ask(place).forget("user-4")
    assert (erased.records, erased.busy, erased.faults) == (1, (), ())


@pytest.mark.parametrize("cut", [10, 4000])
def test_an_owner_is_erased_from_all_but_a_damaged_segment(tmp_path: Path, cut: int) -> None:
    for target in ("app", "web", "zoo"):
        write(str(tmp_path), records(70), target=target)
    [file] = list((tmp_path / "web").glob("*.removed"))
    file.write_bytes(file.read_bytes()[:-cut])
    for erased in (14, 0):
        done = ask(str(tmp_path)).forget("user-4")
        assert len(done.faults) == 1 and done.faults[0].startswith("web/") and done.records == erased


def test_one_that_was_cut_off_is_told(place: str) -> None:
    writer = RemovalWriter(open_folder(place, "it"), OLD, "web", ORIGIN, 10**9)
    writer.begin()
    writer.add(Lot(records(10)), None, ())
    assert [each.run for each in ask(place).cut_off("web")] == ["run-1"]
    writer.close(uncertain=3)
    # Batches whose answers were lost may have removed more.
    assert [each.run for each in ask(place).by_id("web", "id-1").cut_off] == ["run-1"]
    assert len(ask(place).by_id("web", "id-1").entries) == 1


def test_only_the_targets_own_records_are_entered_and_doubts_are_kept(place: str) -> None:
    writer = RemovalWriter(open_folder(place, "it"), OLD, "web", ORIGIN, 10**9)
    writer.begin()
    lot = Lot([*records(4), Removed(b"child", form=1)], ({}, {}))
    writer.add(lot, [0, 1], [3, 4])
    writer.close()
    assert writer.records == 3
    answers = {n: ask(place).by_id("web", f"id-{n}").entries for n in range(4)}
    assert [[e.perhaps for e in answers[n]] for n in range(4)] == [[False], [False], [], [True]]


def test_full_is_told_before_the_next_batch_and_nothing_is_missing(tmp_path: Path) -> None:
    room = removals_module.BATCH_BYTES + 3000
    writer = RemovalWriter(open_folder(str(tmp_path), "it"), OLD, "web", ORIGIN, room)
    writer.begin()
    count = 0
    while writer.fault is None:
        writer.add(Lot(records(250, count)), None, ())
        count += 250
    assert "full" in writer.fault and count < 1500
    assert writer.lost == 0 and writer._used <= room
    assert len(ask(str(tmp_path)).by_id("web", f"id-{count - 1}").entries) == 1
    with pytest.raises(PlaceError, match="full"):
        replace(writer, at_most=removals_module.BATCH_BYTES - 1).begin()


def test_a_cap_holds_for_several_that_write_and_nothing_is_missing(place: str) -> None:
    room = 3 * removals_module.BATCH_BYTES
    several = [RemovalWriter(open_folder(place, "it"), OLD, "web", ORIGIN, room) for _ in range(4)]
    for writer in several:
        writer.begin()
    entered = 0
    for _ in range(200):
        for writer in several:
            if writer.fault is None:
                writer.add(Lot(records(50, entered)), None, ())
                writer.flush()
                entered += 50
    assert all("full" in (writer.fault or "") and writer.lost == 0 for writer in several)
    assert several[0].folder.used() <= room
    assert sum(writer.records for writer in several) == entered > 500


def test_two_passes_write_and_a_third_merges_and_nothing_is_missing(tmp_path: Path) -> None:
    """As two schedulers with one folder do, while the daily job is at it: other processes, not threads."""
    place = str(tmp_path / "removals")
    several = multiprocessing.get_context("spawn")
    writers = [several.Process(target=write_in_parts, args=(place, f"run-{n}", 4000 * n)) for n in range(2)]
    for process in writers:
        process.start()
    asking, later = ask(place), datetime.now(UTC)
    rounds = 0
    while any(process.is_alive() for process in writers) or rounds == 0:
        asking.prune(timedelta(days=1), 10**9, later)
        rounds += 1
    assert [process.exitcode for process in writers] == [0, 0]
    for n in range(2):
        for place_of in (0, 1999, 3999):
            [entry] = asking.by_id("web", f"id-{4000 * n + place_of}").entries
            assert entry.origin["run"] == f"run-{n}"
    asking.prune(timedelta(days=1), 10**9, later)
    segments = list(bounds.segments(asking.folder, "web"))
    assert [segment.header["records"] for segment in segments] == [8000]
    assert asking.cut_off("web") == ()


def write_in_parts(place: str, run: str, start: int) -> None:
    """Two hundred segments of 20 records."""
    removals_module.AT_ONCE = 20
    writer = RemovalWriter(open_folder(place, "it"), OLD, "web", {**ORIGIN, "run": run}, 10**9)
    writer.begin()
    for n in range(start, start + 4000, 20):
        writer.add(Lot(records(20, n)), None, ())
    writer.close()
    assert writer.fault is None


def test_an_answer_is_whole_while_segments_are_merged(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that were listed are gone by the time that they are opened, and what was in them is in another one."""
    for n in range(3):
        write(place, records(30, start=30 * n), run=f"run-{n}")
    asking, merging = ask(place), ask(place)
    opened: list[str] = []

    def meanwhile(folder: Folder, name: str) -> Segment:
        opened.append(name)
        if len(opened) == 2:
            merging.prune(timedelta(days=1), 10**9, datetime.now(UTC))
        return open_segment(folder, name)

    monkeypatch.setattr(bounds, "open_segment", meanwhile)
    assert [[e.origin["run"] for e in asking.by_id("web", f"id-{n}").entries] for n in (0, 45, 89)] == [
        ["run-0"], ["run-1"], ["run-2"],
    ]  # fmt: skip
    assert len([s for s in asking.folder.list("web") if s.name.endswith(".removed")]) == 1


def test_memory_does_not_grow_with_what_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removals_module, "AT_ONCE", 2000)
    monkeypatch.setattr(removals_module, "_MOST_OWNERS", 500)

    def peak(count: int) -> int:
        writer = RemovalWriter(open_folder(str(tmp_path / str(count)), "it"), OLD, "web", ORIGIN, 10**9)
        writer.begin()
        tracemalloc.start()
        for start in range(0, count, 250):
            lot = [Removed(b"id-%d" % n, b"user-%d" % n, n) for n in range(start, start + 250)]
            writer.add(Lot(lot), None, ())
        writer.close()
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert (writer.records, writer.fault) == (count, None)
        return most

    peak(2000)
    assert peak(40_000) < 1.2 * peak(4000)


@pytest.mark.parametrize("text", ["", "short", "a" * 40, "0123456789abcdefghijklmnopqrstuvwxyz0123 short"])
def test_a_weak_key_is_refused_without_being_said(text: str) -> None:
    with pytest.raises(ValueError, match=r"no key|a key of") as fault:
        read_keys(text)
    assert "short" not in str(fault.value)
