"""A writer that refreshes sessions while they are being swept never loses one."""

import threading

from redis import Redis
from redis_support import SESSIONS, drain, in_two_steps

TRIES = 10_000
AT_ONCE = 50
# A login finds its session and prolongs it, in one step.
PROLONG = """
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], 'expires_at', ARGV[1])
return 1
"""


class Writer(threading.Thread):
    """Lets sessions die, refreshes them at once, and looks whether what it refreshed is still there."""

    def __init__(self, url: str, second: int) -> None:
        super().__init__(daemon=True)
        self.url, self.second = url, second
        self.stop = threading.Event()
        self.tries = self.too_late = 0
        self.lost: list[str] = []

    def run(self) -> None:
        with Redis.from_url(self.url) as client:
            sha = client.script_load(PROLONG)
            names = [f"session:u:{n}" for n in range(AT_ONCE)]
            while self.tries < TRIES and not self.stop.is_set():
                with client.pipeline(transaction=False) as pipe:
                    for name in names:
                        pipe.hset(name, "expires_at", self.second - 100)
                        pipe.persist(name)
                    pipe.execute()
                found = self._each(client, lambda pipe, name: pipe.evalsha(sha, 1, name, self.second + 3600), names)
                refreshed = [name for name, was in zip(names, found, strict=True) if was]
                there = self._each(client, lambda pipe, name: pipe.exists(name), refreshed)
                self.lost += [name for name, is_there in zip(refreshed, there, strict=True) if not is_there]
                self.tries += len(refreshed)
                self.too_late += len(names) - len(refreshed)

    def _each(self, client, command, names):
        with client.pipeline(transaction=False) as pipe:
            for name in names:
                command(pipe, name)
            return pipe.execute()


def test_no_session_that_was_refreshed_is_lost_in_ten_thousand_tries(server, store, client, now):
    writer = Writer(server.url, int(now.timestamp()))
    removed = passes = 0
    writer.start()
    try:
        while writer.is_alive():
            cleaned = (SESSIONS, in_two_steps(SESSIONS))[passes % 2]
            removed += sum(outcome.deleted for outcome in drain(store, cleaned, now))
            passes += 1
    finally:
        writer.stop.set()
        writer.join()
    assert writer.tries >= TRIES
    assert writer.lost == []
    # The two did get into each other's way, and each deletion is one that the writer came too late for.
    assert removed > 0
    assert removed >= writer.too_late
