/** The page's state in its address, so that it can be shared as a link. */

import { HOUR, parseUs, rfc3339 } from "./time.js";

/** @typedef {{q: string, at: number | null, cameras: string[], span: number | null, from: number | null, to: number | null}} Address */

/** @param {string | null} text */
function instant(text) {
  try {
    return text ? parseUs(text) : null;
  } catch {
    return null;
  }
}

/** @param {string} hash @returns {Address} */
export function read(hash) {
  const found = new URLSearchParams(hash.replace(/^#/, ""));
  return {
    q: found.get("q") ?? "",
    at: instant(found.get("at")),
    cameras: (found.get("cameras") ?? "").split(",").filter(Boolean),
    span: Number(found.get("span")) * 1e6 || null,
    from: instant(found.get("from")),
    to: instant(found.get("to")),
  };
}

/** @param {Address} address */
export function write({ q, at, cameras, span, from, to }) {
  const said = new URLSearchParams();
  if (q) said.set("q", q);
  for (const [name, us] of /** @type {[string, number | null][]} */ ([["at", at], ["from", from], ["to", to]])) {
    if (us !== null) said.set(name, rfc3339(us).replace(/\.0+Z$/, "Z"));
  }
  if (cameras.length) said.set("cameras", cameras.join(","));
  if (span && span !== 24 * HOUR) said.set("span", String(span / 1e6));
  return `#${said.toString().replaceAll("%3A", ":").replaceAll("%2C", ",")}`;
}
