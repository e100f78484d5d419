/**
 * What a coverage bar shows, computed without a DOM. Pure.
 * @typedef {{state: string, from: number, to: number, cause?: string, detail?: string}} State µs, half-open
 * @typedef {{state: string, x: number, width: number}} Run pixels
 * @typedef {{from: number, to: number}} Window
 */

const KINDS = ["", "not_expected", "expired", "recorded", "pending", "gap"];
const LEAST_GAP_PX = 2;

/**
 * The bar's runs of colour, left to right; what is later than `now` is left out.
 *
 * If several states fall on one pixel, the shortest is shown: a gap of one second in a day must be visible.
 * @param {State[]} states
 * @param {Window} window
 * @param {number} px width of the bar
 * @param {number} now
 * @returns {Run[]}
 */
export function runs(states, window, px, now) {
  const columns = new Uint8Array(px);
  const perUs = px / (window.to - window.from);
  const cut = states.map((one) => ({ ...one, from: Math.max(one.from, window.from), to: Math.min(one.to, window.to, now) }));
  const seen = cut.filter((one) => one.from < one.to).sort((a, b) => b.to - b.from - (a.to - a.from));
  for (const one of seen) {
    const least = one.state === "gap" ? LEAST_GAP_PX : 1;
    const first = Math.min(Math.floor((one.from - window.from) * perUs), px - least);
    const last = Math.max(first + least, Math.round((one.to - window.from) * perUs));
    columns.fill(KINDS.indexOf(one.state), first, last);
  }
  return merged(columns);
}

/** @param {Uint8Array} columns @returns {Run[]} */
function merged(columns) {
  /** @type {Run[]} */
  const out = [];
  for (let x = 0; x < columns.length; x++) {
    if (x && columns[x] === columns[x - 1]) out[out.length - 1].width += 1;
    else out.push({ state: KINDS[columns[x]], x, width: 1 });
  }
  return out.filter((run) => run.state);
}

/**
 * The state that contains an instant.
 * @param {State[]} states
 * @param {number} us
 */
export function stateAt(states, us) {
  return states.find((one) => one.from <= us && us < one.to) ?? null;
}

/**
 * The gap to jump to: the first that starts later, or the last that starts earlier.
 * @param {State[]} states
 * @param {number} us
 * @param {1 | -1} direction
 */
export function gapFrom(states, us, direction) {
  const gaps = states.filter((one) => one.state === "gap");
  if (direction > 0) return gaps.find((one) => one.from > us) ?? null;
  return gaps.filter((one) => one.from < us - 500_000).at(-1) ?? null;
}

/**
 * Where footage resumes after an instant without it.
 * @param {State[]} states
 * @param {number} us
 */
export function footageAfter(states, us) {
  return states.find((one) => one.state === "recorded" && one.from > us)?.from ?? null;
}

/**
 * Whether it is known that a window holds no footage.
 * @param {State[]} states
 * @param {Window} window
 */
export function isBare(states, { from, to }) {
  const known = states.length > 0 && states[0].from <= from && to <= states[states.length - 1].to;
  return known && !states.some((one) => one.state === "recorded" && one.from < to && from < one.to);
}

/**
 * The step of an arrow key on a bar: one or two pixels, rounded.
 * @param {Window} window
 */
export function keyStep(window) {
  const span = window.to - window.from;
  if (span > 7_200_000_000) return 60_000_000;
  return span > 900_000_000 ? 10_000_000 : 1_000_000;
}

/**
 * Instants for the scale under a bar, about ten at most.
 * @param {Window} window
 */
export function ticks(window) {
  const span = window.to - window.from;
  const step = [60, 120, 300, 600, 1800, 3600, 7200, 10800].find((s) => span / (s * 1e6) <= 10) ?? 14400;
  const out = [];
  for (let at = window.from; at < window.to; at += step * 1e6) out.push(at);
  return out;
}
