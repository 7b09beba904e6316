"""Whether MongoDB could remove a target's documents by itself, with a TTL index.

What a TTL index does and does not do: MongoDB manual, "TTL Indexes" (one field, dates only; converted by collMod since
5.1; everything that has expired goes as soon as it is built).
"""

import json
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from pymongo.collection import Collection

from cleanup_pipeline.model.advice import Advice, Native, Step, Way, drain
from cleanup_pipeline.model.plan import Census
from cleanup_pipeline.model.rules import FieldGuard, FieldTest
from cleanup_pipeline.model.target import FieldExpiry, Target
from cleanup_pipeline.stores.mongo.collection import Document, source_of, types_of
from cleanup_pipeline.stores.mongo.guards import ABSENT, NUMBERS

LONGEST = 2**31 - 1
"""Seconds; the most that expireAfterSeconds may be."""


def advise(collection: Collection[Document], target: Target, census: Census, patience: int) -> Advice:
    """What the server could do, from its indexes and a sample of the documents; `patience` in ms."""
    source, expiry = source_of(target)
    reasons = tuple(_against(target, expiry))
    if reasons:
        return Advice(target.name, Native.NO, reasons, backlog=census.expired)
    seconds = int((expiry.lifetime + target.grace) / timedelta(seconds=1))
    types = Counter(row[0] for row in types_of(collection, {}, [expiry.field], patience))
    indexes = {name: spec for name, spec in collection.index_information().items() if _is_on(spec, expiry.field)}
    ttl = {name: spec for name, spec in indexes.items() if "expireAfterSeconds" in spec}
    wrong = sorted(kind for kind in types if kind != "date" and kind not in ABSENT)
    if wrong or expiry.unit is not None or expiry.or_unit is not None:
        return _change_first(collection, target, expiry, wrong, types, census)
    if ttl:
        return _works(collection, target, ttl, seconds, types, census)
    filters = _filter(target)
    why = [f"{expiry.field} is a date in {types['date']} of {types.total()} documents looked at"] if types else []
    absent = sum(types[kind] for kind in ABSENT)
    if absent:
        why.append(f"{absent} of them have none, and the server leaves those for ever, as a pass does")
    plain = next((name for name, spec in indexes.items() if "partialFilterExpression" not in spec), None)
    if plain is not None and not filters:
        index = {"keyPattern": dict(indexes[plain]["key"]), "expireAfterSeconds": seconds}
        build = Step(
            f"make index {plain} a TTL index (MongoDB 5.1 and later)",
            _run({"collMod": source.collection, "index": index}),
        )
    else:
        spec: Document = {"key": {expiry.field: 1}, "name": f"{expiry.field}_ttl", "expireAfterSeconds": seconds}
        spec |= {"partialFilterExpression": filters} if filters else {}
        build = Step("build the TTL index", _run({"createIndexes": source.collection, "indexes": [spec]}))
    backlog = "everything that has expired" if census.expired is None else f"all {census.expired:,} that have expired"
    steps = (
        drain(target),
        build,
        Step("see it work: this says so once it does", f"cleanup-pipeline advise {target.name}"),
        Step(f"set targets.{target.name}.mode: dry_run, so that passes go on to look"),
    )
    loses = (
        f"built before the drain, it removes {backlog} at once, without a pause",
        "a date of 1970 or earlier, which a pass takes for none, has expired for the server",
        "no brake, no canary and no proof: nobody is told when it stops or removes too much",
    )
    return Advice(target.name, Native.POSSIBLE, tuple(why), (Way("TTL index", steps, loses),), census.expired)


def _against(target: Target, expiry: FieldExpiry) -> Iterator[str]:
    if expiry.pull is not None:
        yield "what expires are elements of an array; a TTL index would remove the whole document"
    if target.unset:
        yield "what expires are fields of a document that stays"
    odd = [guard for guard in target.guards if not (isinstance(guard, FieldGuard) and guard.test is FieldTest.EXISTS)]
    if odd:
        yield "the target has guards that the filter of a partial index cannot say"
    if (expiry.lifetime + target.grace) / timedelta(seconds=1) > LONGEST:
        yield f"a TTL index keeps a document for at most {LONGEST:,} s after its date"


