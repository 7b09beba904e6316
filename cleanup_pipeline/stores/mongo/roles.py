"""A MongoDB role that may do what some targets need, and nothing else, as a script for mongosh."""

import json
from collections.abc import Sequence

from cleanup_pipeline.model.target import CollectionSource, FieldExpiry, Target
from cleanup_pipeline.stores.mongo.leases import COLLECTION

_HEAD = """\
// The least that cleanup-pipeline needs of this deployment. For an administrator:
//   mongosh "mongodb://ADMIN@HOST/admin" --file THIS_FILE
// It asks for the password of the new user. May be run again.
const targets = %s;
const leases = %s;
const privileges = [
  ...targets.map(([db, collection, actions]) => ({ resource: { db, collection }, actions })),
  // Who cleans what at present; made by the first pass.
  ...leases.map((db) => ({
    resource: { db, collection: "%s" }, actions: ["find", "insert", "update", "createCollection"],
  })),
  ...leases.map((db) => ({ resource: { db, collection: "" }, actions: ["listCollections"] })),
];
const admin = db.getSiblingDB("admin");
if (admin.getRole("cleanup")) {
  admin.updateRole("cleanup", { privileges, roles: [] });
} else {
  admin.createRole({ role: "cleanup", privileges, roles: [] });
}
if (!admin.getUser("cleanup")) {
  admin.createUser({ user: "cleanup", pwd: passwordPrompt(), roles: ["cleanup"] });
}
// To give way to a busy server the pipeline looks at replication and queues; without this it waits for nobody:
// admin.grantRolesToUser("cleanup", [{ role: "clusterMonitor", db: "admin" }]);
"""


def role_script(targets: Sequence[Target], default_database: str | None) -> str:
    """The script. `default_database` is the one that the store's URL names; None becomes a placeholder to fill in."""
    rows = [(_database(target, default_database), _collection(target), actions(target)) for target in targets]
    wanted: dict[tuple[str, str], set[str]] = {}
    for database, collection, needed in rows:
        wanted.setdefault((database, collection), set()).update(needed)
    written = [[database, name, sorted(needed)] for (database, name), needed in wanted.items()]
    lines = ",\n  ".join(json.dumps(each) for each in written)
    databases = json.dumps(list(dict.fromkeys(database for database, _ in wanted)))
    return _HEAD % (f"[\n  {lines},\n]", databases, COLLECTION)


def actions(target: Target) -> list[str]:
    """What a target does to its collection. Documents that stay and lose an element or a field are updated."""
    expiry = target.expiry
    changes = bool(target.unset) or (isinstance(expiry, FieldExpiry) and expiry.pull is not None)
    # Canaries are planted; documents that were kept are put back by `undo`. Those that stayed are updated.
    inserts = ["insert"] if (target.canaries is not None or target.quarantine) and not changes else []
    return ["find", "listIndexes", "update" if changes else "remove", *inserts]


def _database(target: Target, default: str | None) -> str:
    source = target.source
    assert isinstance(source, CollectionSource)  # noqa: S101 - of this store's targets
    return source.database or default or "DATABASE"


def _collection(target: Target) -> str:
    source = target.source
    assert isinstance(source, CollectionSource)  # noqa: S101 - of this store's targets
    return source.collection
