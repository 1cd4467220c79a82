// Numbers, times and states in words: one way of writing each, everywhere on the page.

const NUMBER = new Intl.NumberFormat("en");
const FINE = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const FINER = new Intl.NumberFormat("en", { maximumFractionDigits: 2 });
const MINUTE = 60;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** A whole number with its thousands apart; a dash for none. */
export function count(number) {
  return typeof number === "number" ? NUMBER.format(Math.round(number)) : "–";
}

/** "1 flag", "2 flags". */
export function counted(number, one, many = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : many}`;
}

/** A number as exact as its size makes useful. */
export function rough(number) {
  if (typeof number !== "number") return "–";
  if (Math.abs(number) >= 100) return count(number);
  return (Math.abs(number) < 10 ? FINER : FINE).format(number);
}

/** A share in percent, with two decimals at most. */
export function percent(number) {
  // They stay on one line.
  return `${FINER.format(number)}\u00a0%`;
}

/** A span of time in its one or two largest units; a dash for none. */
export function span(seconds) {
  if (typeof seconds !== "number" || !Number.isFinite(seconds)) return "–";
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 2 * MINUTE) return `${whole} s`;
  if (whole < 2 * HOUR) return `${Math.floor(whole / MINUTE)} min`;
  if (whole < 2 * DAY) {
    const minutes = Math.floor((whole % HOUR) / MINUTE);
    return `${Math.floor(whole / HOUR)} h${minutes ? ` ${minutes} min` : ""}`;
  }
  return `${count(Math.floor(whole / DAY))} d`;
}

/** "8 s ago"; a dash for none. */
export function ago(seconds) {
  return typeof seconds === "number" ? `${span(seconds)} ago` : "–";
}

/** Thousandths of a second, for eyes. */
export function millis(number) {
  if (typeof number !== "number") return "–";
  return number >= 1000 ? `${rough(number / 1000)} s` : `${rough(number)} ms`;
}

/** Bytes in a unit that leaves one to three digits. */
export function bytes(number) {
  if (typeof number !== "number") return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let size = number;
  let unit = 0;
  for (; size >= 1024 && unit < units.length - 1; unit += 1) size /= 1024;
  return `${unit ? rough(size) : count(size)} ${units[unit]}`;
}

/** A moment, given in seconds since 1970, as the reader's clock shows it. */
export function clock(at) {
  const moment = new Date(at * 1000);
  const time = moment.toLocaleTimeString("en-GB");
  return moment.toDateString() === new Date().toDateString()
    ? time
    : `${moment.toLocaleDateString("en-GB", { day: "numeric", month: "short" })} ${time}`;
}

/** A name of the program's as words: "oldest_age_seconds" → "oldest age". */
export function worded(name) {
  return name.replace(/_(seconds|bytes|millis)$/u, "").replaceAll("_", " ");
}

/** A value of a kind that its name tells. */
export function valued(name, value) {
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (value === null || value === undefined || value === "") return "–";
  if (typeof value !== "number") return String(value);
  if (/seconds$/u.test(name)) return value < 1 ? millis(value * 1000) : span(value);
  if (/(^|_)bytes(_|$)/u.test(name)) return bytes(value);
  if (/(_at|^at|^as_of)$/u.test(name)) return clock(value);
  return Number.isInteger(value) ? count(value) : rough(value);
}

/** Any JSON value on one line, cut after `most` characters. */
export function jsonText(value, most = 200) {
  const text = JSON.stringify(value) ?? "nothing";
  return text.length > most ? `${text.slice(0, most)}…` : text;
}
