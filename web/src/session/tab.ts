/** What this tab keeps until it is closed: sessionStorage. Without storage it is kept as long as the page. */
const PREFIX = "playground.";
const memory = new Map<string, string>();

export function readTab<T>(name: string): T | null {
  try {
    const text = sessionStorage.getItem(PREFIX + name) ?? memory.get(name) ?? null;
    return text === null ? null : (JSON.parse(text) as T);
  } catch {
    return null;
  }
}

let isLeft = false;

/** Nothing is kept any more: the page is about to be left, and what is still going on in it is not the next person's. */
export function leaveTab(): void {
  isLeft = true;
}

export function writeTab(name: string, value: unknown): void {
  if (isLeft) return;
  const text = JSON.stringify(value);
  try {
    if (value === null) sessionStorage.removeItem(PREFIX + name);
    else sessionStorage.setItem(PREFIX + name, text);
    memory.delete(name);
  } catch {
    if (value === null) memory.delete(name);
    else memory.set(name, text);
  }
}

export function forgetTab(): void {
  memory.clear();
  try {
    for (const key of Object.keys(sessionStorage)) if (key.startsWith(PREFIX)) sessionStorage.removeItem(key);
  } catch {
    /* nothing is kept there */
  }
}
