"""A MongoDB role that may do what some targets need, and nothing else, as a script for mongosh."""

import json
from collections.abc import Sequence

from cleanup_pipeline.model.members import Members
from cleanup_pipeline.model.target import CollectionSource, FieldExpiry, Target
from cleanup_pipeline.stores.mongo.leases import COLLECTION
from cleanup_pipeline.stores.patterns import any_of, is_name

_HEAD = """\
// The least that cleanup-pipeline needs of this deployment. For an administrator:
//   mongosh "mongodb://ADMIN@HOST/admin" --file THIS_FILE
// It asks for the password of the new user. May be run again.
const targets = %s;
const leases = %s;
%sconst privileges = [
  ...targets.map(([db, collection, actions]) => ({ resource: { db, collection }, actions })),
  // Who cleans what at present; made by the first pass.
  ...leases.map((db) => ({
    resource: { db, collection: "%s" }, actions: ["find", "insert", "update", "createCollection"],
  })),
  ...leases.map((db) => ({ resource: { db, collection: "" }, actions: ["listCollections"] })),
%s];
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


_TEMPLATES = """\
// Collections that are in many databases: those that are there now. Run it again when one was added.
const templates = %s;
const present = db.adminCommand({ listDatabases: 1, nameOnly: true, authorizedDatabases: false }).databases
  .map(({ name }) => name)
  .filter((name) => !["admin", "config", "local"].includes(name));
const listed = new Set(targets.map(([name]) => name));
for (const { names, like, but, collection, actions } of templates) {
  for (const name of new Set([...present, ...names])) {
    const meant = names.includes(name) || new RegExp(like, "su").test(name);
    if (!meant || new RegExp(but, "su").test(name)) continue;
    const same = targets.find((each) => each[0] === name && each[1] === collection);
    if (same) same[2] = [...new Set([...same[2], ...actions])];
    else targets.push([name, collection, actions]);
    listed.add(name);
  }
}
"""
_LISTING = """\
  ...[...listed].filter((db) => !leases.includes(db)).map((db) => ({
    resource: { db, collection: "" }, actions: ["listCollections"],
  })),
  // To find the databases that the targets mean.
  { resource: { cluster: true }, actions: ["listDatabases"] },
"""


def role_script(targets: Sequence[Target], default_database: str | None) -> str:
    """The script. `default_database` is the one that the store's URL names; None becomes a placeholder to fill in."""
    wanted: dict[tuple[str, str], set[str]] = {}
    templates: list[tuple[Members, str, list[str]]] = []
    databases: dict[str, None] = {}
    for target in targets:
        name = _database(target, default_database)
        # The leases of a target that is in many databases are in that of the URL.
        databases[name] = None
        if target.members is not None and target.members.databases:
            templates.append((target.members, _collection(target), actions(target)))
        else:
            wanted.setdefault((name, _collection(target)), set()).update(actions(target))
    written = [[database, name, sorted(needed)] for (database, name), needed in wanted.items()]
    rows = "".join(f"  {json.dumps(each)},\n" for each in written)
    leases = json.dumps(list(databases))
    if not templates:
        return _HEAD % (f"[\n{rows}]", leases, "", COLLECTION, "")
    many = "".join(f"  {json.dumps(_template(*each))},\n" for each in templates)
    return _HEAD % (f"[\n{rows}]", leases, _TEMPLATES % f"[\n{many}]", COLLECTION, _LISTING)


def _template(members: Members, collection: str, needed: list[str]) -> dict[str, object]:
    names = [each for each in members.databases if is_name(each)]
    like = any_of([each for each in members.databases if not is_name(each)])
    but = any_of(members.exclude)
    return {"names": names, "like": like, "but": but, "collection": collection, "actions": sorted(needed)}


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
