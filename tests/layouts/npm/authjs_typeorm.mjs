import { TypeORMAdapter } from "@auth/typeorm-adapter";

import { answers, App, visits } from "./lib/authjs.mjs";
import { main } from "./lib/main.mjs";

// It makes its own tables. gen_random_uuid() is PostgreSQL's own; TypeORM would rather have an extension.
const source = (url) => ({ type: "postgres", url, synchronize: true, uuidExtension: "pgcrypto", installExtensions: false });

const app = (url) => new App(TypeORMAdapter(source(url)));

await main({
  create: (url) => visits(app(url)),
  alive: async (url, known) => {
    const { sessions, links } = await answers(app(url), known);
    return { sessions, verification_tokens: links };
  },
});
