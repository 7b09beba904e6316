"""What a store says of a fault: names and numbers, never what a record holds. One test for each leak there was."""

from datetime import timedelta

import psycopg
import pytest
from pymongo.errors import OperationFailure
from redis.exceptions import ResponseError

from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.words import StoreType
from cleanup_pipeline.stores.base import StoreError
from cleanup_pipeline.stores.mongo import faults as mongo
from cleanup_pipeline.stores.postgres.connect import Connections
from cleanup_pipeline.stores.redis import faults as redis

TOKEN = "c4n4ry-token"


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        (f"DO $$ BEGIN RAISE EXCEPTION 'no {TOKEN}'; END $$", "raised an exception, SQLSTATE P0001"),
        (f"DO $$ BEGIN RAISE EXCEPTION 'no {TOKEN}' USING ERRCODE = '23514'; END $$", "SQLSTATE 23514"),
        (f"SELECT '{TOKEN}'::timestamptz", "SQLSTATE 22007"),
        ("SELECT * FROM nothing_of_that_name", 'relation "nothing_of_that_name" does not exist'),
    ],
)
def test_postgres(postgres_url: str, statement: str, said: str) -> None:
    """A trigger of the application may put anything into its message, and a value that is not read is quoted."""
    connections = Connections(StoreConfig("main", StoreType.POSTGRES, postgres_url))
    with pytest.raises(StoreError) as caught, connections.use() as connection:
        connection.execute(statement)  # type: ignore[call-overload]
    connections.close()
    assert said in str(caught.value) and TOKEN not in str(caught.value)


def test_a_row_that_a_check_refuses(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as db:
        db.execute("CREATE TABLE t (token text CONSTRAINT short CHECK (length(token) < 3))")
    connections = Connections(StoreConfig("main", StoreType.POSTGRES, postgres_url, lock_timeout=timedelta(seconds=1)))
    with pytest.raises(StoreError, match='check constraint "short"') as caught, connections.use() as connection:
        connection.execute("INSERT INTO t VALUES (%s)", (TOKEN,))
    connections.close()
    assert TOKEN not in str(caught.value)


def test_redis_does_not_repeat_the_arguments_of_a_command() -> None:
    """As a server says it whose UNLINK was renamed."""
    fault = ResponseError(f"unknown command 'UNLINK', with args beginning with: 'session:{TOKEN}' ")
    told = redis.translate(fault, StoreConfig("cache", StoreType.REDIS, "redis://h"))
    assert "unknown command 'UNLINK'" in str(told) and TOKEN not in str(told)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (241, f"PlanExecutor error :: caused by :: Failed to parse number '{TOKEN}' in $convert"),
        (11000, f'E11000 duplicate key error dup key: "{TOKEN}"'),
    ],
)
def test_mongo_does_not_repeat_values(code: int, text: str) -> None:
    config = StoreConfig("docs", StoreType.MONGO, "mongodb://h/x")
    with pytest.raises(StoreError) as caught, mongo.translated(config, None):
        raise OperationFailure(text, code)
    assert f"code {code}" in str(caught.value) and TOKEN not in str(caught.value)
