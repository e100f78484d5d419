/** Timelines of cameras and days: requested on demand, few at a time, again while they may change. */

import { timeline } from "./api.js";
import { MINUTE } from "./time.js";

/** @typedef {import("./bar.js").State} State */
/** @typedef {import("./bar.js").Window} Window */
/** @typedef {{states: State[] | null, asked: number, busy: boolean}} Known */

const AT_ONCE = 4;
const CHANGING_MS = 8000;
const SETTLED_MS = 600_000;
const KEPT = 300;

/** Dispatches `change` when a response has arrived. */
export class Timelines extends EventTarget {
  constructor() {
    super();
    /** @type {Map<string, Known>} */
    this.known = new Map();
    /** @type {(() => Promise<void>)[]} */
    this.waiting = [];
    this.running = 0;
  }

  /**
   * The states of a window, or null while they are unknown. Requests them if due.
   * @param {string} camera
   * @param {Window} window
   */
  states(camera, window) {
    const key = `${camera} ${window.from}`;
    const known = this.known.get(key) ?? { states: null, asked: 0, busy: false };
    this.known.delete(key);
    this.known.set(key, known);
    const changes = window.to > (Date.now() * 1000) - 5 * MINUTE;
    const due = Date.now() - known.asked > (changes || !known.states ? CHANGING_MS : SETTLED_MS);
    if (due && !known.busy) this.ask(camera, window, known);
    for (const old of this.known.keys()) {
      if (this.known.size <= KEPT) break;
      this.known.delete(old);
    }
    return known.states;
  }

  /** @param {string} camera @param {Window} window @param {Known} known */
  ask(camera, window, known) {
    known.busy = true;
    this.waiting.push(async () => {
      known.asked = Date.now();
      try {
        known.states = await timeline(camera, window);
        this.dispatchEvent(new CustomEvent("change"));
      } catch (error) {
        dispatchEvent(new CustomEvent("refused", { detail: error }));
      } finally {
        known.busy = false;
      }
    });
    this.run();
  }

  async run() {
    if (this.running >= AT_ONCE) return;
    this.running += 1;
    for (let next = this.waiting.shift(); next; next = this.waiting.shift()) await next();
    this.running -= 1;
  }
}
