"""What people who log in feel while a backlog is removed from their PostgreSQL.

    python -m benchmarks.postgres_felt [--records 1000000] [--rate 200] [--seconds 5] [--repeat 3] [--ways ours]

A third of the operations each reads a session, refreshes it, inserts one. 70 % of the rows have expired, scattered.
Records/s are rows removed.
"""

import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import md5
from pathlib import Path

import psycopg

from benchmarks import felt
from benchmarks.postgres_data import Case, bench
from benchmarks.postgres_ways import TARGET, like_cleartokens, one_delete, ours
from cleanup_pipeline.model.pace import Pace
from cleanup_pipeline.model.target import Target

DEFAULTS = replace(TARGET, pause=Target.__dataclass_fields__["pause"].default, pace=Pace())
"""With the pauses that nobody has to ask for."""
REFRESH = b"UPDATE django_session SET expire_date = now() + interval '1 day' WHERE session_key = %s"
INSERT = b"INSERT INTO django_session VALUES (%s, repeat('y', 170), now() + interval '1 day')"


@contextmanager
def login(url: str, records: int) -> Iterator[felt.Operation]:
    chance = random.Random(1)
    with psycopg.connect(url, autocommit=True, prepare_threshold=1) as connection:

        def operate(number: int) -> object:
            # The last 30 % are alive.
            name = md5(str(chance.randint(records * 7 // 10 + 1, records)).encode()).hexdigest()  # noqa: S324
            match number % 3:
                case 0:
                    read = b"SELECT session_data FROM django_session WHERE session_key = %s"
                    return connection.execute(read, (name,)).fetchone()
                case 1:
                    return connection.execute(REFRESH, (name,))
                case _:
                    return connection.execute(INSERT, (f"new{number}-{chance.random()}",))

        yield operate


def main() -> None:
    given = felt.arguments(__doc__, 1_000_000).parse_args()
    ways: dict[str, felt.Way] = {
        "ours, default settings": lambda url: ours(url, 1, DEFAULTS).deleted,
        "ours, no pauses": lambda url: ours(url, 1, TARGET).deleted,
        "CPU only, no cleaning": felt.only_cpu,
        "one DELETE": lambda url: one_delete(url).deleted,
        "as django-oauth-toolkit": lambda url: like_cleartokens(url).deleted,
    }
    with tempfile.TemporaryDirectory() as folder, bench(Path(folder) / "postgres") as at:
        at.fill(Case(given.records, 70, correlated=False))
        felt.compare("postgres_felt", login, ways, at.fresh, given)


if __name__ == "__main__":
    main()
