// node SCRIPT ACTION URL [ARGUMENT...] prints what the action answers as JSON. What `create` answered comes back on stdin
// for `alive`, which says of each record whether the framework still takes it: {table: {id: true | false}}.
import { readFileSync } from "node:fs";

export async function main(actions) {
  const [name, url, ...more] = process.argv.slice(2);
  const given = readFileSync(0, "utf8");
  const answer = await actions[name](url, given ? JSON.parse(given) : null, ...more);
  process.stdout.write(JSON.stringify(answer ?? null), () => process.exit(0));
}
