import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cleanup_pipeline.model.histogram import add, at_or_below, bucket, quantile

PROMETHEUS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
DURATIONS = st.lists(st.floats(0, 100_000, allow_nan=False), min_size=1, max_size=50)


def of(seconds: list[float]) -> dict[int, int]:
    return add(*({bucket(each): 1} for each in seconds))


@pytest.mark.parametrize(
    ("seconds", "bound"), [(0, 1), (0.0004, 1), (0.25, 250), (0.2501, 260), (1.234, 1300), (60, 60_000), (60.1, 61_000)]
)
def test_a_bound_has_two_digits(seconds: float, bound: int) -> None:
    assert bucket(seconds) == bound


@given(DURATIONS)
def test_counts_below_the_usual_bounds_are_exact(seconds: list[float]) -> None:
    for bound in PROMETHEUS:
        assert at_or_below(of(seconds), bound) == sum(round(each, 9) <= bound for each in seconds)


@given(DURATIONS, st.sampled_from([0.5, 0.95, 1.0]))
@example([0.00209], 1.0)
def test_a_quantile_is_at_most_a_tenth_or_a_millisecond_too_high(seconds: list[float], share: float) -> None:
    exact = next(each for n, each in enumerate(sorted(seconds), 1) if n >= share * len(seconds))
    found = quantile(of(seconds), share)
    assert found is not None and exact <= found + 1e-9 and found <= max(exact * 1.1, exact + 0.001) + 1e-9


def test_nothing_took_no_time() -> None:
    assert quantile({}, 0.5) is None and at_or_below({}, 1) == 0
