/** The player: cameras side by side on one clock, the controls, the marks. */

import { footageAfter, gapFrom, isBare } from "./bar.js";
import { changed, clockAt, read } from "./clock.js";
import { by } from "./dom.js";
import { saveClip, saveStill } from "./downloads.js";
import { dateWords, lasting, t } from "./i18n.js";
import { Tile } from "./tile.js";
import { HOUR, MINUTE, SECOND, local, windowOf } from "./time.js";

/** @typedef {import("./api.js").Camera} Camera */
/** @typedef {import("./timelines.js").Timelines} Timelines */

export const MOST = 4;
const BEAT_MS = 80;
const SPANS = [24 * HOUR, HOUR, 10 * MINUTE];
const RATES = [0.25, 0.5, 1, 2, 4, 8];
const AROUND = 30 * SECOND;

export const now = () => Date.now() * 1000;

export class Viewer extends EventTarget {
  /** @param {Timelines} timelines @param {string} zone @param {number} at */
  constructor(timelines, zone, at) {
    super();
    this.timelines = timelines;
    this.zone = zone;
    this.clock = clockAt(at);
    this.span = SPANS[0];
    /** @type {{from: number | null, to: number | null}} */
    this.marks = { from: null, to: null };
    /** @type {Tile[]} */
    this.tiles = [];
    this.acts = {
      seek: (/** @type {number} */ to) => this.seek(to),
      close: (/** @type {string} */ id) => this.close(id),
      clip: (/** @type {string} */ id) => this.clip(id),
      still: (/** @type {string} */ id) => saveStill(id, this.at, this.say),
      skip: (/** @type {number} */ from, /** @type {import("./bar.js").State[]} */ states) =>
        this.seek(footageAfter(states, from) ?? from),
    };
    setInterval(() => this.beat(), BEAT_MS);
  }

  get at() {
    return read(this.clock, performance.now(), now());
  }

  get ids() {
    return this.tiles.map((tile) => tile.camera.camera_id);
  }

  /** The window that the bars show. */
  get window() {
    return windowOf(this.at, this.span, this.zone);
  }

  /** The range of a clip: the marks, or AROUND before and after the instant. */
  range() {
    const { from, to } = this.marks;
    return { from: from ?? (to ?? this.at) - AROUND, to: to ?? (from ?? this.at) + AROUND };
  }

  /** @param {string} id */
  clip(id) {
    const range = this.range();
    const tile = this.tiles.find((one) => one.camera.camera_id === id);
    if (isBare(tile?.states ?? [], range)) this.say(t("nothingHere"));
    else void saveClip(id, range, this.zone, this.say);
  }

  /** @param {Partial<import("./clock.js").Clock>} change */
  change(change) {
    this.clock = changed(this.clock, performance.now(), change, now());
    this.dispatchEvent(new CustomEvent("change"));
    this.beat();
  }

  /** @param {number} at */
  seek(at) {
    this.say("");
    this.change({ at });
  }

  /** @param {boolean} [playing] */
  play(playing = !this.clock.playing) {
    this.change({ playing });
  }

  /** @param {number} by_ µs */
  step(by_) {
    this.seek(this.at + by_);
  }

  /** Steps one frame forward or back; pauses. @param {1 | -1} direction */
  frame(direction) {
    const fps = this.tiles[0]?.fps ?? 25;
    this.change({ playing: false, at: Math.round(this.at + (direction * SECOND) / fps) });
  }

  /** @param {1 | -1} direction */
  gap(direction) {
    const gaps = this.tiles.map((tile) => gapFrom(tile.states ?? [], this.at, direction)?.from)
      .filter((from) => from !== undefined);
    if (gaps.length) this.seek(direction > 0 ? Math.min(...gaps) : Math.max(...gaps));
    else this.say(t("noGap"));
  }

  /** @param {number} rate */
  rate(rate) {
    this.change({ rate });
  }

  /** @param {1 | -1} direction */
  faster(direction) {
    this.rate(RATES[Math.max(0, Math.min(RATES.length - 1, RATES.indexOf(this.clock.rate) + direction))]);
  }

