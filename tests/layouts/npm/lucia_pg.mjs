import { NodePostgresAdapter } from "@lucia-auth/adapter-postgresql";
import pg from "pg";

import { answers, luciaOn, visits } from "./lib/lucia.mjs";
import { main } from "./lib/main.mjs";

// As its documentation has it.
const SCHEMA = `
  CREATE TABLE auth_user (id TEXT PRIMARY KEY);
  CREATE TABLE user_session (
    id TEXT PRIMARY KEY, expires_at TIMESTAMPTZ NOT NULL, user_id TEXT NOT NULL REFERENCES auth_user (id)
  );
  INSERT INTO auth_user VALUES ('user'), ('left');`;

const connect = (url) => new pg.Pool({ connectionString: url });
const lucia = (pool) => luciaOn(new NodePostgresAdapter(pool, { user: "auth_user", session: "user_session" }));

await main({
  create: async (url) => {
    const pool = connect(url);
    await pool.query(SCHEMA);
    return visits(lucia(pool));
  },
  alive: async (url, known) => ({ user_session: await answers(lucia(connect(url)), known) }),
  clean: (url) => lucia(connect(url)).deleteExpiredSessions(),
});
