/**
 * A comparison, followed until every column has its end. A column whose stream broke off is read on by its run. One whose run
 * is not known is found by the same request with the same Idempotency-Key: that is the same comparison, charged once.
 */
import { ApiError, NetworkError, open, type Schemas } from "../../api/client";
import { events } from "../../api/sse";
import { applied, begunAnew, brokenOff, dataOf, failureOf, isOver, lost, newColumns, next, type Column, type ServerEvent } from "./columns";

/** Both raise ApiError or NetworkError. */
export interface Source {
  compare(): Promise<Response>;
  /** `after`: characters of its answer that have been read. */
  readOn(runId: string, after: string): Promise<Response>;
}

interface Options {
  signal: AbortSignal;
  show: (columns: Column[]) => void;
  /** Columns of the same comparison that were lost: it has begun. */
  from?: readonly Column[] | null;
  sleep?: (milliseconds: number) => Promise<void>;
}

const MAX_ATTEMPTS = 6; // one after the other in which nothing new came
const MAX_WAITS = 150; // for a comparison that is made elsewhere; a run takes 300 s at most
const FIRST_WAIT_MS = 500;
const MAX_WAIT_MS = 16_000;
const MAX_SILENCE_MS = 25_000; // the API sends a comment every 10 s

/**
 * Ends with every column done, failed, or lost: what is lost may still be made, and can be followed again (`from`). Raises
 * what the comparison was refused for, or the NetworkError of the first request.
 */
export async function followComparison(count: number, source: Source, options: Options): Promise<Column[]> {
  const { signal, show, sleep = wait } = options;
  let columns = options.from ? brokenOff(options.from) : newColumns(count);
  let hasBegun = options.from != null;
  let failures = 0;
  let waits = 0;
  let best = progress(columns);
  const change = (now: Column[]) => {
    columns = now;
    if (!signal.aborted) show(now);
  };
  const isEnd = () => signal.aborted || columns.every(isOver);
  show(columns);
  while (!isEnd() && failures < MAX_ATTEMPTS && waits < MAX_WAITS) {
    let waitMs: number | null = null;
    const unknown = columns.some((column) => !isOver(column) && column.runId === null);
    if (unknown) {
      try {
        const answer = await source.compare();
        hasBegun = true;
        change(begunAnew(columns));
        // An error of no column ends the stream and no run: by now credits are held for all of them.
        await read(answer, (event) => change(applied(columns, event)));
      } catch (error) {
        if (signal.aborted) break;
        if (hasBegun && isSignedOut(error)) break;
        if (error instanceof ApiError && error.code === "run_in_progress") {
          // It is being made, by a request before this one.
          hasBegun = true;
          waitMs = 1000 * Math.min(error.retryAfter ?? 2, 10);
        } else if (!hasBegun) throw error;
        else if (isSaid(error)) {
          const failure = failureOf(error);
          change(columns.map((column) => (isOver(column) || column.runId !== null ? column : { ...column, state: "failed", failure })));
        }
      }
    } else {
      const place = (at: number, now: Column) => change(columns.map((each, index) => (index === at ? now : each)));
      try {
        await Promise.all(columns.map((column, at) => readColumn(column, source, signal, (now) => place(at, now))));
      } catch {
        break; // signed out
      }
    }
    if (isEnd()) break;
    change(brokenOff(columns));
    if (waitMs !== null) waits += 1;
    else if (progress(columns) > best) failures = 1;
    else failures += 1;
    best = Math.max(best, progress(columns));
    await sleep(waitMs ?? Math.min(MAX_WAIT_MS, FIRST_WAIT_MS * 2 ** (failures - 1)));
  }
  if (!isEnd()) change(lost(columns));
  return columns;
}

/** More than before only if something came that was not there yet. */
function progress(columns: readonly Column[]): number {
  return columns.reduce((sum, each) => sum + each.text.length + (each.runId === null ? 0 : 1) + (isOver(each) ? 1_000_000 : 0), 0);
}

function isSignedOut(error: unknown): boolean {
  return error instanceof ApiError && error.status === 401;
}

/** One run behind its last piece. What cannot be read now is tried again by the caller; raises when one is signed out. */
async function readColumn(column: Column, source: Source, signal: AbortSignal, change: (column: Column) => void): Promise<void> {
  if (isOver(column) || column.runId === null) return;
  let current = column;
  const take = (now: Column) => {
    current = now;
    change(now);
  };
  try {
    await read(await source.readOn(column.runId, column.lastId ?? "0"), (event) => take(next(current, event, dataOf(event))));
  } catch (error) {
    if (signal.aborted || !(error instanceof ApiError)) return;
    if (isSignedOut(error)) throw error;
    // A run that is not found has not been stored yet, or its function has died: the comparison itself says which.
    if (error.status === 404) take({ ...current, runId: null });
    else if (isSaid(error)) take({ ...current, state: "failed", failure: failureOf(error) });
  }
}

/** The API has said how it ended, or that it never begins. Other errors are of what stands between, or busy, and pass. */
export function isSaid(error: unknown): boolean {
  if (!(error instanceof ApiError) || isSignedOut(error) || error.code === "run_in_progress" || error.code === "unknown") return false;
  return error.runId !== null || (error.status < 500 && error.status !== 429);
}

/** The events of an answer, each with its data read, until it ends or breaks. */
async function read(answer: Response, each: (event: ServerEvent) => void): Promise<void> {
  if (!answer.body) throw new NetworkError("The answer has no body.");
  try {
    for await (const { event, id, data } of events(answer.body, MAX_SILENCE_MS)) each({ event, id, data: parsed(data) });
  } catch {
    /* broken off: what came is there */
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function wait(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

export function apiSource(request: { input: string; variants: Schemas["Variant"][] }, key: string, signal: AbortSignal): Source {
  return {
    compare: () => open("post", "/playground/compare/stream", { body: request, key, signal }),
    readOn: (runId, after) => open("get", "/playground/runs/{run_id}/stream", { path: { run_id: runId }, headers: { "Last-Event-ID": after }, signal }),
  };
}
