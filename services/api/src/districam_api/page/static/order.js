/** The order of cameras. Pure. */

/** @typedef {import("./api.js").Camera} Camera */
/** Lower case without diacritics; đ is d. @param {string} text */
export function folded(text) {
  return text.toLowerCase().normalize("NFKD").replace(/\p{M}/gu, "").replaceAll("đ", "d");
}

/**
 * How well a camera matches the words: its name before its place before the rest.
 * @param {Camera} camera
 * @param {string} words
 */
function fit(camera, words) {
  const wanted = folded(words).trim();
  if (!wanted) return 0;
  const [id, name, place] = [camera.camera_id, camera.name, camera.location?.place ?? ""].map(folded);
  if (id === wanted || name === wanted) return 4;
  if (name.includes(wanted)) return 3;
  if (wanted.split(/\s+/).every((word) => name.includes(word))) return 2;
  return place.includes(wanted) ? 1 : 0;
}

/**
 * The best match first, then by name.
 * @param {Camera[]} cameras
 * @param {string} words
 */
export function byMatch(cameras, words) {
  return [...cameras].sort((a, b) =>
    fit(b, words) - fit(a, words) || a.name.localeCompare(b.name, "vi", { numeric: true }));
}
