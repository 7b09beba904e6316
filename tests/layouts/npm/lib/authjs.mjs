// An application on Auth.js with links by e-mail and sessions in a database, behind any adapter.
import { createHash } from "node:crypto";

import { Auth } from "@auth/core";

import { at, DAY, HOUR, MINUTE } from "./clock.mjs";

const SITE = "http://app.example/auth";
const SECRET = "secret";

export class App {
  constructor(adapter) {
    this.adapter = adapter;
    this.config = {
      adapter,
      basePath: "/auth",
      secret: SECRET,
      trustHost: true,
      session: { strategy: "database" },
      providers: [
        { id: "email", type: "email", name: "Email", sendVerificationRequest: async ({ url }) => void (this.link = url) },
      ],
    };
  }

  async ask(path, cookies = {}, form) {
    const headers = { cookie: Object.entries(cookies).map(([name, value]) => `${name}=${value}`).join("; ") };
    const body = form && new URLSearchParams(form);
    const url = path.startsWith("http") ? path : SITE + path;
    const answer = await Auth(new Request(url, { method: form ? "POST" : "GET", headers, body }), this.config);
    for (const cookie of answer.headers.getSetCookie()) {
      const [, name, value] = cookie.match(/^([^=]+)=([^;]*)/);
      if (value) cookies[name] = value;
      else delete cookies[name];
    }
    return answer;
  }

  async post(path, cookies, form) {
    const { csrfToken } = await (await this.ask("/csrf", cookies)).json();
    return this.ask(path, cookies, { ...form, csrfToken });
  }

  // A link as it is sent by e-mail.
  async linkFor(email) {
    await this.post("/signin/email", {}, { email });
    return this.link;
  }

  async login(email) {
    const cookies = {};
    await this.ask(await this.linkFor(email), cookies);
    if (!tokenIn(cookies)) throw new Error("no session");
    return cookies;
  }

  async accepts(link) {
    const answer = await this.ask(link);
    return !new URL(answer.headers.get("location"), SITE).searchParams.has("error");
  }
}

function tokenIn(cookies) {
  return cookies["authjs.session-token"];
}

// The database has only a hash of what is in the link.
function storedToken(link) {
  return createHash("sha256").update(new URL(link).searchParams.get("token") + SECRET).digest("hex");
}

export async function visits(app) {
  const browsers = [];
  const login = async (name, ago) => {
    const cookies = await at(-ago, () => app.login(`${name}@example.com`));
    browsers.push(cookies);
    return cookies;
  };
  for (const days of [0, 1, 20, 29, 29.9, 30.1, 31, 60, 400]) {
    await login("many", days * DAY);
    await login(`user-${Math.round(days * 10)}`, days * DAY);
  }
  const renewed = await login("renewed", 40 * DAY);
  await at(-20 * DAY, () => app.ask("/session", renewed));
  const renewedAndOver = await login("renewed-and-over", 80 * DAY);
  await at(-60 * DAY, () => app.ask("/session", renewedAndOver));
  const left = await login("left", DAY);
  await app.post("/signout", left, {});
  const links = [];
  for (const ago of [0, HOUR, 23 * HOUR, 24 * HOUR - 5 * MINUTE, 24 * HOUR + 5 * MINUTE, 3 * DAY, 50 * DAY]) {
    links.push(await at(-ago, () => app.linkFor("many@example.com")));
    links.push(await at(-ago, () => app.linkFor(`nobody-${ago}@example.com`)));
  }
  const user = await app.adapter.getUserByEmail("user-4000@example.com");
  const account = { userId: user.id, type: "oauth", provider: "github", providerAccountId: "1", access_token: "a" };
  await app.adapter.linkAccount({ ...account, refresh_token: "r", expires_at: Math.floor(Date.now() / 1000) - 86400 });
  return { sessions: browsers.filter(tokenIn), links };
}

export async function answers(app, { sessions, links }) {
  const found = { sessions: {}, links: {} };
  for (const cookies of sessions) {
    const answer = await (await app.ask("/session", { ...cookies })).json();
    found.sessions[tokenIn(cookies)] = Boolean(answer?.user);
  }
  for (const link of links) found.links[storedToken(link)] = await app.accepts(link);
  return found;
}
