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

export function day(time: string): string {
  return new Date(time).toLocaleDateString("en-GB", { day: "numeric", month: "short", year: "numeric" });
}

export function moment(time: string): string {
  return new Date(time).toLocaleString("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
}

/** "2 h 5 min", "3 min", "40 s": rounded up, never shorter than it is. */
export function duration(seconds: number): string {
  const whole = Math.max(0, Math.ceil(seconds));
  if (whole < 60) return `${whole} s`;
  const minutes = Math.ceil(whole / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return minutes % 60 === 0 ? `${hours} h` : `${hours} h ${minutes % 60} min`;
  return `${Math.ceil(hours / 24)} days`;
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
  return EFFORTS[effort] ?? effort;
}
