/** What this tab keeps until it is closed: sessionStorage. Without storage it is kept as long as the page. */
const PREFIX = "playground.";
const memory = new Map<string, string>();

export function readTab<T>(name: string): T | null {
  try {
    const text = memory.get(name) ?? sessionStorage.getItem(PREFIX + name);
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
  memory.delete(name);
  try {
    // First: where there is no room for the new value, the page that is loaded next must not read the one before it.
    sessionStorage.removeItem(PREFIX + name);
    if (value !== null) sessionStorage.setItem(PREFIX + name, JSON.stringify(value));
  } catch {
    if (value !== null) memory.set(name, JSON.stringify(value));
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
