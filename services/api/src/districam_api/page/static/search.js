/** The search for a place, a date and a time; and the cameras found. */

import { cameras } from "./api.js";
import { Card } from "./cards.js";
import { by } from "./dom.js";
import { dateWords, t } from "./i18n.js";
import { byMatch } from "./order.js";
import { HOUR, MINUTE, addDays, asked, dateOf, dateText, fromLocal, local, timeOfDay, windowOf } from "./time.js";
import { now } from "./viewer.js";

/** @typedef {import("./api.js").Camera} Camera */
/** @typedef {import("./viewer.js").Viewer} Viewer */

const AGAIN_MS = 10_000;

export class Search extends EventTarget {
  /** @param {Viewer} viewer @param {string} zone */
  constructor(viewer, zone) {
    super();
    this.viewer = viewer;
    this.zone = zone;
    this.words = "";
    /** @type {{name: string, latitude: number, longitude: number} | null} */
    this.origin = null;
    /** @type {Map<string, Card>} */
    this.cards = new Map();
    /** @type {Camera[]} */
    this.found = [];
    this.running = new AbortController();
    this.sight = new IntersectionObserver((entries) => this.sighted(entries), { rootMargin: "200px" });
    this.acts = {
      watch: (/** @type {Camera} */ camera, /** @type {number | null} */ at) => this.watch(camera, at),
      beside: (/** @type {Camera} */ camera) => { viewer.open(camera, true); viewer.play(true); },
      near: (/** @type {Camera} */ camera) =>
        this.near({ name: camera.name, .../** @type {import("./api.js").Location} */ (camera.location) }),
    };
    this.listen();
    setInterval(() => this.find(false), AGAIN_MS);
    setInterval(() => this.draw(), 500);
  }

  listen() {
    by("search").addEventListener("submit", (/** @type {Event} */ event) => {
      event.preventDefault();
      if (this.read()) this.find(true);
    });
    by("date").addEventListener("change", () => this.read());
    by("calendar").addEventListener("click", () => by("picker").showPicker());
    by("picker").addEventListener("change", () => this.date(by("picker").value));
    by("time").addEventListener("change", () => this.read());
    by("tenAgo").addEventListener("click", () => this.go(now() - 10 * MINUTE));
    by("today").addEventListener("click", () => this.day(0));
    by("yesterday").addEventListener("click", () => this.day(-1));
    by("nearMe").addEventListener("click", () => this.nearMe());
    by("forget").addEventListener("click", () => this.near(null));
  }

  /** @param {number} at */
  go(at) {
    this.viewer.seek(at);
    this.show(this.viewer.at);
  }

  /** @param {number} days */
  day(days) {
    this.date(addDays(local(now(), this.zone).date, days));
  }

  /** @param {string} date YYYY-MM-DD */
  date(date) {
    by("date").value = dateText(date);
    this.read();
  }

  /** Sets the fields to an instant. @param {number} at */
  show(at) {
    const { date, time } = local(at, this.zone);
    [by("date").value, by("picker").value] = [dateText(date), date];
    by("time").value = time.endsWith(":00") ? time.slice(0, 5) : time;
    by("words").textContent = dateWords(date);
    this.wrong("");
  }

  /** Applies the fields; false if they are invalid. */
  read() {
    const today = local(now(), this.zone).date;
    const { place, date, time } = asked(by("place").value, today);
    if (date) by("date").value = dateText(date);
    if (time) by("time").value = time;
    if (date || time) by("place").value = place;
    this.words = by("place").value.trim();
    const [day, clock] = [dateOf(by("date").value, today), timeOfDay(by("time").value)];
    this.wrong(!clock ? t("badTime") : !day ? t("badDate") : "", clock ? "date" : "time");
    if (!clock || !day) return false;
    this.go(fromLocal(day, clock, this.zone));
    return true;
  }

  /** @param {string} words @param {string} [field] */
  wrong(words, field) {
    by("wrong").textContent = words;
    for (const id of ["date", "time"]) by(id).setAttribute("aria-invalid", String(Boolean(words) && id === field));
  }

  /** @param {boolean} anew whether the question is another one */
  async find(anew) {
    if (anew) this.running.abort();
    const running = anew ? (this.running = new AbortController()) : this.running;
    try {
      const { cameras: found } = await cameras(this.words, this.origin, running.signal);
      this.found = this.origin ? found : byMatch(found, this.words);
      this.list();
      if (anew) this.dispatchEvent(new CustomEvent("change"));
      dispatchEvent(new CustomEvent("answered"));
    } catch (error) {
      if (!(error instanceof DOMException)) dispatchEvent(new CustomEvent("refused", { detail: error }));
    }
  }

  list() {
    const kept = new Map(this.found.map((camera) => [camera.camera_id, this.card(camera)]));
    for (const [id, card] of this.cards) if (kept.get(id) !== card) this.drop(card);
    this.cards = kept;
    const list = by("cards");
    [...kept.values()].forEach((card, n) => {
      if (list.children[n] !== card.element) list.insertBefore(card.element, list.children[n] ?? null);
    });
    by("count").textContent = t(kept.size === 1 ? "found1" : "found", { n: kept.size });
    by("none").textContent = kept.size ? "" : t("none", { q: this.words });
    by("sorted").textContent = this.origin ? t("nearest", { name: this.origin.name }) : "";
    by("forget").hidden = !this.origin;
    this.draw();
  }

  /** The existing card, if nothing on it has changed. @param {Camera} camera */
  card(camera) {
    const key = [camera.name, camera.state, camera.cause, camera.location?.place, camera.distance_m].join("|");
    const old = this.cards.get(camera.camera_id);
    if (old && old.element.dataset.key === key) {
      old.camera = camera;
      return old;
    }
    const made = new Card(camera, this.acts, by("tip"));
    [made.element.dataset.key, made.element.dataset.id] = [key, camera.camera_id];
    this.sight.observe(made.element);
    return made;
  }

  /** @param {Card} card */
  drop(card) {
    this.sight.unobserve(card.element);
    card.close();
  }

  /** @param {IntersectionObserverEntry[]} entries */
  sighted(entries) {
    for (const one of entries) {
      const card = this.cards.get(/** @type {HTMLElement} */ (one.target).dataset.id ?? "");
      if (card) card.seen = one.isIntersecting;
    }
    this.draw();
  }

  /** Bars and stills of the visible cards. */
  draw() {
    const { viewer, zone } = this;
    const [at, watched] = [viewer.at, new Set(viewer.ids)];
    const day = windowOf(at, 24 * HOUR, zone);
    for (const [id, card] of this.cards) {
      const states = card.seen ? viewer.timelines.states(id, day) : null;
      card.show({ window: viewer.window, states, at, now: now(), zone }, watched.has(id));
    }
  }

  /** @param {Camera} camera @param {number | null} at */
  watch(camera, at) {
    const { viewer } = this;
    if (at !== null) viewer.seek(at);
    viewer.open(camera, false);
    viewer.play(true);
    if (matchMedia("(max-width: 700px)").matches) by("viewer").scrollIntoView();
  }

  /** @param {{name: string, latitude: number, longitude: number} | null} origin */
  near(origin) {
    this.origin = origin;
    if (origin) [this.words, by("place").value] = ["", ""];
    this.find(true);
    by("results").scrollTop = 0;
  }

  nearMe() {
    navigator.geolocation.getCurrentPosition(
      ({ coords: { latitude, longitude } }) => this.near({ name: t("me"), latitude, longitude }),
      () => this.wrong(t("noPosition")),
      { timeout: 10_000, maximumAge: 60_000 },
    );
  }
}
