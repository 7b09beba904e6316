// An application on better-auth, over any database or secondary storage.
import { createHash, randomBytes } from "node:crypto";

import { apiKey } from "@better-auth/api-key";
import { oauthProvider } from "@better-auth/oauth-provider";
import { betterAuth } from "better-auth";
import { deviceAuthorization, jwt } from "better-auth/plugins";
import { exportJWK, generateKeyPair, SignJWT } from "jose";

import { at, DAY, HOUR, MINUTE } from "./clock.mjs";

const SITE = "http://app.example";
const BACK = "https://client.example/back";

export class App {
  constructor(options, { oauth = false } = {}) {
    this.oauth = oauth;
    const provider = { scopes: ["openid", "offline_access", "read"], clientPrivileges: () => true, loginPage: "/login", consentPage: "/consent", silenceWarnings: { oauthAuthServerConfig: true, openidConfig: true } };
    this.options = {
      baseURL: SITE,
      secret: "secret-of-thirty-two-characters-at-least",
      emailAndPassword: {
        enabled: true,
        // Their own hash takes its time, which is its purpose.
        password: { hash: async (password) => password, verify: async ({ hash, password }) => hash === password },
        sendResetPassword: async ({ token }) => void (this.reset = token),
      },
      rateLimit: { enabled: false },
      telemetry: { enabled: false },
      logger: { disabled: true },
      plugins: [apiKey({ rateLimit: { enabled: false } }), ...(oauth ? [jwt(), oauthProvider(provider), deviceAuthorization()] : [])],
      ...options,
    };
    this.auth = betterAuth(this.options);
  }

  async ask(path, { cookie = "", body, form } = {}) {
    const headers = { cookie, origin: SITE };
    if (body) headers["content-type"] = "application/json";
    const sent = body ? JSON.stringify(body) : form && new URLSearchParams(form);
    const request = new Request(`${SITE}/api/auth${path}`, { method: sent ? "POST" : "GET", headers, body: sent });
    return this.auth.handler(request);
  }

  async login(email, more = {}) {
    const answer = await this.ask("/sign-in/email", { body: { email, password: "password", ...more } });
    if (answer.status !== 200) throw new Error(await answer.text());
    return cookieIn(answer);
  }

  async signUp(email) {
    const answer = await this.ask("/sign-up/email", { body: { email, password: "password", name: email } });
    if (answer.status !== 200) throw new Error(await answer.text());
    return cookieIn(answer);
  }

  async resetLink(email) {
    await this.ask("/request-password-reset", { body: { email, redirectTo: "/reset" } });
    return this.reset;
  }

  async acceptsSession(cookie) {
    return Boolean((await (await this.ask("/get-session", { cookie })).json())?.session);
  }

  async acceptsReset(token) {
    const answer = await this.ask(`/reset-password/${token}?callbackURL=/reset`);
    return !new URL(answer.headers.get("location"), SITE).searchParams.has("error");
  }

  async acceptsKey(key) {
    return (await this.auth.api.verifyApiKey({ body: { key } })).valid;
  }

  async ids(model) {
    const { adapter } = await this.auth.$context;
    return (await adapter.findMany({ model, limit: 10_000 })).map((row) => row.id);
  }

  // What the row is called that this wrote, as the database has only a hash of the token.
  async written(model, what) {
    const before = new Set(await this.ids(model));
    const answer = await what();
    const [id] = (await this.ids(model)).filter((one) => !before.has(one));
    return [id, answer];
  }
}

function cookieIn(answer) {
  return answer.headers.getSetCookie().map((cookie) => cookie.split(";")[0]).join("; ");
}

export function tokenIn(cookie) {
  return decodeURIComponent(cookie.match(/session_token=([^;]*)/)[1]).split(".")[0];
}

