/** Numbers and times for people. */

export function count(amount: number): string {
  return amount.toLocaleString("en-US");
}

export function credits(amount: number): string {
  return `${count(amount)} ${Math.abs(amount) === 1 ? "credit" : "credits"}`;
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
