import connectPgSimple from "connect-pg-simple";

import { answers, App, session, visits } from "./lib/express_session.mjs";
import { main } from "./lib/main.mjs";

function store(url) {
  return new (connectPgSimple(session))({ conString: url, createTableIfMissing: true, pruneSessionInterval: false });
}

await main({
  create: async (url) => visits(await new App(store(url)).start()),
  alive: async (url, known) => ({ session: await answers(await new App(store(url)).start(), known) }),
  clean: (url) => new Promise((done, failed) => store(url).pruneSessions((fault) => (fault ? failed(fault) : done()))),
});
