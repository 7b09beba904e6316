"""What a shard costs the machine that cleans: CPU time and memory of our own."""

from time import monotonic, thread_time

import psutil

SAMPLE_SECONDS = 1.0


class Meter:
    """Made, sampled and read in the thread that runs the shard."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._cpu = thread_time()
        self._next = 0.0
        self.peak_rss = 0
        """Bytes, the most that was seen."""
        self.sample()

    @property
    def cpu_seconds(self) -> float:
        """CPU time of this thread since the meter was made."""
        return thread_time() - self._cpu

    def sample(self) -> None:
        """Look at the process's memory, unless that was done within the last second."""
        if monotonic() >= self._next:
            self.peak_rss = max(self.peak_rss, self._process.memory_info().rss)
            self._next = monotonic() + SAMPLE_SECONDS
