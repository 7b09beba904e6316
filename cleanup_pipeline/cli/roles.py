"""`cleanup-pipeline roles`: the logins that the settings need, as scripts for the stores' own tools. Asks no server."""

from dataclasses import replace
from difflib import get_close_matches
from typing import Annotated
from urllib.parse import parse_qsl, unquote

import typer

from cleanup_pipeline.cli import completing
from cleanup_pipeline.cli.errors import UsageError
from cleanup_pipeline.cli.home import settings_for
from cleanup_pipeline.cli.run import SettingsOption
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.model.words import StoreType
from cleanup_pipeline.settings import Settings

_TOOLS = {StoreType.POSTGRES: "psql", StoreType.REDIS: "redis-cli", StoreType.MONGO: "mongosh"}
_COMMENT = {StoreType.POSTGRES: "--", StoreType.REDIS: "#", StoreType.MONGO: "//"}
_SEVERAL = "The store lists {} URLs: run this on the server of each."


def roles(
    store: Annotated[
        str | None,
        typer.Argument(
            metavar="STORE", autocompletion=completing.stores, help="Of which store. Default: the only one there is."
        ),
    ] = None,
    settings_file: SettingsOption = None,
) -> None:
    """Print the script that makes a login with no more rights than the targets of a store need.

    Columns, tables, keys, commands and collections by name; no password. Changes nothing, and asks no server.

    \b
    Examples:
      cleanup-pipeline roles main > role.sql
      cleanup-pipeline roles cache > role.acl
    """
    settings = settings_for(settings_file)
    config = _chosen(settings, store)
    targets = [each for each in settings.targets if each.store == config.name]
    if not targets:
        raise UsageError(f"store {config.name} has no targets, so that a login for it needs no rights")
    typer.echo(script(config, targets), nl=False)


def script(config: StoreConfig, targets: list[Target]) -> str:
    """For the tool of the store's type. Holds nothing of the store's URLs but the names of databases."""
    urls = config.urls or (config.url,)
    several = f"{_COMMENT[config.type]} {_SEVERAL.format(len(urls))}\n" if config.urls else ""
    databases = [_database_of(config, url) for url in urls]
    match config.type:
        case StoreType.POSTGRES:
            from cleanup_pipeline.stores.postgres.roles import role_script as for_postgres

            return several + for_postgres(targets, databases)
        case StoreType.REDIS:
            from cleanup_pipeline.stores.redis.roles import role_script as for_redis

            return several + for_redis(targets, cluster=any("+cluster:" in url for url in urls))
        case StoreType.MONGO:
            from cleanup_pipeline.stores.mongo.roles import role_script as for_mongo

            # Which server a script is run on it cannot know.
            return several + for_mongo(targets, databases[0] if len(set(databases)) == 1 else None)


def _database_of(config: StoreConfig, url: str) -> str | None:
    """None where the URL does not say."""
    query = url.rpartition("@")[2].partition("?")[2].partition("#")[0]
    named = [value for key, value in parse_qsl(query) if key == "dbname"]
    if config.type is StoreType.POSTGRES and named:
        return named[-1]
    return unquote(replace(config, url=url, urls=()).where.partition("/")[2]) or None


def _chosen(settings: Settings, name: str | None) -> StoreConfig:
    known = ", ".join(f"{each.name} ({_TOOLS[each.type]})" for each in settings.stores.values())
    if name is None:
        if len(settings.stores) != 1:
            raise UsageError(f"name a store, one of {known}")
        return next(iter(settings.stores.values()))
    if name not in settings.stores:
        close = get_close_matches(name, settings.stores, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise UsageError(f"there is no store {name}, there are {known}{hint}")
    return settings.stores[name]
