/**
 * A run, read to its end. A stream that breaks is read on behind the last piece that came: by the id of the run, or, while
 * that is not known, by the request again with the same Idempotency-Key. Either way it is the same run, charged once.
 */
import { ApiError, errorOf, NetworkError, open, type Schemas } from "./client";
import { events } from "./sse";

export type RunBody = Partial<Schemas["RunBody"]> & Pick<Schemas["RunBody"], "input">;
export type RunAnswer = Schemas["RunAnswer"];

export type RunEvent =
  | { type: "run"; runId: string; sessionId: string; ceiling: number; maxTokens: number }
  | { type: "text"; text: string }
  | { type: "broken"; attempt: number; waitMs: number }
  | { type: "done"; answer: RunAnswer };

/** Both raise ApiError or NetworkError. `after`: characters that have been read; null: none. */
export interface Source {
  request(after: string | null): Promise<Response>;
  readOn(runId: string, after: string): Promise<Response>;
}

export interface FollowOptions {
  /** The run, where it is known before: a page that was loaded again. */
  runId?: string | null;
  /** The request has been sent before with this key, and what came of it is not known. */
  isRepeat?: boolean;
  signal?: AbortSignal;
  /** Ends early when there is a connection again, or the signal is aborted. */
  sleep?: (milliseconds: number, signal?: AbortSignal) => Promise<void>;
  random?: () => number;
}

export const MAX_FAILURES = 8; // one after the other, without a new piece between them
const MAX_WAITS = 150; // for a run that is made elsewhere; a run takes 300 s at most
const FIRST_WAIT_MS = 500;
const MAX_WAIT_MS = 8_000;
const MAX_SILENCE_MS = 25_000; // the API sends a comment every 10 s

/** Full jitter above half: after n failures in a row. */
export function backoff(failures: number, random: () => number): number {
  const most = Math.min(MAX_WAIT_MS, FIRST_WAIT_MS * 2 ** (failures - 1));
  return Math.round(most / 2 + (random() * most) / 2);
}

/**
 * Ends with `done`. Raises ApiError if the run was refused or failed, NetworkError if it cannot be read at present: it
 * goes on all the same, and can be followed again with the same source. `saysOutcome` tells which errors end a run.
 */
export async function* follow(source: Source, options: FollowOptions = {}): AsyncGenerator<RunEvent> {
  const { signal, sleep = wait, random = Math.random } = options;
  let runId = options.runId ?? null;
  let read = 0;
  let failures = 0;
  let waits = 0;
  let askAgain = false; // reading on was not possible: the request itself is repeated
  let saidRun = false;
  let mayHaveBegun = runId !== null || (options.isRepeat ?? false);
  let refusal: ApiError | null = null; // the last one that said nothing about the run
  for (;;) {
    signal?.throwIfAborted();
    let retryMs: number | null = null;
    try {
      const after = read > 0 ? String(read) : null;
      const answer = runId === null || askAgain ? await source.request(after) : await source.readOn(runId, after ?? "0");
      if (!answer.body) throw new NetworkError("The answer has no body.");
      for await (const { event, data, id } of events(answer.body, MAX_SILENCE_MS)) {
        const content = JSON.parse(data) as Record<string, unknown>;
        if (event === "run") {
          runId = String(content["run_id"]);
          mayHaveBegun = true;
          if (saidRun) continue;
          saidRun = true;
          yield {
            type: "run",
            runId,
            sessionId: String(content["session_id"]),
            ceiling: Number(content["ceiling"]),
            maxTokens: Number(content["max_tokens"]),
          };
        } else if (event === "delta") {
          const text = unread(String(content["text"]), Number(id), read);
          if (text === "") continue;
          read = Number(id);
          failures = 0;
          yield { type: "text", text };
        } else if (event === "done") {
          yield { type: "done", answer: content as unknown as RunAnswer };
          return;
        } else if (event === "error") {
          throw errorOf(statusOf(content), content);
        }
      }
      // The stream ended without its last event.
    } catch (error) {
      if (signal?.aborted) throw error;
      refusal = null;
      if (error instanceof ApiError) {
        if (error.code === "run_in_progress" && waits < MAX_WAITS) {
          waits += 1;
          mayHaveBegun = true;
          runId = error.runId ?? runId;
          retryMs = 1000 * Math.min(error.retryAfter ?? Number(error.facts["retry_after"] ?? 2), 10);
          askAgain = false;
        } else if (error.status === 404 && runId !== null && !askAgain) {
          askAgain = true;
          retryMs = 0;
        } else if (!isPassing(error, mayHaveBegun)) {
          throw error;
        } else {
          refusal = error;
          if (error.retryAfter !== null) {
            retryMs = 1000 * Math.min(error.retryAfter, 30);
            failures += 1;
          }
        }
      }
      // Anything else is a connection that broke, or text that is no event because it was cut.
    }
    mayHaveBegun = true; // sent, and not answered with an outcome
    if (retryMs === null) {
      failures += 1;
      retryMs = backoff(failures, random);
    }
    if (failures > MAX_FAILURES) throw refusal ?? new NetworkError("The connection was lost.");
    if (failures > 0) yield { type: "broken", attempt: failures, waitMs: retryMs };
    await sleep(retryMs, signal);
  }
}

/**
 * Whether an error tells how the run of a key has ended, or that there is none. `mayHaveBegun`: the request has been sent
 * before. Then a refusal that can come before the API looks for the run (401, 429, 5xx without the run's id) tells nothing,
 * and only the same key asks for the same run.
 */
export function saysOutcome(error: unknown, mayHaveBegun: boolean): error is ApiError {
  if (!(error instanceof ApiError) || error.code === "run_in_progress") return false;
  if (error.runId !== null) return true;
  return !isPassing(error, mayHaveBegun) && !(mayHaveBegun && error.status === 401);
}

/** Errors that say nothing about the run itself: what stands between has failed, or is busy. */
function isPassing(error: ApiError, mayHaveBegun: boolean): boolean {
  if (error.runId !== null) return false;
  if (error.code === "gateway_timed_out") return true;
  if (error.status >= 500 && error.code === "unknown") return true;
  return mayHaveBegun && (error.status >= 500 || error.status === 429);
}

/** The part of a piece behind the characters that have been read. The API counts code points. */
export function unread(text: string, end: number, read: number): string {
  if (!Number.isInteger(end)) return text;
  if (end <= read) return "";
  const characters = Array.from(text);
  return characters.slice(Math.max(0, characters.length - (end - read))).join("");
}

const STATUS: Readonly<Record<string, number>> = {
  run_in_progress: 409,
  run_cancelled: 409,
  session_conflict: 409,
  model_failed: 502,
  model_overloaded: 503,
  store_unavailable: 503,
  model_timed_out: 504,
};

function statusOf(body: Record<string, unknown>): number {
  return STATUS[String(body["error"])] ?? 500;
}

function wait(milliseconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      removeEventListener("online", end);
      signal?.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, milliseconds);
    addEventListener("online", end);
    signal?.addEventListener("abort", end);
  });
}

/** The API as a source. `body` null: the request is not known any more, only the run. */
export function apiSource(body: RunBody | null, key: string, signal: AbortSignal): Source {
  const lastId = (after: string | null) => (after === null ? {} : { headers: { "Last-Event-ID": after } });
  return {
    request: (after) =>
      open("post", "/playground/run/stream", { body: body as Schemas["RunBody"], key, signal, ...lastId(after) }),
    readOn: (runId, after) =>
      open("get", "/playground/runs/{run_id}/stream", { path: { run_id: runId }, signal, ...lastId(after) }),
  };
}
