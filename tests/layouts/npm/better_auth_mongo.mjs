import { mongodbAdapter } from "better-auth/adapters/mongodb";
import { MongoClient } from "mongodb";

import { answers, App, visits } from "./lib/better_auth.mjs";
import { main } from "./lib/main.mjs";

const app = (url) => new App({ database: mongodbAdapter(new MongoClient(url).db(), { transaction: false }) }, { oauth: true });

await main({
  create: (url) => visits(app(url)),
  alive: async (url, known) => {
    const { sessions, resets, ...others } = await answers(app(url), known);
    return { session: sessions, verification: resets, ...others };
  },
  clean: (url) => app(url).acceptsReset("unknown"),
});
