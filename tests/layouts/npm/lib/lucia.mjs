// Sessions of Lucia, with any adapter.
import { Lucia, TimeSpan } from "lucia";

import { at, DAY } from "./clock.mjs";

export function luciaOn(adapter) {
  return new Lucia(adapter, { sessionExpiresIn: new TimeSpan(30, "d") });
}

export async function visits(lucia) {
  const sessions = [];
  const login = async (ago, user = "user") => {
    const { id } = await at(-ago, () => lucia.createSession(user, {}));
    sessions.push(id);
    return id;
  };
  for (const days of [0, 1, 14, 16, 29.9, 30.1, 31, 90, 1000]) await login(days * DAY);
  const renewed = await login(40 * DAY);
  await at(-20 * DAY, () => lucia.validateSession(renewed));
  const renewedAndOver = await login(90 * DAY);
  await at(-70 * DAY, () => lucia.validateSession(renewedAndOver));
  await lucia.invalidateSession(await login(DAY));
  for (const days of [1, 90]) await login(days * DAY, "left");
  await lucia.invalidateUserSessions("left");
  return { sessions };
}

export async function answers(lucia, { sessions }) {
  const found = {};
  for (const id of sessions) found[id] = (await lucia.validateSession(id)).session !== null;
  return found;
}
