/** The api's routes. Every error response throws Refused with its problem (RFC 9457). */

import { parseUs, rfc3339 } from "./time.js";

/** @typedef {import("./bar.js").State} State */
/** @typedef {{latitude: number, longitude: number, place: string | null}} Location */
/**
 * @typedef {{camera_id: string, name: string, groups: string[], location: Location | null, deleted: boolean,
 *   state: string, cause: string | null, since: string | null, last_segment_end: string | null, distance_m?: number}} Camera
 */

const NEAR_M = 20_000;

export class Refused extends Error {
  /** @param {number} status @param {any} problem @param {number} retryAfter seconds */
  constructor(status, problem, retryAfter = 0) {
    super(problem.detail ?? String(status));
    this.status = status;
    this.problem = problem;
    this.retryAfter = retryAfter;
  }
}

/**
 * @param {string} path
 * @param {RequestInit} [options]
 * @returns {Promise<Response>}
 */
export async function ask(path, options = {}) {
  const answer = await fetch(path, { credentials: "same-origin", ...options });
  if (answer.ok) return answer;
  const problem = await answer.json().catch(() => ({}));
  if (answer.status === 401) dispatchEvent(new CustomEvent("unauthorized"));
  throw new Refused(answer.status, problem, Number(answer.headers.get("Retry-After") ?? 0));
}

/** @param {string} path @param {AbortSignal} [signal] */
const json = async (path, signal) => (await ask(path, { signal })).json();

/** The session, or null if a key is required. */
export async function session() {
  const answer = await fetch("/v1/session", { credentials: "same-origin" });
  if (answer.status === 401) return null;
  return answer.ok ? answer.json() : {};
}

/** @param {string} key */
export function login(key) {
  const headers = { "Content-Type": "application/json" };
  return fetch("/v1/login", { method: "POST", headers, body: JSON.stringify({ key }) });
}

export const logout = () => fetch("/v1/logout", { method: "POST" });

/**
 * The cameras that match the words, by id; around a position, nearest first with their distance.
 * @param {string} words
 * @param {{latitude: number, longitude: number} | null} around
 * @param {AbortSignal} [signal]
 * @returns {Promise<{cameras: Camera[], tz: string}>}
 */
export async function cameras(words, around, signal) {
  const query = new URLSearchParams({ q: words, limit: "1000" });
  if (around) query.set("near", `${around.latitude},${around.longitude},${NEAR_M}`);
  const found = await json(`/v1/cameras?${query}`, signal);
  return { ...found, cameras: found.cameras.filter((/** @type {Camera} */ one) => !one.deleted) };
}

/** The zone of the api's local times. @returns {Promise<string>} */
export const zoneOfAnswers = async () => (await json("/v1/cameras?limit=1")).tz;

/**
 * @param {string} id
 * @returns {Promise<Camera & {profile: {codecs: string, fps: number | null, width: number, height: number} | null}>}
 */
export const camera = (id) => json(`/v1/cameras/${encodeURIComponent(id)}`);

/**
 * @param {string} id
 * @param {{from: number, to: number}} window
 * @returns {Promise<State[]>}
 */
export async function timeline(id, window) {
  const answer = await json(url(id, "timeline", window));
  return answer.states.map((/** @type {any} */ one) => ({ ...one, from: parseUs(one.from), to: parseUs(one.to) }));
}

/**
 * @param {string} id
 * @param {"timeline" | "playlist.m3u8" | "clip.mp4"} what
 * @param {{from: number, to: number}} window
 */
export function url(id, what, window) {
  const query = new URLSearchParams({ from: rfc3339(window.from), to: rfc3339(window.to) });
  return `/v1/cameras/${encodeURIComponent(id)}/${what}?${query}`;
}

/** @param {string} id @param {number} at */
export function snapshotUrl(id, at) {
  return `/v1/cameras/${encodeURIComponent(id)}/snapshot.jpg?${new URLSearchParams({ at: rfc3339(at) })}`;
}

/** @param {string} id @param {number} fresh changes when a newer one is wanted */
export const latestUrl = (id, fresh) => `/v1/cameras/${encodeURIComponent(id)}/latest.jpg#${fresh}`;
