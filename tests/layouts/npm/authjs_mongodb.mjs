import { MongoDBAdapter } from "@auth/mongodb-adapter";
import { MongoClient } from "mongodb";

import { answers, App, visits } from "./lib/authjs.mjs";
import { main } from "./lib/main.mjs";

const app = (url) => new App(MongoDBAdapter(new MongoClient(url), { databaseName: new URL(url).pathname.slice(1) }));

await main({
  create: (url) => visits(app(url)),
  alive: async (url, known) => {
    const { sessions, links } = await answers(app(url), known);
    return { sessions, verification_tokens: links };
  },
});
