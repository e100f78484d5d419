/** One camera in the player: its video, messages over it, its bar, its downloads. */

import { camera as record } from "./api.js";
import { stateAt } from "./bar.js";
import { Bar, described } from "./barview.js";
import { correction } from "./clock.js";
import { h, icon } from "./dom.js";
import { t } from "./i18n.js";
import { Source, canAppend } from "./source.js";

/** @typedef {import("./api.js").Camera} Camera */
/** @typedef {import("./bar.js").State} State */
/** @typedef {{at: number, playing: boolean, rate: number}} Beat */
/** @typedef {{seek(at: number): void, close(id: string): void, clip(id: string): void, still(id: string): void, skip(from: number, states: State[]): void}} Acts */

const PATIENCE_MS = 8000;

export class Tile {
  /** @param {Camera} camera @param {number} at @param {Acts} acts @param {HTMLElement} tip */
  constructor(camera, at, acts, tip) {
    this.camera = camera;
    this.fps = 25;
    this.video = /** @type {HTMLVideoElement} */ (h("video", { muted: true, playsInline: true, "aria-label": camera.name }));
    this.source = canAppend ? new Source(this.video, camera.camera_id, at) : null;
    this.video.dataset.base = String(this.source?.base ?? 0);
    this.words = h("span", {});
    this.skipping = h("button", { type: "button", hidden: true, onclick: () => acts.skip(this.at, this.states ?? []) });
    this.veil = h("div", { className: "veil", role: "status" }, this.words, this.skipping);
    this.bar = new Bar(t("coverage", { name: camera.name }), acts.seek, tip);
    /** @type {State[] | null} */
    this.states = null;
    this.at = at;
    this.waitingSince = 0;
    this.element = this.build(acts);
    record(camera.camera_id).then((full) => { this.fps = full.profile?.fps || 25; }, () => {});
  }

  /** @param {Acts} acts */
  build(acts) {
    const { camera } = this;
    const id = camera.camera_id;
    const head = h("header", {},
      h("h3", {}, camera.name), h("span", { className: "dim" }, camera.location?.place ?? id),
      button("still", t("stillShort"), `${t("still")}: ${camera.name}`, () => acts.still(id)),
      button("clip", t("clipShort"), `${t("clip")}: ${camera.name}`, () => acts.clip(id)),
      button("close", "", t("close", { name: camera.name }), () => acts.close(id)));
    const screen = h("div", { className: "screen" }, this.video, this.veil);
    return h("section", { className: "tile", "aria-label": camera.name }, head, screen, this.bar.element);
  }

  close() {
    this.source?.close();
    this.element.remove();
  }

  /**
   * Follows the clock. True while the clock must wait for this camera's footage.
   * @param {Beat} beat
   * @param {State[] | null} states
   * @param {number} now
   * @param {string} zone
   */
  follow(beat, states, now, zone) {
    [this.at, this.states] = [beat.at, states];
    void this.source?.want(beat.at);
    const has = this.source?.holds(beat.at) ?? false;
    if (has) this.keepStep(beat);
    else if (!this.video.paused) this.video.pause();
    const waits = !has && this.waits(beat.at, states);
    this.say(has ? null : this.missing(states, now, zone, waits));
    if (!waits) this.waitingSince = 0;
    else if (!this.waitingSince) this.waitingSince = performance.now();
    return waits && performance.now() - this.waitingSince < PATIENCE_MS;
  }

  /** @param {number} at @param {State[] | null} states */
  waits(at, states) {
    if (!this.source || this.source.supply === "unsupported") return false;
    const state = states && stateAt(states, at);
    return (!state || state.state === "recorded") && this.source.expects(at);
  }

  /** @param {Beat} beat */
  keepStep({ at, playing, rate }) {
    const { video } = this;
    const source = /** @type {Source} */ (this.source);
    const behind = source.seconds(at) - video.currentTime;
    if (!playing) {
      if (!video.paused) video.pause();
      if (Math.abs(behind) > 0.004 && !video.seeking) video.currentTime = source.seconds(at);
      return;
    }
    const { jump, rate: wanted } = correction(behind, rate);
    if (jump && !video.seeking) video.currentTime = source.seconds(at);
    if (Math.abs(video.playbackRate - wanted) > 0.004) video.playbackRate = wanted;
    if (video.paused) video.play().catch(() => {});  // the next tick tries again
  }

  /** @param {State[] | null} states @param {number} now @param {string} zone @param {boolean} waits */
  missing(states, now, zone, waits) {
    if (!this.source) return t("noMedia");
    const state = states && stateAt(states, this.at);
    if (state?.state === "gap") return described(state, now, zone);
    if (state?.state === "pending") return this.at > now - 60e6 ? t("live") : t("pendingIs");
    if (state && state.state !== "recorded") return t(state.state);
    if (this.source.supply === "unsupported") return t("unsupported", { codec: this.codec() });
    if (this.source.supply === "failed") return t("failed");
    return waits ? t("loading") : null;
  }

  codec() {
    const name = this.source?.codec ?? "";
    return /^h[ve]/.test(name) ? "H.265" : name.startsWith("avc") ? "H.264" : name || "?";
  }

  /** @param {string | null} words */
  say(words) {
    const isGap = words !== null && this.states && stateAt(this.states, this.at)?.state === "gap";
    this.veil.className = `veil${words === null ? "" : isGap ? " on gap" : " on"}`;
    if (this.words.textContent !== (words ?? "")) this.words.textContent = words ?? "";
    this.skipping.hidden = !isGap;
    this.skipping.textContent = t("skip");
  }
}

/** @param {string} name @param {string} text @param {string} label @param {() => void} act */
export function button(name, text, label, act) {
  return h("button", { type: "button", title: label, "aria-label": label, onclick: act, className: name }, icon(name), text);
}
