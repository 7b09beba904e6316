import MongoStore from "connect-mongo";
import { MongoClient } from "mongodb";

import { answers, App, visits } from "./lib/express_session.mjs";
import { main } from "./lib/main.mjs";

const store = (url, autoRemove, more = {}) => MongoStore.create({ mongoUrl: url, autoRemove, ...more });

await main({
  create: async (url, _, how) => visits(await new App(store(url, how)).start()),
  alive: async (url, known) => ({ sessions: await answers(await new App(store(url, "disabled")).start(), known) }),
  // Its own timer, which does not say when it is done.
  clean: async (url) => {
    const over = { expires: { $lt: new Date() } };
    const sessions = (await MongoClient.connect(url)).db().collection("sessions");
    store(url, "interval", { autoRemoveInterval: 0.005 });
    while (await sessions.countDocuments(over)) await new Promise((done) => setTimeout(done, 50));
  },
});
