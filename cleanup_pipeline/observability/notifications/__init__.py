"""Telling people: what is said (messages.py), how it gets there (webhook.py, by_apprise.py), and when (delivery.py)."""

from cleanup_pipeline.observability.notifications.delivery import Delivery, deliver, send, send_once, summarize_surplus
from cleanup_pipeline.observability.notifications.messages import of_changes, of_event, of_test

__all__ = ["Delivery", "deliver", "of_changes", "of_event", "of_test", "send", "send_once", "summarize_surplus"]
