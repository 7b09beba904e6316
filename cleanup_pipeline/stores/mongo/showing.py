"""What a pass over a MongoDB target sends, as text to read."""

from datetime import datetime
from typing import Any

from bson import json_util

from cleanup_pipeline.model.target import Target
from cleanup_pipeline.stores.mongo.collection import source_of
from cleanup_pipeline.stores.mongo.predicate import both, compile_predicate


def shown(target: Target, cutoff: datetime) -> list[tuple[str, str]]:
    """A title and the JSON of each command, with `<ids>` for the `_id`s that the first one finds."""
    source, expiry = source_of(target)
    predicate = compile_predicate(expiry, source, cutoff, where=target.where, guards=target.guards)
    found = {"find": source.collection, "filter": predicate.expired, "projection": {"_id": 1}, "limit": 1000}
    again = both({"_id": {"$in": "<ids>"}}, predicate.expired)
    title, command = "delete them, judged again", _of("delete", source.collection, {"q": again, "limit": 0})
    if predicate.pull is not None or target.unset:
        title = "change them, judged again"
        pull: dict[str, Any] = {"$pull": {predicate.pull: predicate.element}}
        change = pull if predicate.pull is not None else {"$unset": dict.fromkeys(target.unset, "")}
        command = _of("update", source.collection, {"q": again, "u": change, "multi": True})
    return [("find some that have expired", _json(found)), (title, _json(command))]


def _of(verb: str, collection: str, statement: dict[str, Any]) -> dict[str, Any]:
    return {verb: collection, f"{verb}s": [statement]}


def _json(command: dict[str, Any]) -> str:
    return json_util.dumps(command, json_options=json_util.RELAXED_JSON_OPTIONS)
