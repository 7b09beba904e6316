"""What is worth another try, and how long to wait for it: full-jitter exponential backoff, by tenacity."""

from collections.abc import Callable
from datetime import timedelta
from time import sleep

from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_exponential_jitter
from tenacity.stop import StopBaseT

from cleanup_pipeline.stores.base import BatchTimeoutError, TransientError, UnavailableError

LOOK_ATTEMPTS = 3
"""How often a look (preflight, census, recount) is tried."""
FIRST_BACKOFF = timedelta(milliseconds=200)
LONGEST_BACKOFF = timedelta(seconds=10)


def worth_another_try(fault: BaseException) -> bool:
    """Faults that may pass by themselves. A batch that timed out is tried again by the loop, but smaller."""
    return isinstance(fault, TransientError | UnavailableError) and not isinstance(fault, BatchTimeoutError)


def retrying(
    stop: StopBaseT | None = None,
    *,
    first: timedelta = FIRST_BACKOFF,
    longest: timedelta = LONGEST_BACKOFF,
    before_sleep: Callable[[RetryCallState], None] | None = None,
    sleep: Callable[[float], object] = sleep,
) -> Retrying:
    """Call it with a function and its arguments; the last fault is raised when trying again did not help.

    `sleep` rests for so many seconds, or for less when there is a reason to.
    """

    def rest(seconds: float) -> None:
        sleep(seconds)

    return Retrying(
        retry=retry_if_exception(worth_another_try),
        stop=stop or stop_after_attempt(LOOK_ATTEMPTS),
        wait=wait_exponential_jitter(initial=first.total_seconds(), max=longest.total_seconds()),
        before_sleep=before_sleep,
        sleep=rest,
        reraise=True,
    )
