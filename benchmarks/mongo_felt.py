"""What people who log in feel while a backlog is removed from their MongoDB.

    python -m benchmarks.mongo_felt [--url mongodb://...] [--records 2000] [--rate 50] [--seconds 5] [--repeat 3]

A third of the operations each reads a session, refreshes it, inserts one. Half of the documents have expired; there is
an index on the expiry. Records/s are documents removed. By default against an embedded SecantusDB, which is slow.
"""

import random
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pymongo

from benchmarks import felt
from benchmarks.mongo_sweep import DATABASE, TARGET, fill, id_batches, one_delete_many, ours
from cleanup_pipeline.embedded.servers import start_mongo
from cleanup_pipeline.model.target import Target

DEFAULTS = replace(TARGET, pause=Target.__dataclass_fields__["pause"].default)


@contextmanager
def login(url: str, records: int) -> Iterator[felt.Operation]:
    chance = random.Random(1)
    with pymongo.MongoClient[dict[str, Any]](url) as client:
        sessions = client[DATABASE].sessions

        def operate(number: int) -> object:
            mine = {"number": chance.randrange(records // 100) * 100 + chance.randint(50, 99)}
            later = datetime.now(UTC) + timedelta(days=1)
            match number % 3:
                case 0:
                    return sessions.find_one(mine)
                case 1:
                    return sessions.update_one(mine, {"$set": {"expires_at": later}})
                case _:
                    return sessions.insert_one({"data": "y" * 200, "expires_at": later})

        yield operate


def main() -> None:
    parser = felt.arguments(__doc__, 2_000, rate=50)
    parser.add_argument("--url")
    given = parser.parse_args()
    with ExitStack() as stack:
        url = given.url
        if url is None:
            server = start_mongo(Path(stack.enter_context(tempfile.TemporaryDirectory())))
            stack.callback(server.stop)
            url = f"{server.url}{'&' if '?' in server.url else '/?'}serverMonitoringMode=poll"
        client: pymongo.MongoClient[dict[str, Any]] = stack.enter_context(pymongo.MongoClient(url))
        stack.callback(client.drop_database, DATABASE)
        database = client[DATABASE]

        def fresh() -> str:
            fill(database, given.records, 50, index=True)
            database.sessions.create_index("number")
            return str(url)

        ways: dict[str, felt.Way] = {
            "ours, default settings": lambda at: ours(at, database, DEFAULTS),
            "ours, batches of 50": lambda at: ours(at, database, replace(DEFAULTS, batch_size=50)),
            "one delete_many": lambda at: one_delete_many(at, database),
            "`_id` batches": lambda at: id_batches(at, database),
        }
        felt.compare("mongo_felt", login, ways, fresh, given)


if __name__ == "__main__":
    main()
