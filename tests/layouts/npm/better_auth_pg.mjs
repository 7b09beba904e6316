import { getMigrations } from "better-auth/db/migration";
import pg from "pg";

import { answers, App, visits } from "./lib/better_auth.mjs";
import { main } from "./lib/main.mjs";

const app = (url, what) => new App({ database: new pg.Pool({ connectionString: url }) }, { oauth: what === "oauth" });

await main({
  create: async (url, _, what) => {
    const made = app(url, what);
    const { runMigrations } = await getMigrations(made.options);
    await runMigrations();
    return visits(made);
  },
  alive: async (url, known, what) => {
    const found = await answers(app(url, what), known);
    const oauth = what === "oauth" && {
      oauthAccessToken: found.accessTokens,
      oauthRefreshToken: found.refreshTokens,
      oauthClientAssertion: found.assertions,
      deviceCode: found.devices,
    };
    return { session: found.sessions, verification: found.resets, apikey: found.keys, ...oauth };
  },
  // Both by their own means: one when somebody looks a value up, the other when it is asked to.
  clean: async (url) => {
    const made = app(url);
    await made.acceptsReset("unknown");
    await made.auth.api.deleteAllExpiredApiKeys();
  },
});
