// Times and numbers as people read them. A time or a duration is never broken over two lines.

import { el } from "./dom.js";

/** `1 call`, `2 calls`. */
export function count(number, one, many = `${one}s`) {
  return `${number} ${number === 1 ? one : many}`;
}

/** Seconds as `12 ms`, `3.4 s`, `2 min 5 s`, `3 h 2 min`, `2 d 4 h`. */
export function duration(seconds) {
  if (seconds < 0.9995) return `${Math.max(0, Math.round(seconds * 1000))} ms`;
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

const TIME = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const DAY = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });
const WHOLE = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });

/** A duration as an element, for the middle of a text. */
export function lapse(seconds) {
  return el("span", { class: "lapse" }, duration(seconds));
}

/** A `<time>`: the time of day; of another day than today the day, and no seconds. */
export function moment(seconds) {
  const date = new Date(seconds * 1000);
  const today = date.toDateString() === new Date().toDateString();
  const made = document.createElement("time");
  made.dateTime = date.toISOString();
  made.title = WHOLE.format(date);
  made.textContent = (today ? TIME : DAY).format(date);
  return made;
}

/** The time of day. */
export function clock(date) {
  return TIME.format(date);
}
