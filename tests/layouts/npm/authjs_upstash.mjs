import { UpstashRedisAdapter } from "@auth/upstash-redis-adapter";
import { Redis } from "@upstash/redis";

import { answers, App, visits } from "./lib/authjs.mjs";
import { main } from "./lib/main.mjs";
import { bridge } from "./lib/upstash_bridge.mjs";

async function start(redisUrl) {
  const { client, url } = await bridge(redisUrl);
  const redis = new Redis({ url, token: "token", responseEncoding: false, enableTelemetry: false });
  return { client, app: new App(UpstashRedisAdapter(redis)) };
}

await main({
  create: async (url) => visits((await start(url)).app),
  alive: async (url, known) => {
    const { client, app } = await start(url);
    // Before anybody is asked, as that removes some: a pointer is good for as long as its session is there.
    const pointers = await client.keys("user:session:by-user-id:*");
    const targets = await Promise.all(pointers.map((key) => client.get(key)));
    const tokens = await client.keys("user:token:*");
    const { sessions, links } = await answers(app, known);
    const found = Object.fromEntries(Object.entries(sessions).map(([token, alive]) => [`user:session:${token}`, alive]));
    for (const key of tokens) found[key] = links[key.split(":").at(-1)];
    pointers.forEach((key, at) => (found[key] = found[targets[at]] ?? false));
    return { "": found };
  },
});
