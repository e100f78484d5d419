/** Assembles the page. */

import * as address from "./address.js";
import { Refused, camera, logout, session, zoneOfAnswers } from "./api.js";
import { by } from "./dom.js";
import { choose, fill, language, t } from "./i18n.js";
import * as keys from "./keys.js";
import { loggedIn } from "./login.js";
import { Search } from "./search.js";
import { MINUTE, SECOND } from "./time.js";
import { Timelines } from "./timelines.js";
import { Viewer, now } from "./viewer.js";

/** @typedef {import("./api.js").Camera} Camera */

const DEFAULT_ZONE = "Asia/Ho_Chi_Minh";
const NOTED_MS = 3000;

async function main() {
  look();
  fill(document);
  by("language").addEventListener("click", () => speak(language() === "vi" ? "en" : "vi"));
  const who = await someone();
  const asked = address.read(location.hash);
  const zone = who.tz ?? (await zoneOfAnswers().catch(() => DEFAULT_ZONE));
  by("zone").textContent = t("oclock", { zone: zone.replaceAll("_", " ") });
  by("zone").dataset.zone = zone;
  const viewer = new Viewer(new Timelines(), zone, asked.at ?? now() - 10 * MINUTE);
  const search = new Search(viewer, zone);
  wire(viewer, search);
  await restore(asked, viewer, search);
}

/** Waits for a session. @returns {Promise<{how?: string, tz?: string}>} */
async function someone() {
  let who = await session();
  while (who === null) {
    await loggedIn();
    who = await session();
  }
  by("logout").hidden = who.how !== "cookie";
  by("logout").addEventListener("click", async () => {
    await logout();
    location.reload();
  });
  addEventListener("unauthorized", () => void loggedIn());
  return who;
}

/** @param {address.Address} asked @param {Viewer} viewer @param {Search} search */
async function restore(asked, viewer, search) {
  viewer.marks = { from: asked.from, to: asked.to };
  if (asked.span) viewer.span = asked.span;
  by("place").value = search.words = asked.q;
  search.show(viewer.at);
  by("question").disabled = false;
  await search.find(true);
  for (const id of asked.cameras) {
    const found = await camera(id).catch(() => null);
    if (found) viewer.open(found, true);
  }
  if (asked.cameras.length) viewer.play(true);
}

/** @param {Viewer} viewer @param {Search} search */
function wire(viewer, search) {
  keys.listen(viewer);
  controls(viewer);
  const changed = () => {
    viewer.draw();
    const { playing } = viewer.clock;
    const name = playing ? "pause" : "play";
    by("play").dataset.tLabel = name;
    by("play").setAttribute("aria-label", t(name));
    by("play").title = t(name);
    by("play").classList.toggle("playing", playing);
    note(viewer, search);
    search.draw();
  };
  viewer.addEventListener("change", changed);
  viewer.timelines.addEventListener("change", () => search.draw());
  search.addEventListener("change", changed);
  setInterval(() => note(viewer, search), NOTED_MS);
  addEventListener("speak", () => {
    search.cards.forEach((card) => { card.element.dataset.key = ""; });
    search.list();
    viewer.rename();
    viewer.tellTime(viewer.at);
    search.show(viewer.at);
    by("zone").textContent = t("oclock", { zone: by("zone").dataset.zone.replaceAll("_", " ") });
    changed();
  });
  addEventListener("hashchange", () => location.reload());
  addEventListener("refused", (event) => refused(/** @type {CustomEvent} */ (event).detail));
  addEventListener("answered", () => { by("trouble").hidden = true; });
}

/** @param {Viewer} viewer */
function controls(viewer) {
  /** @type {Record<string, () => void>} */
  const acts = {
    play: () => viewer.play(), gapBack: () => viewer.gap(-1), gapOn: () => viewer.gap(1),
    back10: () => viewer.step(-10 * SECOND), back1: () => viewer.step(-SECOND),
    on1: () => viewer.step(SECOND), on10: () => viewer.step(10 * SECOND),
    frameBack: () => viewer.frame(-1), frameOn: () => viewer.frame(1),
    markFrom: () => viewer.mark("from"), markTo: () => viewer.mark("to"), clear: () => viewer.clear(),
  };
  for (const [id, act] of Object.entries(acts)) by(id).addEventListener("click", act);
  by("rate").addEventListener("change", () => viewer.rate(Number(by("rate").value)));
  by("spans").addEventListener("change", (/** @type {any} */ event) => {
    viewer.look(Number(event.target.value) * 1e6);
  });
  by("copy").addEventListener("click", async () => {
    await navigator.clipboard.writeText(location.href);
    viewer.say(t("copied"));
  });
}

/** Updates the page's address. @param {Viewer} viewer @param {Search} search */
function note(viewer, search) {
  const { marks, ids, span } = viewer;
  const said = address.write({ q: search.words, at: viewer.at, cameras: ids, span, ...marks });
  const names = viewer.tiles.map((tile) => tile.camera.name).join(", ");
  document.title = names ? `${names} · districam` : `${t("title")} · districam`;
  if (said !== location.hash) history.replaceState(null, "", said);
}

/** @param {unknown} error */
function refused(error) {
  const building = error instanceof Refused && error.problem.progress !== undefined;
  if (!(error instanceof Refused || error instanceof TypeError)) throw error;
  if (error instanceof Refused && error.status === 401) return;
  by("trouble").textContent = t(building ? "building" : "away");
  by("trouble").hidden = false;
}

/** @param {string} chosen */
function speak(chosen) {
  choose(chosen);
  fill(document);
  by("theme").textContent = t(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
  dispatchEvent(new CustomEvent("speak"));
}

/** Dark or light: as chosen before, else the system's. */
function look() {
  const root = document.documentElement;
  const wanted = localStorage.getItem("districam.theme");
  root.dataset.theme = wanted ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  const draw = () => { by("theme").textContent = t(root.dataset.theme === "dark" ? "light" : "dark"); };
  by("theme").addEventListener("click", () => {
    root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
    localStorage.setItem("districam.theme", root.dataset.theme);
    draw();
  });
  draw();
}

void main();