export async function visits(app) {
  const known = { sessions: [], resets: [], keys: {}, accessTokens: {}, refreshTokens: {}, assertions: {}, devices: [] };
  const user = "user@example.com";
  const login = async (ago, more) => {
    const cookie = await at(-ago, () => app.login(user, more));
    known.sessions.push(cookie);
    return cookie;
  };
  const first = await at(-400 * DAY, () => app.signUp(user));
  known.sessions.push(first);
  for (const days of [0, 1, 6, 6.9, 7.1, 8, 30, 300]) await login(days * DAY);
  for (const hours of [1, 23, 25, 200]) await login(hours * HOUR, { rememberMe: false });
  const renewed = await login(9 * DAY);
  await at(-4 * DAY, () => app.ask("/get-session", { cookie: renewed }));
  const renewedAndOver = await login(30 * DAY);
  await at(-25 * DAY, () => app.ask("/get-session", { cookie: renewedAndOver }));
  const left = await login(2 * DAY);
  await at(-DAY, () => app.ask("/sign-out", { cookie: left, body: {} }));
  const revoked = await login(2 * DAY);
  await at(-DAY, () => app.ask("/revoke-session", { cookie: known.sessions[1], body: { token: tokenIn(revoked) } }));

  await apiKeys(app, known, first);
  if (app.oauth) await tokens(app, known, login, user);
  // Looking one up removes those that are over, so they come last.
  for (const minutes of [0, 10, 55, 65, 600, 60 * 24 * 30]) known.resets.push(await at(-minutes * MINUTE, () => app.resetLink(user)));
  return known;
}

async function apiKeys(app, known, cookie) {
  const { user } = await at(-400 * DAY, async () => (await app.ask("/get-session", { cookie })).json());
  const create = async (ago, expiresIn) => {
    const body = { userId: user.id, ...(expiresIn ? { expiresIn: expiresIn / 1000 } : {}) };
    const made = await at(-ago, () => app.auth.api.createApiKey({ body }));
    known.keys[made.id] = made.key;
    return made;
  };
  for (const days of [0, 4, 4.9, 5.1, 200]) await create(days * DAY, 5 * DAY);
  await create(900 * DAY); // for ever
  const prolonged = await create(9 * DAY, 5 * DAY);
  await at(-6 * DAY, () => app.auth.api.updateApiKey({ body: { keyId: prolonged.id, userId: user.id, expiresIn: 864000 } }));
}

async function tokens(app, known, login, user) {
  const cookie = await app.login(user);
  known.sessions.push(cookie);
  const client = await app.auth.api.adminCreateOAuthClient({
    headers: { cookie },
    body: { redirect_uris: [BACK], scope: "openid offline_access", skip_consent: true, token_endpoint_auth_method: "client_secret_post" },
  });
  known.client = { client_id: client.client_id, client_secret: client.client_secret };

  const token = async (form) => {
    const answer = await app.ask("/oauth2/token", { form: { ...known.client, ...form } });
    const made = await answer.json();
    if (!made.access_token) throw new Error(JSON.stringify(made));
    return made;
  };
  const remember = async (ago, what) => {
    const [refreshId, [accessId, made]] = await app.written("oauthRefreshToken", () =>
      app.written("oauthAccessToken", () => at(-ago, what)));
    known.accessTokens[accessId] = made.access_token;
    if (refreshId) known.refreshTokens[refreshId] = made.refresh_token;
    return made;
  };
  const authorize = async (ago, sessionCookie) =>
    remember(ago, async () => {
      const verifier = randomBytes(32).toString("base64url");
      const asked = new URLSearchParams({
        response_type: "code", client_id: client.client_id, redirect_uri: BACK, scope: "openid offline_access", state: "s",
        code_challenge: createHash("sha256").update(verifier).digest("base64url"), code_challenge_method: "S256",
      });
      const answer = await app.ask(`/oauth2/authorize?${asked}`, { cookie: sessionCookie });
      const code = new URL(answer.headers.get("location")).searchParams.get("code");
      return token({ grant_type: "authorization_code", code, redirect_uri: BACK, code_verifier: verifier });
    });
  const refresh = (ago, made) => remember(ago, () => token({ grant_type: "refresh_token", refresh_token: made.refresh_token }));

  for (const ago of [0, 50 * MINUTE, 70 * MINUTE, 5 * DAY, 29 * DAY, 31 * DAY, 90 * DAY]) await authorize(ago, await login(ago));
  let chain = await authorize(40 * DAY, await login(40 * DAY));
  for (const ago of [20 * DAY, 2 * DAY, 10 * MINUTE]) chain = await refresh(ago, chain);
  const revoked = await authorize(3 * DAY, await login(3 * DAY));
  const form = { ...known.client, token: revoked.refresh_token, token_type_hint: "refresh_token" };
  await at(-2 * DAY, () => app.ask("/oauth2/revoke", { form }));
  // The session ended a minute ago, and the access token of its last minutes has not run out.
  await authorize(20 * MINUTE, await login(DAY + MINUTE, { rememberMe: false }));
  await assertions(app, known, cookie, remember);
  for (const minutes of [0, 25, 35, 3000]) {
    const answer = await at(-minutes * MINUTE, () => app.ask("/device/code", { body: { client_id: known.client.client_id } }));
    known.devices.push((await answer.json()).user_code);
  }
}

