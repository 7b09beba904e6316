import { drizzleAdapter } from "better-auth/adapters/drizzle";
import { getAuthTables } from "better-auth/db";
import { drizzle } from "drizzle-orm/node-postgres";
import { bigint, boolean, integer, pgTable, text, timestamp } from "drizzle-orm/pg-core";
import pg from "pg";

import { answers, App, visits } from "./lib/better_auth.mjs";
import { createTable } from "./lib/drizzle.mjs";
import { main } from "./lib/main.mjs";

const snake = (name) => name.replace(/([a-z\d])([A-Z])/g, "$1_$2").toLowerCase();
const number = (name) => bigint(name, { mode: "number" });

// The types and names that its own generator writes into a schema file.
function schemaOf(options) {
  const tables = Object.values(getAuthTables(options)).map(({ modelName, fields }) => {
    const columns = Object.entries(fields).map(([name, { type, required, unique, bigint: big, fieldName }]) => {
      const column = { string: text, boolean, date: timestamp, number: big ? number : integer }[type](snake(fieldName ?? name));
      const needed = required === false ? column : column.notNull();
      return [name, unique ? needed.unique() : needed];
    });
    return [modelName, pgTable(snake(modelName), { id: text("id").primaryKey(), ...Object.fromEntries(columns) })];
  });
  return Object.fromEntries(tables);
}

function start(url) {
  const pool = new pg.Pool({ connectionString: url });
  const schema = schemaOf(new App({}).options);
  return { pool, schema, app: new App({ database: drizzleAdapter(drizzle(pool, { schema }), { provider: "pg", schema }) }) };
}

await main({
  create: async (url) => {
    const { pool, schema, app } = start(url);
    for (const table of Object.values(schema)) await pool.query(createTable(table));
    return visits(app);
  },
  alive: async (url, known) => {
    const { sessions, resets, keys } = await answers(start(url).app, known);
    return { session: sessions, verification: resets, apikey: keys };
  },
});
