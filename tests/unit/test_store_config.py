"""What may be shown of a store's URL, and what may not."""

import pytest

from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.words import StoreType
from cleanup_pipeline.stores.base import redact


@pytest.mark.parametrize(
    ("url", "where"),
    [
        ("postgresql://joe:s3cret@db.example:5432/app?sslmode=require", "db.example:5432/app"),
        ("postgresql://joe:s3cr/et@db.example/app", "db.example/app"),
        ("postgresql://joe:s3cr@et@db.example/app", "db.example/app"),
        ("postgresql://joe:s3cr?et@db.example/app", "db.example/app"),
        ("redis://:s3cret@cache:6379/0", "cache:6379/0"),
        ("mongodb://joe:s3cret@a:1,b:2/app?replicaSet=r", "a:1,b:2/app"),
        ("postgresql:///app", "/app"),
        ("s3cret", "localhost"),
    ],
)
def test_where_is_host_and_database_alone(url: str, where: str) -> None:
    config = StoreConfig("main", StoreType.POSTGRES, url)
    assert config.where == where
    assert "s3cr" not in repr(config) + str(config)


@pytest.mark.parametrize("password", ["s3cret", "s%2Fcr%40et", "s/cr@et"])
def test_no_spelling_of_the_password_survives_redaction(password: str) -> None:
    config = StoreConfig("main", StoreType.POSTGRES, f"postgresql://joe:{password}@db/app")
    said = redact(f"failed for {config.url}\nwith joe:{password} or {password} or s/cr@et and s3cret", config)
    assert "\n" not in said
    assert password not in said
    if "%" in password:
        assert "s/cr@et" not in said
