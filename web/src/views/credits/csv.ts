/** The history as a file, from pages of CSV. */
import { ApiError, open, type Schemas } from "../../api/client";

export type EntryType = Schemas["Transaction"]["type"];

export const MAX_PAGES = 500; // of 100 lines
const PAGE_SIZE = 100;
const MAX_ATTEMPTS = 4; // for one page
const MAX_WAIT_SECONDS = 30;

export interface Csv {
  parts: string[];
  lines: number;
  /** There are more than MAX_PAGES pages: older lines are missing. */
  isCut: boolean;
}

interface Options {
  signal: AbortSignal;
  /** Lines read so far. */
  onProgress: (lines: number) => void;
  sleep?: (milliseconds: number) => Promise<void>;
}

/** Raises what a page could not be had for: there is no file with a gap in it. */
export async function readCsv(get: (cursor: string | null) => Promise<Response>, { signal, onProgress, sleep = wait }: Options): Promise<Csv> {
  const parts: string[] = [];
  const seen = new Set<string>();
  let lines = 0;
  let cursor: string | null = null;
  for (let page = 0; page < MAX_PAGES; page += 1) {
    const answer: Response = await patiently(get, cursor, signal, sleep);
    const text = await answer.text();
    const body = page === 0 ? text : withoutHeading(text);
    parts.push(body);
    lines += rows(body) - (page === 0 ? 1 : 0);
    onProgress(lines);
    cursor = nextCursor(answer.headers.get("Link"));
    if (cursor === null || seen.has(cursor)) return { parts, lines, isCut: false };
    seen.add(cursor);
  }
  return { parts, lines, isCut: true };
}

async function patiently(
  get: (cursor: string | null) => Promise<Response>,
  cursor: string | null,
  signal: AbortSignal,
  sleep: (milliseconds: number) => Promise<void>,
): Promise<Response> {
  for (let attempt = 1; ; attempt += 1) {
    signal.throwIfAborted();
    try {
      return await get(cursor);
    } catch (error) {
      const isPassing = error instanceof ApiError && (error.status === 429 || error.status === 503);
      if (!isPassing || attempt >= MAX_ATTEMPTS) throw error;
      await sleep(1000 * Math.min(error.retryAfter ?? attempt, MAX_WAIT_SECONDS));
    }
  }
}

/** Of `<?limit=100&cursor=Mg>; rel="next"`. The address leads to the same route: nothing but its cursor is used. */
export function nextCursor(link: string | null): string | null {
  for (const [, target, parameters] of (link ?? "").matchAll(/<([^>]*)>([^<]*)/g)) {
    if (!/;\s*rel="?next"?/i.test(parameters ?? "")) continue;
    return new URLSearchParams((target ?? "").replace(/^[^?]*/, "")).get("cursor") || null;
  }
  return null;
}

function withoutHeading(text: string): string {
  return text.slice(text.indexOf("\n") + 1);
}

/** Line ends within quotes are of a field. */
function rows(text: string): number {
  let found = 0;
  let isQuoted = false;
  for (const character of text) {
    if (character === '"') isQuoted = !isQuoted;
    else if (character === "\n" && !isQuoted) found += 1;
  }
  return found;
}

export function historyPages(type: EntryType | "", signal: AbortSignal) {
  return (cursor: string | null): Promise<Response> =>
    open("get", "/playground/credits/history", {
      query: { limit: PAGE_SIZE, ...(type && { type }), ...(cursor !== null && { cursor }) },
      headers: { Accept: "text/csv" },
      signal,
    });
}

function wait(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
