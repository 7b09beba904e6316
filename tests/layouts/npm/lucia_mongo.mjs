import { MongodbAdapter } from "@lucia-auth/adapter-mongodb";
import { MongoClient } from "mongodb";

import { answers, luciaOn, visits } from "./lib/lucia.mjs";
import { main } from "./lib/main.mjs";

const database = (url) => new MongoClient(url).db();
const lucia = (db) => luciaOn(new MongodbAdapter(db.collection("sessions"), db.collection("users")));

await main({
  create: async (url) => {
    const db = database(url);
    await db.collection("users").insertMany([{ _id: "user" }, { _id: "left" }]);
    return visits(lucia(db));
  },
  alive: async (url, known) => ({ sessions: await answers(lucia(database(url)), known) }),
  clean: (url) => lucia(database(url)).deleteExpiredSessions(),
});
