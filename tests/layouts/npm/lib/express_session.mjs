// An application on express-session, with any store: it is visited by HTTP, with cookies.
import { createServer } from "node:http";
import session from "express-session";

import { at, DAY, HOUR, MINUTE } from "./clock.mjs";

export { session };

export class App {
  constructor(store, options = {}) {
    this.middleware = session({
      store,
      secret: "secret",
      resave: false,
      saveUninitialized: false,
      cookie: { maxAge: HOUR },
      ...options,
    });
    this.server = createServer((req, res) => {
      this.middleware(req, res, async (fault) => {
        if (fault) return res.writeHead(500).end(String(fault));
        const [, action, argument] = req.url.split("/");
        if (action === "login") req.session.name = argument;
        if (action === "login" && req.headers["x-max-age"]) req.session.cookie.maxAge = Number(req.headers["x-max-age"]);
        if (action === "login" && req.headers["x-max-age"] === "browser") req.session.cookie.expires = false;
        if (action === "rotate") {
          await new Promise((done) => req.session.regenerate(done));
          req.session.name = argument;
        }
        if (action === "logout") await new Promise((done) => req.session.destroy(done));
        res.end(req.session?.name ?? "");
      });
    });
  }

  async start() {
    await new Promise((done) => this.server.listen(0, "127.0.0.1", done));
    this.base = `http://127.0.0.1:${this.server.address().port}`;
    return this;
  }

  // What the application answers: the name in the session, or nothing. With the cookie for the next visit.
  async visit(path, cookie, headers = {}) {
    const answer = await fetch(this.base + path, { headers: { ...headers, ...(cookie ? { cookie } : {}) } });
    const text = await answer.text();
    if (answer.status !== 200) throw new Error(text);
    const set = answer.headers.get("set-cookie");
    const until = set?.match(/Expires=([^;]*)/)?.[1];
    return { name: text, cookie: set ? set.split(";")[0] : cookie, until: until && Date.parse(until) };
  }
}

export function idOf(cookie) {
  return decodeURIComponent(cookie.split("=")[1]).slice(2).split(".")[0];
}

// Sessions of all kinds, by the application's own means. Answers with the cookies that browsers hold, and until when.
export async function visits(app) {
  const cookies = {};
  const until = {};
  const login = async (name, ago, maxAge) => {
    const headers = maxAge === undefined ? {} : { "x-max-age": String(maxAge) };
    const seen = await at(-ago, () => app.visit(`/login/${name}`, undefined, headers));
    cookies[name] = seen.cookie;
    until[name] = seen.until;
    return seen.cookie;
  };
  for (const minutes of [0, 1, 30, 55, 65, 90, 600, 60 * 24 * 40]) await login(`after-${minutes}`, minutes * MINUTE);
  for (const hours of [1, 5, 11, 13, 15, 24 * 20]) await login(`half-a-day-${hours}`, hours * HOUR, 12 * HOUR);
  await login("month", 20 * DAY, 30 * DAY);
  await login("month-over", 31 * DAY, 30 * DAY);
  await login("browser", HOUR, "browser");
  await login("browser-over", 30 * DAY, "browser");
  const read = async (name, ago) => {
    const seen = await at(-ago, () => app.visit("/", cookies[name]));
    until[name] = seen.until ?? until[name];
  };
  await login("touched", 100 * MINUTE);
  await read("touched", 50 * MINUTE);
  await login("touched-and-over", 400 * MINUTE);
  await read("touched-and-over", 350 * MINUTE);
  await app.visit("/logout", await login("left", 10 * MINUTE));
  const rotated = await app.visit("/rotate/rotated", await login("before-rotation", 10 * MINUTE));
  cookies.rotated = rotated.cookie;
  until.rotated = rotated.until;
  return { cookies, until };
}

// What the application says to each of them.
export async function answers(app, { cookies }) {
  const found = {};
  for (const [name, cookie] of Object.entries(cookies)) found[idOf(cookie)] = (await app.visit("/", cookie)).name === name;
  return found;
}

// The same for a store that never says no: a browser does not send a cookie that is over.
export async function sentAnswers(app, { cookies, until }) {
  const found = await answers(app, { cookies });
  for (const [name, cookie] of Object.entries(cookies)) if (until[name] < Date.now()) found[idOf(cookie)] = false;
  return found;
}
