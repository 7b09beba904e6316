"""What a person should know of a MongoDB server and a collection before anything is deleted there. Reads only.

Does not belong here: what forbids to delete (collection.py), which every pass looks at.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.errors import OperationFailure

from cleanup_pipeline.model.plan import Finding
from cleanup_pipeline.model.words import Severity
from cleanup_pipeline.stores.mongo.collection import Document, types_of
from cleanup_pipeline.stores.mongo.guards import ABSENT


def server(client: MongoClient[Document]) -> Iterator[Finding]:
    """Findings about the deployment."""
    hello = client.admin.command("hello")
    kind = "sharded cluster" if hello.get("msg") == "isdbgrid" else f"replica set {hello.get('setName') or ''}".strip()
    standalone = "setName" not in hello and hello.get("msg") != "isdbgrid"
    yield Finding(
        Severity.INFO, f"MongoDB {_version(client)}, {'a single server' if standalone else kind}", code="mongo.version"
    )
    if standalone:
        return
    try:
        status: dict[str, Any] = client.admin.command("replSetGetStatus")
    except OperationFailure:
        yield Finding(
            Severity.INFO,
            "the lag of replicas is unknown",
            "grant clusterMonitor to see it",
            code="mongo.members-unknown",
        )
        return
    members = status.get("members", [])
    if len(members) < 2:
        return
    primary = next((each for each in members if each.get("stateStr") == "PRIMARY"), None)
    down = [each for each in members if each.get("stateStr") not in {"PRIMARY", "SECONDARY", "ARBITER"}]
    behind = [
        (primary["optimeDate"] - each["optimeDate"]).total_seconds()
        for each in members
        if primary and each.get("stateStr") == "SECONDARY" and "optimeDate" in each and "optimeDate" in primary
    ]
    lag = max(behind, default=0.0)
    what = f"{len(members)} members, {len(down)} of them neither primary nor secondary, {lag:.0f} s behind at most"
    yield Finding(Severity.WARNING if down or lag > 10 else Severity.INFO, what, code="mongo.members")


def _version(client: MongoClient[Document]) -> str:
    try:
        return str(client.server_info().get("version", "of unknown version"))
    except OperationFailure:
        return "of unknown version"


def ttl_indexes(collection: Collection[Document], expiry_field: str, patience: int) -> Iterator[Finding]:
    """Whether each TTL index does anything, by a sample of the documents; `patience` in ms."""
    found = {n: spec for n, spec in collection.index_information().items() if "expireAfterSeconds" in spec}
    for name, spec in found.items():
        fields = [str(field) for field, _ in spec["key"]]
        drop = f'db.{collection.name}.dropIndex("{name}")'
        if len(fields) > 1:
            what = f"TTL index {name} has more than one field, so that the server does nothing with it"
            yield Finding(Severity.WARNING, what, drop, code="mongo.ttl-compound")
            continue
        if "partialFilterExpression" in spec:
            what = f"TTL index {name} is partial: what its filter leaves out is never removed by the server"
            yield Finding(Severity.INFO, what, code="mongo.ttl-partial")
        types = Counter(row[0] for row in types_of(collection, {}, fields, patience))
        idle = sum(count for kind, count in types.items() if kind not in {"date", "array"})
        evidence = ", ".join(f"{count} {kind}" for kind, count in types.most_common())
        if types and idle == types.total():
            absent = all(kind in ABSENT for kind in types)
            why = f"no document looked at has {fields[0]}" if absent else f"{fields[0]} is no date"
            remedy = "write BSON dates" if not absent else f"correct the field, or {drop}"
            yield Finding(
                Severity.WARNING,
                f"TTL index {name} silently does nothing: {why}",
                remedy,
                evidence,
                code="mongo.ttl-idle",
            )
        elif idle:
            what = f"TTL index {name} leaves {idle} of {types.total()} documents looked at: {fields[0]} is no date"
            yield Finding(Severity.INFO, what, "a pass says how many", evidence, code="mongo.ttl-leaves")
        elif types:
            what = f"TTL index {name} works: {spec['expireAfterSeconds']:g} s after {fields[0]}"
            yield Finding(Severity.INFO, what, "", evidence, code="mongo.ttl-works")
    if not any(str(spec["key"][0][0]) == expiry_field for spec in found.values()):
        what = f"no TTL index on {expiry_field}"
        remedy = "where it holds dates the server could do this alone: drain with passes first, then"
        remedy += f' db.{collection.name}.createIndex({{"{expiry_field}": 1}}, {{expireAfterSeconds: 0}})'
        yield Finding(Severity.INFO, what, remedy, code="mongo.no-ttl")
