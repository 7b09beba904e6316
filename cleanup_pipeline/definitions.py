"""What Dagster loads (workspace.yaml): settings -> Definitions.

A settings file that is wrong makes the code location fail to load, with every fault in the message: nothing is cleaned
with half a configuration.
"""

from cleanup_pipeline.dagster_defs.build import build_defs
from cleanup_pipeline.settings import load_settings

defs = build_defs(load_settings())
