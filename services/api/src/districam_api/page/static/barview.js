/** The coverage bar on the page: a slider over a window of time that shows what is stored. */

import { keyStep, runs, stateAt, ticks } from "./bar.js";
import { h } from "./dom.js";
import { lasting, t } from "./i18n.js";
import { HOUR, local } from "./time.js";

/** @typedef {import("./bar.js").State} State */
/** @typedef {import("./bar.js").Window} Window */
/** @typedef {{window: Window, states: State[] | null, at: number, now: number, zone: string, marks?: {from: number | null, to: number | null}}} Shown */

/** The text for an instant. @param {State[] | null} states @param {number} at @param {number} now @param {string} zone */
export function told(states, at, now, zone) {
  const clock = local(at, zone).time;
  if (at >= now) return `${clock} · ${t("future")}`;
  const state = states && stateAt(states, at);
  return state ? `${clock} · ${described(state, now, zone)}` : clock;
}

/** A state in words: a gap with its cause, bounds and length. @param {State} state @param {number} now @param {string} zone */
export function described(state, now, zone) {
  if (state.state !== "gap") return t(state.state);
  const to = Math.min(state.to, now);
  const bounds = `${local(state.from, zone).time}–${local(to, zone).time} (${lasting(to - state.from)})`;
  return `${t("gapIs", { cause: t(`cause.${state.cause}`) })} · ${bounds}`;
}

export class Bar {
  /** @param {string} label @param {(at: number) => void} seek @param {HTMLElement} tip */
  constructor(label, seek, tip) {
    this.seek = seek;
    this.tip = tip;
    this.runs = h("div", { className: "runs" });
    this.marked = h("div", { className: "marked", hidden: true });
    this.needle = h("div", { className: "needle" });
    this.scale = h("div", { className: "scale", "aria-hidden": "true" });
    this.slider = h("div", {
      className: "bar", role: "slider", tabIndex: 0, "aria-label": label, "aria-valuemin": "0",
      onpointerdown: (/** @type {PointerEvent} */ e) => this.press(e),
      onpointermove: (/** @type {PointerEvent} */ e) => this.hover(e),
      onpointerleave: () => this.hide(),
      onkeydown: (/** @type {KeyboardEvent} */ e) => this.key(e),
      onfocus: () => this.tell(),
      onblur: () => this.hide(),
    }, this.runs, this.marked, this.needle);
    this.element = h("div", { className: "barbox" }, this.slider, this.scale);
    /** @type {Shown | null} */
    this.shown = null;
    this.drawn = "";
  }

  /** @param {Shown} shown */
  show(shown) {
    const { window } = shown;
    const drawn = [window.from, window.to, this.slider.clientWidth, shown.zone, Math.floor(shown.now / 5e6)].join(" ");
    if (drawn !== this.drawn || shown.states !== this.shown?.states) this.draw(shown);
    [this.drawn, this.shown] = [drawn, shown];
    const outside = shown.at < window.from || shown.at > window.to;
    this.needle.hidden = outside;
    this.needle.style.left = `${this.share(shown.at) * 100}%`;
    this.mark(shown);
    this.speak();
  }

  /** @param {number} at */
  share(at) {
    const { from, to } = /** @type {Shown} */ (this.shown).window;
    return Math.max(0, Math.min(1, (at - from) / (to - from)));
  }

  /** @param {Shown} shown */
  draw({ window, states, now, zone }) {
    const px = Math.max(1, this.slider.clientWidth);
    const made = runs(states ?? [], window, px, now).map((run) => {
      const one = h("i", { className: run.state });
      one.style.left = `${(run.x / px) * 100}%`;
      one.style.width = `${(run.width / px) * 100}%`;
      return one;
    });
    this.runs.replaceChildren(...made);
    this.runs.classList.toggle("unknown", !states);
    const short = window.to - window.from > 20 * HOUR ? 2 : 5;
    this.scale.replaceChildren(...ticks(window).map((at) => {
      const tick = h("span", {}, local(at, zone).time.slice(0, short));
      tick.style.left = `${((at - window.from) / (window.to - window.from)) * 100}%`;
      return tick;
    }));
  }

  /** @param {Shown} shown */
  mark({ marks, window }) {
    const known = marks && (marks.from !== null || marks.to !== null);
    this.marked.hidden = !known;
    if (!known) return;
    const [from, to] = [this.share(marks.from ?? marks.to ?? 0), this.share(marks.to ?? marks.from ?? window.to)];
    this.marked.style.left = `${from * 100}%`;
    this.marked.style.width = `${Math.max(0, to - from) * 100}%`;
  }

  speak() {
    const { window, at, states, now, zone } = /** @type {Shown} */ (this.shown);
    const seconds = Math.round((window.to - window.from) / 1e6);
    const value = Math.round((Math.max(window.from, Math.min(at, window.to)) - window.from) / 1e6);
    this.slider.setAttribute("aria-valuemax", String(seconds));
    this.slider.setAttribute("aria-valuenow", String(value));
    this.slider.setAttribute("aria-valuetext", told(states, at, now, zone));
  }

  /** @param {PointerEvent} event */
  at(event) {
    const { window } = /** @type {Shown} */ (this.shown);
    const box = this.slider.getBoundingClientRect();
    const share = Math.max(0, Math.min(1, (event.clientX - box.left) / box.width));
    return Math.round(window.from + share * (window.to - window.from));
  }

  /** @param {PointerEvent} event */
  press(event) {
    if (event.button || !this.shown) return;
    this.slider.setPointerCapture(event.pointerId);
    this.go(this.at(event));
  }

  /** @param {PointerEvent} event */
  hover(event) {
    if (!this.shown) return;
    const at = this.at(event);
    this.say(at, event.clientX);
    if (event.buttons & 1) this.go(at);
  }

  /** @param {number} at */
  go(at) {
    const { window, now } = /** @type {Shown} */ (this.shown);
    this.seek(Math.max(window.from, Math.min(at, window.to - 1, now)));
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (!this.shown || event.altKey || event.ctrlKey || event.metaKey) return;
    const { window, at } = this.shown;
    const step = keyStep(window);
    /** @type {Record<string, number>} */
    const to = {
      ArrowLeft: at - step, ArrowDown: at - step, ArrowRight: at + step, ArrowUp: at + step,
      PageDown: at - 10 * step, PageUp: at + 10 * step, Home: window.from, End: window.to - 1,
    };
    if (!(event.key in to)) return;
    event.preventDefault();
    event.stopPropagation();
    this.go(to[event.key]);
    this.tell();
  }

  /** The tooltip at the needle, as the keyboard moves it. */
  tell() {
    if (!this.shown || !this.slider.matches(":focus-visible")) return;
    const box = this.slider.getBoundingClientRect();
    this.say(this.shown.at, box.left + this.share(this.shown.at) * box.width);
  }

  /** @param {number} at @param {number} x */
  say(at, x) {
    const { states, now, zone } = /** @type {Shown} */ (this.shown);
    const box = this.slider.getBoundingClientRect();
    this.tip.textContent = told(states, at, now, zone);
    this.tip.hidden = false;
    const half = this.tip.offsetWidth / 2;
    this.tip.style.left = `${Math.max(half + 4, Math.min(x, document.documentElement.clientWidth - half - 4))}px`;
    this.tip.style.top = `${box.top}px`;
  }

  hide() {
    this.tip.hidden = true;
  }
}
