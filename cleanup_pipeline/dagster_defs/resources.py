"""Stores as Dagster resources, and the options of a run.

A resource hands the op the plain store. Nothing of a store's URL is ever resource config, because config is shown in
the UI and kept with the run. Does not belong here: how a store connects (stores/).
"""

import os
from collections.abc import Iterator
from pathlib import Path

import dagster as dg

from cleanup_pipeline.dagster_defs.storage import database_of
from cleanup_pipeline.ledger import Recorder
from cleanup_pipeline.ledger.ledger import SETTING
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.stores.base import Store
from cleanup_pipeline.stores.open import Opener, open_store


def store_resource(config: StoreConfig, opener: Opener = open_store) -> dg.ResourceDefinition:
    """A store that connects when an op first uses it and is closed when the run ends."""

    def _open(_: dg.InitResourceContext) -> Iterator[Store]:
        store = opener(config)
        try:
            yield store
        finally:
            store.close()

    return dg.ResourceDefinition(
        resource_fn=_open, description=f"{config.type} store `{config.name}` at {config.where}"
    )


def ledger_url(instance: dg.DagsterInstance) -> str:
    """Where the ledger is: what CLEANUP_LEDGER_URL says, else Dagster's own database, else a file in its folder."""
    return (
        os.environ.get(SETTING)
        or database_of(instance)
        or f"sqlite:///{Path(instance.root_directory) / 'cleanup-ledger.db'}"
    )


def ledger_resource() -> dg.ResourceDefinition:
    """What the ledger is written through: opened at the first use, and no reason to fail."""

    def _open(context: dg.InitResourceContext) -> Iterator[Recorder]:
        if context.instance is None:
            raise ValueError("the ledger is next to a Dagster instance")
        recorder = Recorder(ledger_url(context.instance))
        try:
            yield recorder
        finally:
            recorder.close()

    return dg.ResourceDefinition(resource_fn=_open, description=f"the ledger of passes ({SETTING})")


class PassOptions(dg.ConfigurableResource[None]):
    """What a person may choose when launching a pass by hand."""

    dry_run: bool = False
    """Look and report, delete nothing. A target in `mode: dry_run` is never deleted from, whatever this says."""
    plan: str = ""
    """The id of an earlier plan: that is carried out, once, and nothing else. Empty: the pass is its own plan."""
