"""One asset a target: its materializations are the passes, its page plots the volume removed.

Nothing materializes these from the asset page; the jobs do.
"""

import dagster as dg

from cleanup_pipeline.dagster_defs.names import asset_key, job_name
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.model.words import Mode, StoreType

_KINDS = {StoreType.POSTGRES: "postgres", StoreType.REDIS: "redis", StoreType.MONGO: "mongodb"}


_SOURCES = {StoreType.POSTGRES: "table", StoreType.REDIS: "keys", StoreType.MONGO: "collection"}


def source_words(target: Target) -> str:
    """Where a target's records are, in Markdown: table `app.sessions`."""
    return f"{_SOURCES[target.store_type]} `{target.source_name}`"


def target_asset(target: Target, prefix: str = "") -> dg.AssetSpec:
    """The asset of a target, in the group of its pass with `prefix` before it."""
    return dg.AssetSpec(
        key=asset_key(target.name),
        group_name=f"{prefix}{target.pass_name}",
        kinds={_KINDS[target.store_type]},
        description=(
            f"Expired {target.kind} records that were deleted from {source_words(target)} of store `{target.store}`. "
            "Each materialization is a pass: **Plots** shows how many were deleted, how many survived, how fast. "
            f"Job `{job_name(target.pass_name)}` does it, on schedule; **Checks** says whether anything is left."
            + (
                ""
                if target.mode is Mode.DELETE
                else "\n\nNot approved (`mode: dry_run`): passes look, and delete nothing."
            )
        ),
        metadata={"store": target.store, "source": target.source_name, "kind": target.kind, "mode": str(target.mode)},
    )
