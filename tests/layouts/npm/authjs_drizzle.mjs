import { DrizzleAdapter } from "@auth/drizzle-adapter";
import { drizzle } from "drizzle-orm/node-postgres";
import pg from "pg";

import { answers, App, visits } from "./lib/authjs.mjs";
import { createTable } from "./lib/drizzle.mjs";
import { main } from "./lib/main.mjs";

// The adapter's own tables, as it has them when it is given none.
const { defineTables } = await import(new URL("./lib/pg.js", import.meta.resolve("@auth/drizzle-adapter")));

function app(pool) {
  return new App(DrizzleAdapter(drizzle(pool)));
}

await main({
  create: async (url) => {
    const pool = new pg.Pool({ connectionString: url });
    for (const table of Object.values(defineTables())) await pool.query(createTable(table));
    return visits(app(pool));
  },
  alive: async (url, known) => {
    const { sessions, links } = await answers(app(new pg.Pool({ connectionString: url })), known);
    return { session: sessions, verificationToken: links };
  },
});
