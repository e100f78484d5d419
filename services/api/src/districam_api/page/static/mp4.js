/** The parts of ISO/IEC 14496-12 and -15 that the page reads itself. Pure. */

/** @param {DataView} view @param {number} at */
function kind(view, at) {
  return String.fromCharCode(...[4, 5, 6, 7].map((n) => view.getUint8(at + n)));
}

/** Bytes between a box's header and its first child: fields of FullBox, SampleEntry, VisualSampleEntry. @type {Record<string, number>} */
const LEAD = { stsd: 8, avc1: 78, avc3: 78, hvc1: 78, hev1: 78 };

/**
 * The box at a path of types, `*` for any; null if it is missing or incomplete.
 * @param {Uint8Array} bytes
 * @param {string[]} path
 * @returns {{kind: string, parent: string, body: DataView} | null}
 */
export function box(bytes, path) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let [from, to, parent] = [0, view.byteLength, ""];
  for (const [depth, wanted] of path.entries()) {
    const found = among(view, from, to, wanted);
    if (found === null) return null;
    const name = kind(view, found);
    const end = found + view.getUint32(found);
    const body = found + 8 + (LEAD[name] ?? 0);
    if (depth === path.length - 1) {
      if (end > view.byteLength) return null;
      return { kind: name, parent, body: new DataView(bytes.buffer, bytes.byteOffset + body, end - body) };
    }
    [from, to, parent] = [body, Math.min(end, view.byteLength), name];
  }
  return null;
}

/** @param {DataView} view @param {number} from @param {number} to @param {string} wanted */
function among(view, from, to, wanted) {
  for (let at = from; at + 8 <= to; ) {
    const size = view.getUint32(at);
    if (wanted === "*" || kind(view, at) === wanted) return at;
    if (size < 8) return null;
    at += size;
  }
  return null;
}

const SAMPLE = ["moov", "trak", "mdia", "minf", "stbl", "stsd", "*"];

/**
 * The RFC 6381 name of an init's video codec, such as avc1.640028; null if it is neither H.264 nor H.265.
 * The video is the first track.
 * @param {Uint8Array} init
 */
export function codecOf(init) {
  const avc = box(init, [...SAMPLE, "avcC"]);
  if (avc) return `${avc.parent}.${[1, 2, 3].map((n) => hex(avc.body.getUint8(n))).join("")}`;
  const hevc = box(init, [...SAMPLE, "hvcC"]);
  return hevc && hevcName(hevc.parent, hevc.body);
}

/** @param {number} byte */
const hex = (byte) => byte.toString(16).padStart(2, "0");

/** RFC 6381 name from HEVCDecoderConfigurationRecord (14496-15 annex E). @param {string} kind_ @param {DataView} body */
function hevcName(kind_, body) {
  const profile = body.getUint8(1);
  const space = ["", "A", "B", "C"][profile >> 6];
  let [flags, reversed] = [body.getUint32(2), 0];
  for (let n = 0; n < 32; n++, flags >>>= 1) reversed = reversed * 2 + (flags & 1);
  const tier = profile & 0x20 ? "H" : "L";
  const bytes = [6, 7, 8, 9, 10, 11].map((n) => body.getUint8(n));
  while (bytes.length && !bytes.at(-1)) bytes.pop();
  const constraints = bytes.map((byte) => `.${byte.toString(16).toUpperCase()}`).join("");
  return `${kind_}.${space}${profile & 31}.${reversed.toString(16)}.${tier}${body.getUint8(12)}${constraints}`;
}

/** The timescale of an init's first track (mdhd, 14496-12 8.4.2). @param {Uint8Array} init */
export function timescale(init) {
  const body = box(init, ["moov", "trak", "mdia", "mdhd"])?.body;
  return body ? body.getUint32(body.getUint8(0) ? 20 : 12) : 0;
}

/**
 * The decode time of the first fragment, in ticks (baseMediaDecodeTime, 8.8.12); null while its moof is incomplete.
 * @param {Uint8Array} media
 */
export function decodeTime(media) {
  const body = box(media, ["moof", "traf", "tfdt"])?.body;
  if (!body) return null;
  return body.getUint8(0) ? Number(body.getBigUint64(4)) : body.getUint32(4);
}

/** Reads track_ID from the boxes that belong to one track. @type {Record<string, (view: DataView) => number>} */
const TRACK = {
  trak: (body) => body.getUint32(8 + (body.getUint8(8) ? 20 : 12)),  // tkhd (8.3.2), the first box
  trex: (body) => body.getUint32(4),
  traf: (body) => body.getUint32(8 + 4),  // tfhd (8.8.7), the first box
};
const INSIDE = new Set(["moov", "mvex", "moof"]);

/**
 * Hides every track but one from a player, in place: the types of their boxes become `free`.
 *
 * A player stalls where one of its tracks has no data, and audio may be missing for long: it must not stop the video.
 * @param {Uint8Array} bytes whole boxes
 * @param {number} track
 */
export function silence(bytes, track) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0; at + 8 <= view.byteLength; ) {
    const [size, name] = [view.getUint32(at), kind(view, at)];
    if (size < 8) return;
    const inner = bytes.subarray(at + 8, at + size);
    const number = TRACK[name]?.(new DataView(inner.buffer, inner.byteOffset, inner.byteLength));
    if (number !== undefined && number !== track) bytes.set([0x66, 0x72, 0x65, 0x65], at + 4);
    if (INSIDE.has(name)) silence(inner, track);
    at += size;
  }
}

/** The track_ID of an init's first track (tkhd, 8.3.2). @param {Uint8Array} init */
export function firstTrack(init) {
  const body = box(init, ["moov", "trak", "tkhd"])?.body;
  return body ? body.getUint32(body.getUint8(0) ? 20 : 12) : 0;
}

/**
 * How many bytes from the start are complete boxes.
 * @param {Uint8Array} bytes
 */
export function whole(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  while (at + 8 <= view.byteLength) {
    const size = view.getUint32(at);
    if (size < 8) throw new RangeError("not an MP4 that ingest makes");
    if (at + size > view.byteLength) break;
    at += size;
  }
  return at;
}
