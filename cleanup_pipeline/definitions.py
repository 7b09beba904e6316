"""What Dagster loads (workspace.yaml): settings -> Definitions.

A settings file that is wrong makes the code location fail to load, with every fault in the message: nothing is cleaned
with half a configuration.
"""

import gc

import dagster as dg

from cleanup_pipeline.dagster_defs.build import build_defs
from cleanup_pipeline.dagster_defs.names import job_name
from cleanup_pipeline.settings import load_settings

# Whatever is made here stays. With a thousand targets, looking for garbage in it took a quarter of the time of loading.
gc.disable()
try:
    defs = build_defs(load_settings())
finally:
    gc.freeze()
    gc.enable()


def job_for(pass_name: str) -> dg.JobDefinition:
    """The job of a pass, by a name under which another process can find it again to re-execute a run."""
    return defs.resolve_job_def(job_name(pass_name))