def _is_on(spec: dict[str, Any], field: str) -> bool:
    return [(str(key), way) for key, way in spec["key"]] in ([(field, 1)], [(field, -1)])


def _works(
    collection: Collection[Document],
    target: Target,
    ttl: dict[str, dict[str, Any]],
    seconds: int,
    types: "Counter[str]",
    census: Census,
) -> Advice:
    name, spec = next(iter(ttl.items()))
    after = int(spec["expireAfterSeconds"])
    left = "an unknown number of" if census.expired is None else f"{census.expired:,}"
    why = [f"TTL index {name} removes documents {after:,} s after {spec['key'][0][0]}; {left} expired ones are left"]
    if types and not types["date"]:
        why = [f"TTL index {name} does nothing: no document looked at has a date there"]
        return Advice(target.name, Native.CHANGE_FIRST, tuple(why), backlog=census.expired)
    if after != seconds:
        source, _ = source_of(target)
        index = {"name": name, "expireAfterSeconds": seconds}
        step = Step(f"the target keeps them for {seconds:,} s", _run({"collMod": source.collection, "index": index}))
        why.append(f"that is not the {seconds:,} s of this target's lifetime and grace")
        return Advice(target.name, Native.POSSIBLE, tuple(why), (Way("TTL index", (step,)),), census.expired)
    why.append(f"this target can be an audit: targets.{target.name}.mode: dry_run")
    return Advice(target.name, Native.WORKS, tuple(why), backlog=census.expired)


def _change_first(
    collection: Collection[Document],
    target: Target,
    expiry: FieldExpiry,
    wrong: list[str],
    types: "Counter[str]",
    census: Census,
) -> Advice:
    source, _ = source_of(target)
    seen = f" ({', '.join(f'{types[kind]} {kind}' for kind in wrong)} of {types.total()} looked at)" if wrong else ""
    why = f"{expiry.field} is not always a BSON date, and a TTL index passes over anything else{seen}"
    steps = [Step(f"have the application write {expiry.field} as a date")]
    unit = expiry.unit or expiry.or_unit
    change: Any = None
    if unit is not None:
        factor = {"s": {"$multiply": [f"${expiry.field}", 1000]}, "ms": {"$toLong": f"${expiry.field}"}}
        change = {"$toDate": {"$toLong": factor.get(unit.value, {"$divide": [f"${expiry.field}", 1_000_000]})}}
        match: Document = {expiry.field: {"$type": NUMBERS, "$gt": 0}}
    elif "string" in wrong:
        # What cannot be read stays as it is.
        given = f"${expiry.field}"
        change = {"$convert": {"input": given, "to": "date", "onError": given, "onNull": None}}
        match = {expiry.field: {"$type": "string"}}
    if change is not None:
        one = {"q": match, "u": [{"$set": {expiry.field: change}}], "multi": True}
        steps.append(Step("then convert what is there", _run({"update": source.collection, "updates": [one]})))
    steps.append(Step("leave out `unit` in `expires`, and ask again", f"cleanup-pipeline advise {target.name}"))
    way = Way("dates first", tuple(steps))
    return Advice(target.name, Native.CHANGE_FIRST, (why,), (way,), census.expired)


def _filter(target: Target) -> Document:
    """The guards as a partial index can have them."""
    source, _ = source_of(target)
    found: Document = {name: {"$eq": value} for name, value in sorted(target.where.items())}
    found |= {name: {"$exists": True} for name in source.required_fields if name not in found}
    for name, types in source.field_types:
        found[name] = {**found.get(name, {}), "$type": list(types)}
    for guard in target.guards:
        if isinstance(guard, FieldGuard) and guard.field not in found:
            found[guard.field] = {"$exists": True}
    return found


def _run(command: Document) -> str:
    return f"db.runCommand({json.dumps(command)})"
