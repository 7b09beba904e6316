// Upstash's REST protocol in front of a server that speaks Redis's.
import { createServer } from "node:http";

import { createClient } from "redis";

export async function bridge(url) {
  const client = await createClient({ url }).connect();
  const answerTo = async (command) => {
    try {
      return { result: await client.sendCommand(command.map(String)) };
    } catch (fault) {
      return { error: fault.message };
    }
  };
  const server = createServer(async (req, res) => {
    let text = "";
    for await (const chunk of req) text += chunk;
    const sent = JSON.parse(text);
    const answer = req.url === "/pipeline" ? await Promise.all(sent.map(answerTo)) : await answerTo(sent);
    res.setHeader("content-type", "application/json");
    res.end(JSON.stringify(answer));
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  return { client, url: `http://127.0.0.1:${server.address().port}` };
}
