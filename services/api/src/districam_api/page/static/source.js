/**
 * Feeds a <video> with a camera's footage so that its time is the wall clock minus a constant.
 *
 * The playlist lists the objects of a window; each is appended at its wall-clock time. So a gap
 * stays a gap in the element's own buffer, any instant of any day is a seek, and several videos share one clock.
 * Audio is hidden: an element stalls where one of its tracks has no data, and audio may be missing. Clips have it.
 */

import { Refused, ask, url } from "./api.js";
import { codecOf, decodeTime, firstTrack, silence, timescale, whole } from "./mp4.js";
import { parse } from "./playlist.js";
import { MINUTE, SECOND, dayOf } from "./time.js";

/** @typedef {import("./playlist.js").Entry} Entry */
/** @typedef {"open" | "unsupported" | "failed"} Supply */

const AHEAD = 15 * SECOND;
const KEPT_BEHIND_S = 30;
const KEPT_AHEAD_S = 120;
const LISTED = 2 * MINUTE;
/** Preroll if segments may start without a keyframe. */
const LEAD = MINUTE;
const STALE_MS = 4000;
/** How long after an instant more of its footage may be listed. */
const SETTLING = 3 * MINUTE;
const DAYS_EACH_WAY = 40 * 86_400;

const Media = /** @type {typeof MediaSource | undefined} */ (
  globalThis.MediaSource ?? /** @type {any} */ (globalThis).ManagedMediaSource
);
export const canAppend = Media !== undefined;

/** @param {AbortSignal} signal @param {EventTarget} target @param {string} name */
function once(target, name, signal) {
  return new Promise((resolve) => target.addEventListener(name, resolve, { once: true, signal }));
}

export class Source {
  /** @param {HTMLVideoElement} video @param {string} camera @param {number} at */
  constructor(video, camera, at) {
    this.video = video;
    this.camera = camera;
    this.base = dayOf(at, "UTC").from - DAYS_EACH_WAY * SECOND;
    /** @type {Supply} */
    this.supply = "open";
    this.codec = "";
    /** @type {{from: number, to: number, asked: number, entries: Entry[], independent: boolean} | null} */
    this.listed = null;
    /** @type {Set<number>} starts of the entries that were appended */
    this.appended = new Set();
    this.init = "";
    this.scale = 0;
    this.track = 0;
    /** @type {SourceBuffer | null} */
    this.buffer = null;
    this.wanted = at;
    this.closing = new AbortController();
    this.work = new AbortController();
    this.busy = false;
    this.retryAt = 0;
    this.media = this.attach();
  }

  /** The element's time at an instant, in s. @param {number} at */
  seconds(at) {
    return (at - this.base) / SECOND;
  }

  /** The instant shown. */
  get shown() {
    return this.base + Math.round(this.video.currentTime * SECOND);
  }

  attach() {
    if (!Media) throw new Error("this browser has no MediaSource");
    const media = new Media();
    this.video.disableRemotePlayback = true;
    this.video.src = URL.createObjectURL(media);
    return media;
  }

  close() {
    this.closing.abort();
    this.work.abort();
    URL.revokeObjectURL(this.video.src);
    this.video.removeAttribute("src");
    this.video.load();
  }

  /** Whether footage at an instant is in the buffer. @param {number} at */
  holds(at) {
    const seconds = this.seconds(at);
    const { buffered } = this.video;
    for (let n = 0; n < buffered.length; n++) {
      if (buffered.start(n) <= seconds && seconds < buffered.end(n)) return true;
    }
    return false;
  }

  /** Whether footage at an instant may still be appended. @param {number} at */
  expects(at) {
    const { listed } = this;
    if (!listed || at < listed.from || at >= listed.to) return true;
    return listed.entries.some((one) => one.start <= at && at < one.end && !this.appended.has(one.start));
  }

  /** Requests footage from an instant on. Called repeatedly; one request runs at a time. */
  async want(/** @type {number} */ at) {
    const jumped = Math.abs(at - this.wanted) > 5 * SECOND;
    this.wanted = at;
    if (jumped && !this.holds(at)) this.restart();
    if (this.busy || this.supply === "unsupported" || performance.now() < this.retryAt) return;
    this.busy = true;
    try {
      await this.step(at, this.work.signal);
    } catch (error) {
      this.failed(error);
    } finally {
      this.busy = false;
    }
  }

  /** @param {unknown} error */
  failed(error) {
    if (this.closing.signal.aborted || (error instanceof DOMException && error.name === "AbortError")) return;
    if (!(error instanceof Refused || error instanceof TypeError || error instanceof DOMException || error instanceof RangeError)) throw error;
    this.supply = "failed";
    if (error instanceof Refused && error.status === 403) this.listed = null;  // its URLs have expired
    this.retryAt = performance.now() + Math.max(2000, error instanceof Refused ? error.retryAfter * 1000 : 0);
  }

  restart() {
    this.work.abort();
    this.work = new AbortController();
    this.retryAt = 0;
  }

  /** @param {number} at @param {AbortSignal} signal */
  async step(at, signal) {
    const listed = await this.list(at, signal);
    const entry = this.next(listed, at);
    this.supply = "open";
    if (!entry) return;
    if (!(await this.prepare(entry, signal))) {
      this.supply = "unsupported";
      return;
    }
    await this.evict(at, signal);
    await this.append(entry, signal);
  }

  /** The first entry that is needed and not appended. @param {{entries: Entry[], independent: boolean}} listed @param {number} at */
  next({ entries, independent }, at) {
    const from = independent || this.holds(at) ? at : at - LEAD;
    const wanted = entries.filter((one) => one.end > from && one.start < at + AHEAD * Math.max(1, this.video.playbackRate));
    return wanted.find((one) => !this.appended.has(one.start));
  }

