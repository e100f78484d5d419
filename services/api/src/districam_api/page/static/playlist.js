/**
 * Parses the api's media playlists (RFC 8216): what to fetch, and its wall-clock time. Pure.
 * @typedef {{url: string, offset: number, length: number}} Part
 * @typedef {{start: number, end: number, media: Part, init: Part}} Entry µs
 */
import { parseUs } from "./time.js";

/** @param {string} text length@offset */
function range(text) {
  const [length, offset] = text.split("@").map(Number);
  return { length, offset };
}

/**
 * The entries, and whether decoding can begin with each of them.
 * @param {string} text
 * @returns {{entries: Entry[], independent: boolean}}
 */
export function parse(text) {
  /** @type {Entry[]} */
  const entries = [];
  let [init, start, length, span] = [/** @type {Part | null} */ (null), 0, 0, { length: 0, offset: 0 }];
  for (const line of text.split("\n")) {
    const value = line.slice(line.indexOf(":") + 1);
    if (line.startsWith("#EXT-X-MAP:")) init = map(value);
    else if (line.startsWith("#EXT-X-PROGRAM-DATE-TIME:")) start = parseUs(value);
    else if (line.startsWith("#EXTINF:")) length = Math.round(parseFloat(value) * 1e6);
    else if (line.startsWith("#EXT-X-BYTERANGE:")) span = range(value);
    else if (line && !line.startsWith("#") && init) {
      entries.push({ start, end: start + length, media: { url: line, ...span }, init });
    }
  }
  return { entries, independent: text.includes("#EXT-X-INDEPENDENT-SEGMENTS") };
}

/** @param {string} value @returns {Part} */
function map(value) {
  const [, url = "", bytes = ""] = /URI="([^"]*)",BYTERANGE="([^"]*)"/.exec(value) ?? [];
  return { url, ...range(bytes) };
}
