/** The clock that all players on the page follow. Pure: the machine's time is an argument, in ms. */

/** @typedef {{at: number, since: number, playing: boolean, rate: number, held: boolean}} Clock `at` in µs at `since` ms */

/** @param {number} at @returns {Clock} */
export function clockAt(at) {
  return { at, since: 0, playing: false, rate: 1, held: false };
}

/**
 * The instant shown; never later than `last`.
 * @param {Clock} clock
 * @param {number} now ms
 * @param {number} last µs
 */
export function read(clock, now, last = Infinity) {
  const runs = clock.playing && !clock.held;
  const at = runs ? clock.at + (now - clock.since) * 1000 * clock.rate : clock.at;
  return Math.min(Math.round(at), last);
}

/**
 * The clock after a change: of `at` (a seek), `playing`, `rate`, or `held` (waiting for pictures).
 * @param {Clock} clock
 * @param {number} now ms
 * @param {Partial<Pick<Clock, "at" | "playing" | "rate" | "held">>} change
 * @param {number} last µs
 * @returns {Clock}
 */
export function changed(clock, now, change, last = Infinity) {
  const at = Math.min(change.at ?? read(clock, now, last), last);
  return { ...clock, ...change, at, since: now };
}

const IN_STEP_S = 0.03;
const JUMP_S = 0.6;
const MOST = 0.12;

/**
 * How a video corrects its drift: not at all, by another speed, or by a seek.
 * @param {number} behind seconds that it is behind the clock
 * @param {number} rate of the clock
 * @returns {{jump: boolean, rate: number}}
 */
export function correction(behind, rate) {
  if (Math.abs(behind) > JUMP_S * Math.max(1, rate)) return { jump: true, rate };
  if (Math.abs(behind) < IN_STEP_S) return { jump: false, rate };
  const by = Math.max(-MOST, Math.min(MOST, behind));
  return { jump: false, rate: rate * (1 + by) };
}
