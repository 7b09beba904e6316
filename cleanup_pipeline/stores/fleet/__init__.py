"""Targets that stand for many, and stores that are several servers."""

from cleanup_pipeline.stores.fleet.fleet import Fleet

__all__ = ["Fleet"]