  /** @param {"from" | "to"} which */
  mark(which) {
    this.marks = { ...this.marks, [which]: this.at };
    this.dispatchEvent(new CustomEvent("change"));
  }

  clear() {
    this.marks = { from: null, to: null };
    this.dispatchEvent(new CustomEvent("change"));
  }

  /** @param {1 | -1} direction 1 shows less of the day */
  zoom(direction) {
    this.look(SPANS[Math.max(0, Math.min(SPANS.length - 1, SPANS.indexOf(this.span) + direction))]);
  }

  /** @param {number} span how much time the bars show, µs */
  look(span) {
    this.span = span;
    this.change({});
  }

  /** Shows a camera, alone or with the others. @param {Camera} camera @param {boolean} beside */
  open(camera, beside) {
    if (this.ids.includes(camera.camera_id)) return;
    if (beside && this.tiles.length >= MOST) {
      this.say(t("most", { n: MOST }));
      return;
    }
    if (!beside) for (const tile of this.tiles.splice(0)) tile.close();
    this.tiles.push(new Tile(camera, this.at, this.acts, by("tip")));
    this.arranged();
  }

  /** @param {string} id */
  close(id) {
    const [gone] = this.tiles.splice(this.ids.indexOf(id), 1);
    gone?.close();
    this.arranged();
  }

  /** Renders every tile again after a change of language. */
  rename() {
    const cameras = this.tiles.splice(0).map((tile) => (tile.close(), tile.camera));
    for (const camera of cameras) this.open(camera, true);
  }

  arranged() {
    const screens = by("screens");
    for (const tile of this.tiles) if (tile.element.parentNode !== screens) screens.append(tile.element);
    screens.dataset.count = String(this.tiles.length);
    document.body.classList.toggle("watching", this.tiles.length > 0);
    this.dispatchEvent(new CustomEvent("change"));
  }

  say = (/** @type {string} */ words, /** @type {Node[]} */ ...more) => {
    by("said").replaceChildren(words, ...more);
  };

  /** Updates everything that follows the clock. */
  beat() {
    if (!this.tiles.length) return;
    const { playing, rate } = this.clock;
    const [at, time, window, day] = [this.at, now(), this.window, windowOf(this.at, 24 * HOUR, this.zone)];
    let waiting = false;
    for (const tile of this.tiles) {
      const states = this.timelines.states(tile.camera.camera_id, day);
      const held = this.clock.held;
      waiting = tile.follow({ at, playing: playing && !held, rate }, states, time, this.zone) || waiting;
      tile.bar.show({ window, states, at, now: time, zone: this.zone, marks: this.marks });
    }
    if (waiting !== this.clock.held) this.clock = changed(this.clock, performance.now(), { held: waiting }, time);
    this.tellTime(at);
  }

  /** @param {number} at */
  tellTime(at) {
    const { date, time } = local(at, this.zone);
    by("clock").textContent = time;
    by("tenth").textContent = `.${Math.floor((at % SECOND) / 100_000)}`;
    by("day").textContent = dateWords(date);
    const utc = local(at, "UTC");
    by("utc").textContent = `${utc.date === date ? "" : `${utc.date} `}${utc.time} UTC`;
  }

  /** Updates the controls. */
  draw() {
    const { from, to } = this.marks;
    const name = (/** @type {number | null} */ at) => (at === null ? t("unset") : local(at, this.zone).time);
    by("from").textContent = name(from);
    by("to").textContent = name(to);
    const { from: first, to: last } = this.range();
    by("length").textContent = from === null && to === null ? t("clipDefault") : lasting(last - first);
    by("clear").hidden = from === null && to === null;
    by("rate").value = String(this.clock.rate);
    for (const radio of document.querySelectorAll("input[name=span]")) {
      const one = /** @type {HTMLInputElement} */ (radio);
      one.checked = Number(one.value) * 1e6 === this.span;
    }
  }
}
