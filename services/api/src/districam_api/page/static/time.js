/** Instants are integer microseconds since 1970 UTC, which a double holds exactly. Pure. */

export const SECOND = 1_000_000;
export const MINUTE = 60 * SECOND;
export const HOUR = 60 * MINUTE;

/** @type {Map<string, Intl.DateTimeFormat>} */
const formats = new Map();

/** @param {string} zone */
function formatOf(zone) {
  const known = formats.get(zone);
  if (known) return known;
  const numeric = /** @type {const} */ ("2-digit");
  const made = new Intl.DateTimeFormat("en-CA", {
    timeZone: zone, hourCycle: "h23", year: "numeric", month: numeric, day: numeric,
    hour: numeric, minute: numeric, second: numeric,
  });
  formats.set(zone, made);
  return made;
}

/**
 * The instant of an RFC 3339 text.
 * @param {string} text
 * @returns {number} µs
 */
export function parseUs(text) {
  const match = /^(.*?:\d\d)(?:\.(\d+))?(Z|[-+]\d\d:\d\d)$/i.exec(text);
  if (!match) throw new RangeError(`no instant: ${text}`);
  const micros = Number((match[2] ?? "").padEnd(6, "0").slice(0, 6));
  return Date.parse(match[1] + match[3]) * 1000 + micros;
}

/**
 * RFC 3339 in UTC with six decimals.
 * @param {number} us
 */
export function rfc3339(us) {
  const whole = new Date(Math.floor(us / SECOND) * 1000).toISOString().slice(0, 19);
  return `${whole}.${String(Math.floor(us) % SECOND).padStart(6, "0")}Z`;
}

/**
 * Date and time of day in a zone.
 * @param {number} us
 * @param {string} zone
 * @returns {{date: string, time: string}} YYYY-MM-DD and HH:MM:SS
 */
export function local(us, zone) {
  /** @type {Record<string, string>} */
  const p = {};
  for (const part of formatOf(zone).formatToParts(us / 1000)) p[part.type] = part.value;
  return { date: `${p.year}-${p.month}-${p.day}`, time: `${p.hour}:${p.minute}:${p.second}` };
}

/**
 * The instant of a local date and time. If ambiguous (clock set back) the first; if missing, the one an hour later.
 * @param {string} date YYYY-MM-DD
 * @param {string} time HH:MM:SS
 * @param {string} zone
 */
export function fromLocal(date, time, zone) {
  const asUtc = Date.parse(`${date}T${time}Z`) * 1000;
  if (Number.isNaN(asUtc)) throw new RangeError(`no time: ${date} ${time}`);
  const offsets = [asUtc - 24 * HOUR, asUtc + 24 * HOUR].map((at) => offset(at, zone));
  const fits = offsets.map((by) => asUtc - by).filter((us) => us + offset(us, zone) === asUtc);
  return fits.length ? Math.min(...fits) : asUtc - offsets[0];
}

/** How far local time is ahead of UTC. @param {number} us @param {string} zone */
function offset(us, zone) {
  const whole = Math.floor(us / SECOND) * SECOND;
  const shown = local(whole, zone);
  return Date.parse(`${shown.date}T${shown.time}Z`) * 1000 - whole;
}

/**
 * The date some days later.
 * @param {string} date YYYY-MM-DD
 * @param {number} days
 */
export function addDays(date, days) {
  return new Date(Date.parse(`${date}T00:00:00Z`) + days * 86_400_000).toISOString().slice(0, 10);
}

/**
 * The local day that contains an instant; half-open.
 * @param {number} us
 * @param {string} zone
 * @returns {{from: number, to: number}}
 */
export function dayOf(us, zone) {
  const { date } = local(us, zone);
  return { from: fromLocal(date, "00:00:00", zone), to: fromLocal(addDays(date, 1), "00:00:00", zone) };
}

/**
 * The window of length `span` that contains an instant, aligned in its local day; 24 h is the local day.
 * @param {number} us
 * @param {number} span
 * @param {string} zone
 */
export function windowOf(us, span, zone) {
  const day = dayOf(us, zone);
  if (span >= 24 * HOUR) return day;
  const from = day.from + Math.floor((us - day.from) / span) * span;
  return { from, to: Math.min(from + span, day.to) };
}

/**
 * A time of day as people type it: 21:40, 21h40, 2140, 21:40:05, 9h.
 * @param {string} text
 * @returns {string | null} HH:MM:SS
 */
export function timeOfDay(text) {
  const match = /^\s*(\d{1,2})\s*(?:[:hg.]\s*(\d{2})?|(?=\d{2}\s*$)(\d{2}))(?:[:m.]\s*(\d{2}))?\s*$/i.exec(text);
  if (!match) return null;
  const [hour, minute, second] = [match[1], match[2] ?? match[3] ?? "0", match[4] ?? "0"].map(Number);
  if (hour > 23 || minute > 59 || second > 59) return null;
  return [hour, minute, second].map((n) => String(n).padStart(2, "0")).join(":");
}

/**
 * A date as dd/mm/yyyy; without a year, today's.
 * @param {string} text
 * @param {string} today YYYY-MM-DD
 * @returns {string | null} YYYY-MM-DD
 */
export function dateOf(text, today) {
  const match = /^\s*(\d{1,2})[/.-](\d{1,2})(?:[/.-](\d{4}))?\s*$/.exec(text);
  if (!match) return null;
  const date = `${match[3] ?? today.slice(0, 4)}-${match[2].padStart(2, "0")}-${match[1].padStart(2, "0")}`;
  const at = Date.parse(`${date}T00:00:00Z`);
  return Number.isNaN(at) || new Date(at).toISOString().slice(0, 10) !== date ? null : date;
}

/** @param {string} date YYYY-MM-DD */
export const dateText = (date) => date.split("-").reverse().join("/");

const DAYS = [
  { days: 0, words: /(?:^|[\s,])(?:hôm nay|hom nay|today)(?=$|[\s,])/i },
  { days: -1, words: /(?:^|[\s,])(?:hôm qua|hom qua|tối qua|toi qua|yesterday)(?=$|[\s,])/i },
  { days: -2, words: /(?:^|[\s,])(?:hôm kia|hom kia)(?=$|[\s,])/i },
];
const CLOCK = /(?:^|[\s,])(?:lúc |luc |at )?(\d{1,2}(?::\d{2}(?::\d{2})?|[hg]\d{0,2}))(?=$|[\s,])/i;
const DATE = /(?:^|[\s,])(?:ngày |ngay )?(\d{1,2}\/\d{1,2}(?:\/\d{4})?)(?=$|[\s,])/i;

/**
 * Splits "Liên Nghĩa, hôm qua 21:40" into the place and the time that it names.
 * @param {string} text
 * @param {string} today YYYY-MM-DD
 * @returns {{place: string, date: string | null, time: string | null}}
 */
export function asked(text, today) {
  let place = text;
  /** @type {string | null} */
  let date = null;
  for (const { days, words } of DAYS) {
    if (date || !words.test(place)) continue;
    [date, place] = [addDays(today, days), place.replace(words, " ")];
  }
  const written = DATE.exec(place);
  const said = written && dateOf(written[1], today);
  if (!date && said) [date, place] = [said, place.replace(DATE, " ")];
  const clock = CLOCK.exec(place);
  const time = clock && timeOfDay(clock[1]);
  if (time) place = place.replace(CLOCK, " ");
  return { place: place.replace(/[\s,]+/g, " ").trim(), date, time };
}
