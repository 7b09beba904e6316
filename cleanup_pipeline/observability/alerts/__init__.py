"""Alerts for those without Prometheus: what the ledger says (figures.py), and what is too much of it (judge.py)."""

from cleanup_pipeline.observability.alerts.figures import Figures, read_figures
from cleanup_pipeline.observability.alerts.judge import judge

__all__ = ["Figures", "judge", "read_figures"]
