"""Which collections there are, and what a few documents of each look like.

Only names and types of fields are asked for: what sessions hold never leaves the server.
"""

from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.errors import OperationFailure

from cleanup_pipeline.model.survey import Asked, CollectionSeen, Survey
from cleanup_pipeline.stores.mongo.collection import SAMPLE, SEARCHED, Document

MOST = 500
"""Collections."""


def survey(client: "MongoClient[Document]", asked: Asked, patience: int) -> Survey:
    """The collections of the URL's database, and of others that are asked for by name; `patience` in ms each."""
    own = client.get_default_database()
    databases = [own.name, *(name for name in asked.databases if name != own.name)]
    found: list[CollectionSeen] = []
    whole = True
    for database in databases:
        try:
            names = client[database].list_collection_names(filter={"type": "collection"})
        except OperationFailure:
            if database == own.name:
                raise
            # Most logins may see one database.
            continue
        whole = whole and len(names) <= MOST
        for name in sorted(names)[:MOST]:
            if not name.startswith("system."):
                collection = client[database][name]
                documents = _sample(collection, patience)
                nested = _nested(collection, documents, asked, patience)
                found.append(CollectionSeen(database, database == own.name, name, documents, nested))
    return Survey(collections=tuple(found), whole=whole)


def _sample(collection: Collection[Document], patience: int) -> tuple[dict[str, str], ...]:
    typed = {"input": {"$objectToArray": "$$ROOT"}, "as": "f", "in": {"k": "$$f.k", "t": {"$type": "$$f.v"}}}
    pipeline: list[Document] = [{"$limit": SAMPLE}, {"$project": {"_id": 0, "fields": {"$map": typed}}}]
    rows = collection.aggregate(pipeline, maxTimeMS=patience)
    return tuple({field["k"]: field["t"] for field in row["fields"]} for row in rows)


def _nested(
    collection: Collection[Document], documents: tuple[dict[str, str], ...], asked: Asked, patience: int
) -> frozenset[str]:
    roots = {name for each in documents for name, kind in each.items() if kind in {"object", "array"}}
    return frozenset(path for path in asked.paths if path.split(".")[0] in roots and _some(collection, path, patience))


def _some(collection: Collection[Document], path: str, patience: int) -> bool:
    pipeline: list[Document] = [
        {"$limit": SEARCHED},
        {"$match": {path: {"$exists": True}}},
        {"$limit": 1},
        {"$project": {"_id": 0, "there": {"$literal": True}}},
    ]
    return any(True for _ in collection.aggregate(pipeline, maxTimeMS=patience))
