"""Presets: how known frameworks store what expires, and how sources and expiry rules are written down."""

from cleanup_pipeline.layouts.layout import Layout, Preset, layouts

__all__ = ["Layout", "Preset", "layouts"]
