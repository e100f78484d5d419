/** Clips and stills as files. An error of the api is shown before a download starts. */

import { Refused, ask, snapshotUrl, url } from "./api.js";
import { h } from "./dom.js";
import { t } from "./i18n.js";
import { HOUR, local, parseUs } from "./time.js";

/** @typedef {(words: string, ...more: Node[]) => void} Say */
/** @typedef {{from: number, to: number}} Range */

/** @param {string} href @param {string} name */
function save(href, name) {
  h("a", { href, download: name }).click();
}

/** @param {Response} answer */
const nameOf = (answer) => /filename="([^"]+)"/.exec(answer.headers.get("Content-Disposition") ?? "")?.[1] ?? "";

/**
 * Downloads a range of a camera. If codec parameters change inside it, offers the parts.
 * @param {string} id @param {Range} range @param {string} zone @param {Say} say
 */
export async function saveClip(id, range, zone, say) {
  if (range.to <= range.from || range.to - range.from > 24 * HOUR) {
    say(t("tooLong"));
    return;
  }
  const href = url(id, "clip.mp4", range);
  const tried = new AbortController();
  try {
    const answer = await ask(href, { signal: tried.signal });
    tried.abort();  // only the status was needed; the browser's own download writes to disk
    say("");
    save(href, nameOf(answer));
  } catch (error) {
    say(...refusal(error, id, zone));
  }
}

/** @param {unknown} error @param {string} id @param {string} zone @returns {[string, ...Node[]]} */
function refusal(error, id, zone) {
  if (!(error instanceof Refused)) return [t("away")];
  if (error.status === 404) return [t("nothingHere")];
  if (error.status === 503) return [t("busy", { n: error.retryAfter || 5 })];
  if (error.status !== 409) return [error.message];
  const windows = /** @type {{from: string, to: string}[]} */ (error.problem.windows ?? []);
  return [t("differing"), ...windows.map((one) => part(id, parseUs(one.from), parseUs(one.to), zone))];
}

/** @param {string} id @param {number} from @param {number} to @param {string} zone */
function part(id, from, to, zone) {
  const words = `${local(from, zone).time}–${local(to, zone).time}`;
  return h("a", { href: url(id, "clip.mp4", { from, to }), download: "" }, words);
}

/** @param {string} id @param {number} at @param {Say} say */
export async function saveStill(id, at, say) {
  try {
    const answer = await ask(snapshotUrl(id, at));
    const picture = URL.createObjectURL(await answer.blob());
    save(picture, nameOf(answer));
    setTimeout(() => URL.revokeObjectURL(picture), 60_000);
    say("");
  } catch (error) {
    say(error instanceof Refused && error.status === 404 ? t("noStill") : t("away"));
  }
}
