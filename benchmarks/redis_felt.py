"""What people who log in feel while a backlog is removed from their Redis.

    python -m benchmarks.redis_felt [--records 300000] [--rate 200] [--seconds 5] [--repeat 3] [--ways ours]

A third of the operations each reads a session, refreshes it with HSET and EXPIREAT, writes one. Half of the hashes
have expired. Records/s are hashes looked at.
"""

import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from redis import Redis

from benchmarks import felt
from benchmarks.redis_ways import PATTERN, execute, fill, ours, pipelined
from cleanup_pipeline.embedded.servers import start_redis

EVERYTHING = """
local now, at, looked = tonumber(redis.call('TIME')[1]), '0', 0
repeat
  local page = redis.call('SCAN', at, 'MATCH', ARGV[1], 'COUNT', 1000, 'TYPE', 'hash')
  at = page[1]
  for _, key in ipairs(page[2]) do
    looked = looked + 1
    if tonumber(redis.call('HGET', key, 'expires_at')) < now then redis.call('UNLINK', key) end
  end
until at == '0'
return looked
"""


@contextmanager
def login(url: str, records: int) -> Iterator[felt.Operation]:
    chance = random.Random(1)
    kept = [n for n in range(min(records, 100_000)) if n % 100 >= 50]
    with Redis.from_url(url) as client:

        def operate(number: int) -> object:
            n = chance.choice(kept)
            key = f"session:user{n % 50_000:08d}:device{n:010d}"
            match number % 3:
                case 0:
                    return execute(client, "HGETALL", key)
                case 1:
                    dies = int(time.time()) + 86_400
                    execute(client, "HSET", key, "expires_at", dies)
                    return execute(client, "EXPIREAT", key, dies)
                case _:
                    return execute(client, "SET", f"refresh_index:{number}", key, "EX", 86_400)

        yield operate


def main() -> None:
    given = felt.arguments(__doc__, 300_000).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = start_redis(Path(folder), options=("--save", ""))
        try:
            with Redis.from_url(server.url, socket_timeout=None) as client:

                def fresh() -> str:
                    fill(client, given.records, 50)
                    return server.url

                ways: dict[str, felt.Way] = {
                    "ours, default settings": lambda url: ours(url, defaults=True) and given.records,
                    "ours, no pauses": lambda url: ours(url) and given.records,
                    "SCAN + pipeline by 1000": lambda _: pipelined(client, 1000) and given.records,
                    "CPU only, no cleaning": felt.only_cpu,
                    "one script": lambda _: int(execute(client, "EVAL", EVERYTHING, 0, PATTERN)),
                }
                felt.compare("redis_felt", login, ways, fresh, given)
        finally:
            server.stop()


if __name__ == "__main__":
    main()
