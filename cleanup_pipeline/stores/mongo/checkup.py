"""What a person should know of a MongoDB server and a collection before anything is deleted there. Reads only.

Does not belong here: what forbids to delete (collection.py), which every pass looks at.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
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
    yield topology(hello, _version(client))
    yield from ttl_monitor(_parameter(client, "ttlMonitorEnabled"))
    if "setName" not in hello:
        return
    try:
        status: dict[str, Any] = client.admin.command("replSetGetStatus")
    except OperationFailure:
        what, remedy = "the lag of replicas is unknown", "grant clusterMonitor to see it"
        yield Finding(Severity.INFO, what, remedy, "replSetGetStatus", code="mongo.members-unknown")
        return
    yield from members(status)


def topology(hello: Mapping[str, Any], version: str) -> Finding:
    """What the server is, by its own answer."""
    kind = "a single server"
    if hello.get("msg") == "isdbgrid":
        kind = "a sharded cluster, by one of its routers"
    elif "setName" in hello:
        kind = f"replica set {hello['setName']}"
    return Finding(Severity.INFO, f"MongoDB {version}, {kind}", "", "hello", code="mongo.version")


def ttl_monitor(enabled: bool | None) -> Iterator[Finding]:
    """What removes documents by TTL indexes, if it is known to be off."""
    if enabled is False:
        what = "the server's TTL monitor is off: no TTL index of it does anything"
        remedy = "db.adminCommand({setParameter: 1, ttlMonitorEnabled: true})"
        yield Finding(Severity.WARNING, what, remedy, "ttlMonitorEnabled: false", code="mongo.ttl-monitor-off")


def members(status: Mapping[str, Any]) -> Iterator[Finding]:
    """How many there are of a replica set, and how far behind, by the answer to replSetGetStatus."""
    every = status.get("members", [])
    if len(every) < 2:
        return
    primary = next((each for each in every if each.get("stateStr") == "PRIMARY"), None)
    down = [each for each in every if each.get("stateStr") not in {"PRIMARY", "SECONDARY", "ARBITER"}]
    behind = [
        (primary["optimeDate"] - each["optimeDate"]).total_seconds()
        for each in every
        if primary and each.get("stateStr") == "SECONDARY" and "optimeDate" in each and "optimeDate" in primary
    ]
    lag = max(behind, default=None)
    shown = "their lag unknown" if lag is None else f"{lag:.0f} s behind at most"
    what = f"{len(every)} members, {len(down)} of them neither primary nor secondary, {shown}"
    remedy = "deleting waits while a replica is further behind than max_replica_lag"
    severity = Severity.WARNING if down or (lag or 0) > 10 else Severity.INFO
    yield Finding(severity, what, remedy, "replSetGetStatus", code="mongo.members")


def _parameter(client: MongoClient[Document], name: str) -> bool | None:
    try:
        value = client.admin.command({"getParameter": 1, name: 1}).get(name)
    except OperationFailure:
        return None
    return value if isinstance(value, bool) else None


def _version(client: MongoClient[Document]) -> str:
    try:
        return str(client.server_info().get("version", "of unknown version"))
    except OperationFailure:
        return "of unknown version"


def ttl_indexes(
    collection: Collection[Document], expiry_field: str, patience: int, *, framework_has_one: bool
) -> Iterator[Finding]:
    """Whether each TTL index does anything, by a sample of the documents; `patience` in ms.

    Where the framework makes one itself, preflight says whether it is there.
    """
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
    if not framework_has_one and not any(str(spec["key"][0][0]) == expiry_field for spec in found.values()):
        what = f"no TTL index on {expiry_field}"
        remedy = "where it holds dates the server could do this alone: drain with passes first, then"
        remedy += f' db.{collection.name}.createIndex({{"{expiry_field}": 1}}, {{expireAfterSeconds: 0}})'
        yield Finding(Severity.INFO, what, remedy, code="mongo.no-ttl")
