"""One asset a target: its materializations are the passes, its page plots the volume removed.

Nothing materializes these from the asset page; the jobs do.
"""

import dagster as dg

from cleanup_pipeline.dagster_defs.names import asset_key, job_name
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.model.words import StoreType

_KINDS = {StoreType.POSTGRES: "postgres", StoreType.REDIS: "redis", StoreType.MONGO: "mongodb"}


def target_asset(target: Target) -> dg.AssetSpec:
    """The asset of a target."""
    return dg.AssetSpec(
        key=asset_key(target.name),
        group_name=target.pass_name,
        kinds={_KINDS[target.store_type]},
        description=(
            f"What passes removed from `{target.source_name}` in store `{target.store}` ({target.kind}). "
            f"Job `{job_name(target.pass_name)}` cleans it; its metadata plots records deleted, survivors, rate."
        ),
        metadata={"store": target.store, "source": target.source_name, "kind": target.kind, "mode": str(target.mode)},
    )