  /** The playlist around an instant; requested again near its end, and near now, where more will be listed. */
  async list(/** @type {number} */ at, /** @type {AbortSignal} */ signal) {
    const known = this.listed;
    const inside = known && known.from <= at - LEAD / 2 && at + AHEAD <= known.to;
    const end = known?.entries.at(-1)?.end ?? 0;
    const growing = known && known.to + SETTLING > known.asked * 1000 && end < at + AHEAD;
    if (inside && !(growing && Date.now() - known.asked > STALE_MS)) return known;
    if (known && inside === false && Date.now() - known.asked < 300) return known;
    const window = { from: at - LEAD, to: at + LISTED };
    const found = await this.playlist(window, signal);
    this.listed = { ...window, asked: Date.now(), ...found };
    return this.listed;
  }

  /** @param {{from: number, to: number}} window @param {AbortSignal} signal */
  async playlist(window, signal) {
    try {
      return parse(await (await ask(url(this.camera, "playlist.m3u8", window), { signal })).text());
    } catch (error) {
      if (error instanceof Refused && error.status === 404) return { entries: [], independent: true };
      throw error;
    }
  }

  /** Creates the buffer, or changes its type for another epoch. False: the browser cannot play it. @param {Entry} entry @param {AbortSignal} signal */
  async prepare(entry, signal) {
    const init = await bytes(entry.init, signal);
    const name = String(init);
    if (name === this.init) return true;
    const codec = codecOf(init) ?? "";
    const type = `video/mp4; codecs="${codec}"`;
    this.codec = codec;
    if (!Media || !Media.isTypeSupported(type)) return false;
    if (!this.buffer) {
      if (this.media.readyState !== "open") await once(this.media, "sourceopen", this.closing.signal);
      this.media.duration = 2 * DAYS_EACH_WAY;
      this.buffer = this.media.addSourceBuffer(type);
    } else if (typeof this.buffer.changeType === "function") {
      this.buffer.changeType(type);
    }
    [this.init, this.scale, this.track] = [name, timescale(init), firstTrack(init)];
    silence(init, this.track);
    await this.feed(init);
    return true;
  }

  /** Appends an entry one fragment at a time as it arrives. @param {Entry} entry @param {AbortSignal} signal */
  async append(entry, signal) {
    const buffer = /** @type {SourceBuffer} */ (this.buffer);
    const answer = await ask(entry.media.url, { headers: rangeOf(entry.media), signal });
    const reader = /** @type {ReadableStream<Uint8Array>} */ (answer.body).getReader();
    /** @type {Uint8Array} */
    let rest = new Uint8Array();
    let placed = false;
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        const held = joined(rest, value);
        const boxes = held.slice(0, whole(held));
        rest = held.subarray(boxes.length);
        if (!boxes.length) continue;
        silence(boxes, this.track);
        if (!placed) this.place(entry, decodeTime(boxes));
        placed = true;
        await this.feed(boxes);
      }
      this.appended.add(entry.start);
    } catch (error) {
      if (buffer.updating) await once(buffer, "updateend", this.closing.signal);
      buffer.abort();  // half a fragment may be in the parser
      throw error;
    }
  }

  /** Sets the timestamp offset, so that what is appended next is at the entry's time. @param {Entry} entry @param {number | null} ticks */
  place(entry, ticks) {
    if (ticks === null) throw new RangeError("media without a decode time");
    /** @type {SourceBuffer} */ (this.buffer).timestampOffset = this.seconds(entry.start) - ticks / this.scale;
  }

  /** @param {Uint8Array} data */
  async feed(data) {
    const buffer = /** @type {SourceBuffer} */ (this.buffer);
    const done = once(buffer, "updateend", this.closing.signal);
    buffer.appendBuffer(/** @type {BufferSource} */ (data));
    await done;
    if (this.video.error) throw new DOMException(this.video.error.message, "DataError");
  }

  /** Removes what is far from an instant. @param {number} at @param {AbortSignal} signal */
  async evict(at, signal) {
    const here = this.seconds(at);
    for (const [from, to] of [[0, here - KEPT_BEHIND_S], [here + KEPT_AHEAD_S, 2 * DAYS_EACH_WAY]]) {
      const buffer = /** @type {SourceBuffer} */ (this.buffer);
      if (signal.aborted || !overlaps(buffer.buffered, from, to)) continue;
      const done = once(buffer, "updateend", this.closing.signal);
      buffer.remove(from, to);
      await done;
      const inside = (/** @type {number} */ start) => this.seconds(start) < to && this.seconds(start) + 60 > from;
      this.appended = new Set([...this.appended].filter((start) => !inside(start)));
    }
  }
}

/** @param {TimeRanges} ranges @param {number} from @param {number} to */
function overlaps(ranges, from, to) {
  for (let n = 0; n < ranges.length; n++) if (ranges.start(n) < to && ranges.end(n) > from) return true;
  return false;
}

/** @param {{offset: number, length: number}} part */
const rangeOf = ({ offset, length }) => ({ Range: `bytes=${offset}-${offset + length - 1}` });

/** @param {import("./playlist.js").Part} part @param {AbortSignal} signal */
async function bytes(part, signal) {
  const answer = await ask(part.url, { headers: rangeOf(part), signal });
  return new Uint8Array(await answer.arrayBuffer());
}

/** @param {Uint8Array} a @param {Uint8Array} b */
function joined(a, b) {
  const out = new Uint8Array(a.length + b.length);
  out.set(a);
  out.set(b, a.length);
  return out;
}
