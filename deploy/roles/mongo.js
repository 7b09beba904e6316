// The least that cleanup-pipeline needs of this deployment. For an administrator:
//   mongosh "mongodb://ADMIN@HOST/admin" --file THIS_FILE
// It asks for the password of the new user. May be run again.
const targets = [
  ["flask_session", "sessions", ["find", "listIndexes", "remove"]],
  ["app", "login_links", ["find", "listIndexes", "remove"]],
];
const leases = ["flask_session", "app"];
const privileges = [
  ...targets.map(([db, collection, actions]) => ({ resource: { db, collection }, actions })),
  // Who cleans what at present; made by the first pass.
  ...leases.map((db) => ({
    resource: { db, collection: "cleanup_pipeline_leases" }, actions: ["find", "insert", "update", "createCollection"],
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
