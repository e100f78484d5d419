/** Keyboard shortcuts, and their list. */

import { by, h } from "./dom.js";
import { t } from "./i18n.js";
import { SECOND } from "./time.js";

/** @typedef {import("./viewer.js").Viewer} Viewer */

/** @type {[string[], string][]} */
const LIST = [
  [["Space", "K"], "key.space"], [["←", "→"], "key.arrows"], [["J", "L"], "key.jl"], [[",", "."], "key.frames"],
  [["[", "]"], "key.gaps"], [["<", ">"], "key.speed"], [["I", "O"], "key.marks"], [["D"], "clip"], [["S"], "still"],
  [["+", "−"], "key.zoom"], [["/"], "key.search"], [["?"], "key.help"],
];

/** @param {Viewer} viewer @returns {Record<string, () => void>} */
function acts(viewer) {
  const first = () => viewer.ids[0];
  return {
    " ": () => viewer.play(), KeyK: () => viewer.play(),
    ArrowLeft: () => viewer.step(-SECOND), ArrowRight: () => viewer.step(SECOND),
    KeyJ: () => viewer.step(-10 * SECOND), KeyL: () => viewer.step(10 * SECOND),
    ",": () => viewer.frame(-1), ".": () => viewer.frame(1),
    "[": () => viewer.gap(-1), "]": () => viewer.gap(1),
    "<": () => viewer.faster(-1), ">": () => viewer.faster(1),
    KeyI: () => viewer.mark("from"), KeyO: () => viewer.mark("to"),
    KeyD: () => viewer.acts.clip(first()), KeyS: () => viewer.acts.still(first()),
    "+": () => viewer.zoom(1), "=": () => viewer.zoom(1), "-": () => viewer.zoom(-1),
  };
}

/** Whether the focused element handles the key itself. @param {KeyboardEvent} event */
function isTaken({ key, target, altKey, ctrlKey, metaKey }) {
  const element = /** @type {HTMLElement} */ (target);
  if (altKey || ctrlKey || metaKey || document.querySelector("dialog[open]")) return true;
  if (element.closest("select, textarea, input:not([type=radio])")) return true;
  if (element.closest("input[type=radio]")) return key.startsWith("Arrow") || key === " ";
  return key === " " && element.closest("button, a, summary") !== null;
}

/** @param {Viewer} viewer */
export function listen(viewer) {
  const known = acts(viewer);
  addEventListener("keydown", (event) => {
    if (isTaken(event)) return;
    if (event.key === "?") help();
    else if (event.key === "/") by("place").focus();
    else if (viewer.ids.length === 0) return;
    else if (known[event.key]) known[event.key]();
    else if (known[event.code]) known[event.code]();
    else return;
    event.preventDefault();
  });
  by("openHelp").addEventListener("click", help);
}

function help() {
  const rows = LIST.map(([keys, text]) =>
    h("tr", {}, h("th", { scope: "row" }, ...keys.map((key) => h("kbd", {}, key))), h("td", {}, t(text))));
  by("shortcuts").replaceChildren(...rows);
  by("help").showModal();
}
