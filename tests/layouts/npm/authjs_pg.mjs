import PostgresAdapter from "@auth/pg-adapter";
import pg from "pg";

import { answers, App, visits } from "./lib/authjs.mjs";
import { main } from "./lib/main.mjs";

// The package brings no schema: this is that of its documentation.
const SCHEMA = `
  CREATE TABLE verification_token (
    identifier TEXT NOT NULL, expires TIMESTAMPTZ NOT NULL, token TEXT NOT NULL, PRIMARY KEY (identifier, token)
  );
  CREATE TABLE accounts (
    id SERIAL, "userId" INTEGER NOT NULL, type VARCHAR(255) NOT NULL, provider VARCHAR(255) NOT NULL,
    "providerAccountId" VARCHAR(255) NOT NULL, refresh_token TEXT, access_token TEXT, expires_at BIGINT, id_token TEXT,
    scope TEXT, session_state TEXT, token_type TEXT, PRIMARY KEY (id)
  );
  CREATE TABLE sessions (
    id SERIAL, "userId" INTEGER NOT NULL, expires TIMESTAMPTZ NOT NULL, "sessionToken" VARCHAR(255) NOT NULL, PRIMARY KEY (id)
  );
  CREATE TABLE users (
    id SERIAL, name VARCHAR(255), email VARCHAR(255), "emailVerified" TIMESTAMPTZ, image TEXT, PRIMARY KEY (id)
  );`;

function app(pool) {
  return new App(PostgresAdapter(pool));
}

await main({
  create: async (url) => {
    const pool = new pg.Pool({ connectionString: url });
    await pool.query(SCHEMA);
    return visits(app(pool));
  },
  alive: async (url, known) => {
    const { sessions, links } = await answers(app(new pg.Pool({ connectionString: url })), known);
    return { sessions, verification_token: links };
  },
});
