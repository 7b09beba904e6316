// Lets a framework do things in the past: inside at(), the time is what it is, plus so many ms.
let shift = 0;
const Real = Date;

class Shifted extends Real {
  constructor(...given) {
    if (given.length) super(...given);
    else super(Real.now() + shift);
  }
  static now() {
    return Real.now() + shift;
  }
  static [Symbol.hasInstance](value) {
    return Function.prototype[Symbol.hasInstance].call(Real, value);
  }
}
globalThis.Date = Shifted;

export const MINUTE = 60_000;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;

export async function at(ms, what) {
  shift = ms;
  try {
    return await what();
  } finally {
    shift = 0;
  }
}
