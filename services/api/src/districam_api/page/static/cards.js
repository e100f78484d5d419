/** The cameras found: a card each, with a still, the state, and the bar of the day. */

import { Refused, ask, latestUrl, snapshotUrl } from "./api.js";
import { stateAt } from "./bar.js";
import { Bar } from "./barview.js";
import { h, icon } from "./dom.js";
import { distance, t } from "./i18n.js";
import { local, parseUs } from "./time.js";

/** @typedef {import("./api.js").Camera} Camera */
/** @typedef {import("./bar.js").State} State */
/** @typedef {{watch(camera: Camera, at: number | null): void, beside(camera: Camera): void, near(camera: Camera): void}} Acts */

const STILL_MS = 20_000;
const JUMP_MS = 600;
const JUMP = 60e6;

export class Card {
  /** @param {Camera} camera @param {Acts} acts @param {HTMLElement} tip */
  constructor(camera, acts, tip) {
    this.camera = camera;
    this.bar = new Bar(t("coverage", { name: camera.name }), (at) => acts.watch(camera, at), tip);
    this.picture = h("img", { alt: "", hidden: true });
    this.stamp = h("span", { className: "stamp" }, "");
    this.beside = h("button", {
      type: "button", className: "add", onclick: () => acts.beside(camera), "aria-label": `${t("beside")}: ${camera.name}`,
      title: t("beside"),
    }, icon("add"), t("beside1"));
    this.stillAsked = 0;
    this.stillOf = 0;
    this.seen = false;
    this.element = this.build(acts);
  }

  /** @param {Acts} acts */
  build(acts) {
    const { camera } = this;
    const metres = camera.distance_m;
    const place = [camera.location?.place, metres === undefined ? null : distance(metres)].filter(Boolean).join(" · ");
    const state = h("span", { className: `state cut ${camera.state}`, title: this.cause() }, t(`now.${camera.state}`));
    const near = camera.location && h("button", {
      type: "button", className: "near", onclick: () => acts.near(camera), title: t("nearCamera"),
      "aria-label": `${t("nearCamera")}: ${camera.name}`,
    }, icon("near"));
    const name = h("button", { type: "button", className: "name", onclick: () => acts.watch(camera, null) }, camera.name);
    return h("li", { className: "card" },
      h("div", { className: "thumb", "aria-hidden": "true" }, this.picture, this.stamp),
      h("div", { className: "about" }, h("h3", {}, name),
        h("p", { className: "line dim" }, h("span", { className: "cut", title: place }, place), h("code", {}, camera.camera_id)),
        h("p", { className: "line" }, state, this.beside, near)),
      this.bar.element);
  }

  /** The cause, if the stream is lost. */
  cause() {
    const { state, cause } = this.camera;
    return state === "lost" && cause ? t(`cause.${cause}`) : "";
  }

  /** @param {import("./barview.js").Shown} shown @param {boolean} watched */
  show(shown, watched) {
    this.element.classList.toggle("watched", watched);
    this.beside.disabled = watched;
    if (!this.seen) return;
    this.bar.show(shown);
    if (shown.states && this.isDue(shown.at)) void this.still(shown);
  }

  /** Whether the still is due for a refresh: periodically, or soon after a seek. @param {number} at */
  isDue(at) {
    const since = Date.now() - this.stillAsked;
    return since > STILL_MS || (since > JUMP_MS && Math.abs(at - this.stillOf) > JUMP);
  }

  /** The newest still, or the picture at the instant; not requested if it is known to be missing. */
  async still(/** @type {import("./barview.js").Shown} */ { states, at, zone, now }) {
    [this.stillAsked, this.stillOf] = [Date.now(), at];
    const end = this.camera.last_segment_end;
    const fresh = this.camera.state === "recording" && end && now - parseUs(end) < 45e6;
    const stored = stateAt(states ?? [], at)?.state === "recorded";
    if (!fresh && !stored) {
      if (this.picture.hidden) this.stamp.textContent = t("noPicture");
      return;
    }
    try {
      const id = this.camera.camera_id;
      const answer = await ask(fresh ? latestUrl(id, now) : snapshotUrl(id, at));
      const old = this.picture.src;
      this.picture.src = URL.createObjectURL(await answer.blob());
      this.picture.hidden = false;
      URL.revokeObjectURL(old);
      this.stamp.textContent = local(parseUs(answer.headers.get("Districam-Time") ?? ""), zone).time;
    } catch (error) {
      if (!(error instanceof Refused || error instanceof TypeError)) throw error;
    }
  }

  close() {
    URL.revokeObjectURL(this.picture.src);
    this.element.remove();
  }
}
