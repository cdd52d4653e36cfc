/** The comparison that this tab has begun and has not seen the end of. A repeat with its key is the same comparison, and is not charged again. */
import { newKey } from "../../api/client";
import { readTab, writeTab } from "../../session/tab";

const COMPARING = "comparing";

interface Attempt {
  request: string;
  key: string;
}

/** The key of the same request if it was begun and may still be going on, otherwise a new one, which is kept. */
export function keyFor(request: unknown): string {
  const text = JSON.stringify(request);
  const begun = readTab<Attempt>(COMPARING);
  if (begun?.request === text) return begun.key;
  const key = newKey();
  writeTab(COMPARING, { request: text, key } satisfies Attempt);
  return key;
}

/** Its end was seen: the same request is another comparison from now on. */
export function ended(): void {
  writeTab(COMPARING, null);
}
