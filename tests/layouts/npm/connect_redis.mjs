import { RedisStore } from "connect-redis";
import { createClient } from "redis";

import { answers, App, idOf, sentAnswers, visits } from "./lib/express_session.mjs";
import { main } from "./lib/main.mjs";

async function connect(url) {
  return createClient({ url }).connect();
}

function start(client, how) {
  return new App(new RedisStore({ client, disableTTL: how !== "ttl" }), { rolling: how === "rolling" }).start();
}

function keys(found) {
  return Object.fromEntries(Object.entries(found).map(([id, alive]) => [`sess:${id}`, alive]));
}

// The keys of every third session lose their TTL, as they do when another program writes them.
const lost = (cookies) => Object.entries(cookies).filter((_, number) => number % 3 === 0);

await main({
  create: async (url, _, how) => {
    const client = await connect(url);
    const known = await visits(await start(client, how));
    for (const key of ["sess", "session:other", "sess-of-another", "tasks"]) await client.set(key, "{}");
    if (how === "ttl") for (const [, cookie] of lost(known.cookies)) await client.persist(`sess:${idOf(cookie)}`);
    return known;
  },
  alive: async (url, known, how) => {
    const app = await start(await connect(url), how);
    if (how !== "ttl") return { "": keys(await sentAnswers(app, known)) };
    const found = await answers(app, known);
    const sent = await sentAnswers(app, known);
    for (const [, cookie] of lost(known.cookies)) found[idOf(cookie)] = sent[idOf(cookie)];
    return { "": keys(found) };
  },
});
