"""`cleanup-pipeline roles`: the logins that the settings need, as scripts for the stores' own tools. Asks no server."""

from difflib import get_close_matches
from typing import Annotated
from urllib.parse import unquote

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
    """For the tool of the store's type. Holds nothing of the store's URL but the name of a MongoDB database."""
    match config.type:
        case StoreType.POSTGRES:
            from cleanup_pipeline.stores.postgres.roles import role_script as for_postgres

            return for_postgres(targets)
        case StoreType.REDIS:
            from cleanup_pipeline.stores.redis.roles import role_script as for_redis

            return for_redis(targets, cluster="+cluster:" in config.url)
        case StoreType.MONGO:
            from cleanup_pipeline.stores.mongo.roles import role_script as for_mongo

            return for_mongo(targets, unquote(config.where.partition("/")[2]) or None)


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