// A client that proves itself with a signed assertion, which counts once.
async function assertions(app, known, cookie, remember) {
  const { publicKey, privateKey } = await generateKeyPair("ES256");
  const { client_id } = await app.auth.api.adminCreateOAuthClient({
    headers: { cookie },
    body: {
      redirect_uris: [BACK], scope: "read", client_credentials_scopes: ["read"], grant_types: ["client_credentials"],
      token_endpoint_auth_method: "private_key_jwt",
      jwks: { keys: [{ ...(await exportJWK(publicKey)), alg: "ES256", kid: "1" }] },
    },
  });
  const url = `${SITE}/api/auth/oauth2/token`;
  for (const minutes of [0, 1, 7, 20, 3000]) {
    const issued = Math.floor(Date.now() / 1000) - minutes * 60;
    const jwt = new SignJWT({ jti: randomBytes(9).toString("hex") }).setProtectedHeader({ alg: "ES256", kid: "1" });
    jwt.setIssuer(client_id).setSubject(client_id).setAudience(url).setIssuedAt(issued).setExpirationTime(issued + 290);
    const form = {
      grant_type: "client_credentials",
      client_assertion_type: "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
      client_assertion: await jwt.sign(privateKey),
    };
    const [id] = await app.written("oauthClientAssertion", () =>
      remember(minutes * MINUTE, async () => {
        const made = await (await app.ask("/oauth2/token", { form })).json();
        if (!made.access_token) throw new Error(JSON.stringify(made));
        return made;
      }));
    known.assertions[id] = form;
  }
}

export async function answers(app, known) {
  const found = { sessions: {}, resets: {}, keys: {}, accessTokens: {}, refreshTokens: {}, assertions: {}, devices: {} };
  const introspect = async (token, hint) => {
    const answer = await app.ask("/oauth2/introspect", { form: { ...known.client, token, token_type_hint: hint } });
    return Boolean((await answer.json()).active);
  };
  for (const [id, token] of Object.entries(known.accessTokens)) found.accessTokens[id] = await introspect(token, "access_token");
  for (const [id, token] of Object.entries(known.refreshTokens)) found.refreshTokens[id] = await introspect(token, "refresh_token");
  // Never again; but as long as it has not run out, the row is what says so.
  for (const [id, form] of Object.entries(known.assertions)) {
    const { error_description } = await (await app.ask("/oauth2/token", { form })).json();
    if (!error_description) throw new Error("accepted again");
    found.assertions[id] = error_description.includes("already been used");
  }
  for (const code of known.devices) found.devices[code] = (await app.ask(`/device?user_code=${code}`)).status === 200;
  for (const token of known.resets) found.resets[`reset-password:${token}`] = await app.acceptsReset(token);
  for (const [id, key] of Object.entries(known.keys)) found.keys[id] = await app.acceptsKey(key);
  for (const cookie of known.sessions) found.sessions[tokenIn(cookie)] = await app.acceptsSession(cookie);
  return found;
}
