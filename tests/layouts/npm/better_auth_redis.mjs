import { redisStorage } from "@better-auth/redis-storage";
import { memoryAdapter } from "better-auth/adapters/memory";
import { Redis } from "ioredis";

import { answers, App, visits } from "./lib/better_auth.mjs";
import { main } from "./lib/main.mjs";

const PREFIX = "better-auth:";
const TABLES = ["user", "session", "account", "verification", "apikey"];

// What an application writes by hand, and what many write: without the TTL.
const ownStorage = (client) => ({
  get: (key) => client.get(PREFIX + key),
  set: async (key, value) => void (await client.set(PREFIX + key, value)),
  delete: async (key) => void (await client.del(PREFIX + key)),
});

function start(url, how, tables = Object.fromEntries(TABLES.map((name) => [name, []]))) {
  const client = new Redis(url);
  const secondaryStorage = how === "package" ? redisStorage({ client }) : ownStorage(client);
  return { tables, app: new App({ database: memoryAdapter(tables), secondaryStorage }) };
}

await main({
  create: async (url, _, how) => {
    const { tables, app } = start(url, how);
    return { ...(await visits(app)), tables };
  },
  alive: async (url, known, how) => {
    const { app } = start(url, how, known.tables);
    const { sessions, resets } = await answers(app, { ...known, keys: {} });
    const found = {};
    for (const [token, alive] of Object.entries(sessions)) found[PREFIX + token] = alive;
    for (const [name, alive] of Object.entries(resets)) found[`${PREFIX}verification:${name}`] = alive;
    return { "": found };
  },
});
