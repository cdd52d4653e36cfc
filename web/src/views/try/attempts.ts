/**
 * The runs that this tab has asked for and has not seen the end of, by their requests. A request that is made again with
 * its key is the same run, and is charged once; after its outcome the same request is a new run.
 */
import { newKey } from "../../api/client";
import type { RunBody } from "../../api/stream";
import { readTab, writeTab } from "../../session/tab";

const ATTEMPTS = "attempts";
const MAX_ATTEMPTS = 20; // the oldest are forgotten

interface Attempt {
  request: string;
  key: string;
  /** It was sent, and no answer told what came of it. */
  mayHaveBegun: boolean;
}

const all = (): Attempt[] => readTab<Attempt[]>(ATTEMPTS) ?? [];

function save(attempts: Attempt[]): void {
  writeTab(ATTEMPTS, attempts.length === 0 ? null : attempts.slice(-MAX_ATTEMPTS));
}

/** The attempt at this request: the one before, if its outcome is not known, otherwise a new one. */
export function attemptAt(body: RunBody): Pick<Attempt, "key" | "mayHaveBegun"> {
  const request = JSON.stringify(body);
  const before = all().find((each) => each.request === request);
  if (before !== undefined) return before;
  const attempt = { request, key: newKey(), mayHaveBegun: false };
  save([...all(), attempt]);
  return attempt;
}

export function noteBegun(key: string): void {
  save(all().map((each) => (each.key === key ? { ...each, mayHaveBegun: true } : each)));
}

/** The API has said what came of it. */
export function noteOutcome(key: string): void {
  save(all().filter((each) => each.key !== key));
}
