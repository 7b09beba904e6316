"""Which canaries a pass needs, and what it means when one is missing."""

from datetime import UTC, datetime, timedelta

from cleanup_pipeline.engine.canaries import verdict, wanted
from cleanup_pipeline.model.canary import CANARY_PREFIX, Canary, CanaryKind, CanarySettings

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def at(kind: CanaryKind, several: list[Canary]) -> datetime | None:
    [found] = [each for each in several if each.kind is kind]
    return found.dies_at


def test_each_dies_on_its_own_side_of_the_line() -> None:
    cutoff = NOW - HOUR
    several = wanted(CanarySettings(), cutoff, None, HOUR, NOW)
    assert {each.kind for each in several} == set(CanaryKind)
    expired, grace, live = (at(kind, several) for kind in (CanaryKind.EXPIRED, CanaryKind.GRACE, CanaryKind.LIVE))
    assert expired and grace and live and expired < cutoff < grace < NOW < live
    assert len({each.mark for each in several}) == 5
    assert all(each.mark.startswith(CANARY_PREFIX) and len(each.mark) == 47 for each in several)


def test_a_short_window_has_the_expired_one_inside() -> None:
    cutoff = NOW - HOUR
    for length in (timedelta(seconds=60), timedelta(minutes=30)):
        expired = at(CanaryKind.EXPIRED, wanted(CanarySettings(), cutoff, cutoff - length, HOUR, NOW))
        assert expired is not None and cutoff - length <= expired < cutoff


def test_without_a_grace_there_is_none_within_it_and_kinds_can_be_left_out() -> None:
    kinds = frozenset({CanaryKind.LIVE, CanaryKind.GRACE})
    assert {each.kind for each in wanted(CanarySettings(kinds), NOW, None, timedelta(0), NOW)} == {CanaryKind.LIVE}


def test_what_may_go_and_what_may_not() -> None:
    several = wanted(CanarySettings(), NOW - HOUR, None, HOUR, NOW)
    marks = {each.kind: each.mark for each in several}
    stayed = {mark for kind, mark in marks.items() if kind is not CanaryKind.EXPIRED}
    assert (verdict(several, stayed).alarm, verdict(several, stayed).left) == (None, False)
    assert verdict(several, marks.values()).left
    assert verdict(several, stayed - {marks[CanaryKind.LIVE]}).alarm == "a live canary is gone"
    assert verdict(several, stayed - {marks[CanaryKind.UNPARSABLE]}).lost == (CanaryKind.UNPARSABLE,)
    both = verdict(several, stayed - {marks[CanaryKind.LIVE], marks[CanaryKind.GRACE]})
    assert both.alarm == "a canary within its grace and a live canary are gone"
