/** Numbers and times for people. */

export function count(amount: number): string {
  return amount.toLocaleString("en-US");
}

/** "1 turn", "2,000 turns". `many`: where it is not `one` with an s. */
export function counted(amount: number, one: string, many = `${one}s`): string {
  return `${count(amount)} ${Math.abs(amount) === 1 ? one : many}`;
}

export function credits(amount: number): string {
  return counted(amount, "credit");
}

export function dollars(cents: number): string {
  return `$${(cents / 100).toFixed(2)}`;
}

/** An amount by which something changes. */
export function signed(amount: number): string {
  return amount > 0 ? `+${count(amount)}` : amount < 0 ? `−${count(-amount)}` : "0";
}

/** At most `most` characters, with an ellipsis in place of what is cut off. */
export function cut(text: string, most: number): string {
  const all = Array.from(text);
  return all.length > most ? `${all.slice(0, most - 1).join("").trimEnd()}…` : text;
}

/**
 * Times are written in the reader's time zone and, as all of the page is English, in one English form, whatever the
 * browser's language: "28 Nov 2026", "28 Nov, 14:05". What is no time is shown as it came.
 */
const LOCALE = "en-GB";

export function day(time: string): string {
  return written(time, (at) => at.toLocaleDateString(LOCALE, { day: "numeric", month: "short", year: "numeric" }));
}

/** A date of the API without a time ("2026-12-01"), which is a day in UTC. */
export function utcDay(date: string): string {
  const options = { day: "numeric", month: "short", year: "numeric", timeZone: "UTC" } as const;
  return written(date, (at) => at.toLocaleDateString(LOCALE, options));
}

/** A day of this year without the year. `at`: ms since 1970. */
export function dayNear(at: number, now = new Date()): string {
  return dayOfYear(new Date(at), now);
}

/** To the minute; the year is named if it is not this one. */
export function moment(time: string, now = new Date()): string {
  return written(time, (at) => `${dayOfYear(at, now)}, ${clock(at)}`);
}

/** As `moment`, with words for today and yesterday: days of the calendar, not spans of 24 hours. */
export function recently(time: string, now = new Date()): string {
  return written(time, (at) => {
    const days = daysBetween(at, now);
    const name = days === 0 ? "today" : days === 1 ? "yesterday" : dayOfYear(at, now);
    return `${name}, ${clock(at)}`;
  });
}

function written(time: string, write: (at: Date) => string): string {
  const at = new Date(time);
  return Number.isNaN(at.getTime()) ? time : write(at);
}

function dayOfYear(at: Date, now: Date): string {
  const year = at.getFullYear() === now.getFullYear() ? {} : ({ year: "numeric" } as const);
  return at.toLocaleDateString(LOCALE, { day: "numeric", month: "short", ...year });
}

function clock(at: Date): string {
  return at.toLocaleTimeString(LOCALE, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
}

/** Days of the reader's calendar; a day on which clocks are changed is one, too. */
function daysBetween(at: Date, now: Date): number {
  const number = (of: Date) => Date.UTC(of.getFullYear(), of.getMonth(), of.getDate()) / 86_400_000;
  return number(now) - number(at);
}

/** "2 h 5 min", "3 min", "40 s": rounded up, never shorter than it is. */
export function duration(seconds: number): string {
  const whole = Number.isFinite(seconds) ? Math.max(0, Math.ceil(seconds)) : 0;
  if (whole < 60) return `${whole} s`;
  const minutes = Math.ceil(whole / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return minutes % 60 === 0 ? `${hours} h` : `${hours} h ${minutes % 60} min`;
  return `${Math.ceil(minutes / (24 * 60))} days`;
}

/** Characters as the API counts them: code points. */
export function characters(text: string): number {
  let found = 0;
  for (const _ of text) found += 1;
  return found;
}

const EFFORTS: Readonly<Record<string, string>> = {
  low: "Low: fastest",
  medium: "Medium",
  high: "High",
  xhigh: "Very high",
  max: "Highest: slowest",
};

/** An effort of a model in words; one that is not known yet as the API spells it. */
export function effortName(effort: string): string {
  return Object.hasOwn(EFFORTS, effort) ? (EFFORTS[effort] as string) : effort;
}

const MODELS: Readonly<Record<string, string>> = { haiku: "Haiku", sonnet: "Sonnet", opus: "Opus" };

/** A model in words; one that is not known yet as the API spells it. */
export function modelName(model: string): string {
  return Object.hasOwn(MODELS, model) ? (MODELS[model] as string) : model;
}
