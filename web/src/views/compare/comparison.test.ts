import { describe, expect, it } from "vitest";
import { ApiError, NetworkError } from "../../api/client";
import type { Column } from "./columns";
import { followComparison, isSaid, type Source } from "./comparison";

type Event = [name: string, data: unknown, id?: string];

/** A stream with these events, which then ends. */
function stream(...events: Event[]): Response {
  const text = events.map(([name, data, id]) => `event: ${name}\n${id === undefined ? "" : `id: ${id}\n`}data: ${JSON.stringify(data)}\n\n`);
  return new Response(text.join(""));
}

const run = (index: number): Event => ["run", { index, run_id: `run_${index}`, session_id: `ses_${index}`, ceiling: 2 }];
const delta = (index: number, text: string, id: string): Event => ["delta", { index, text }, id];
const done = (index: number): Event => ["done", { index, run_id: `run_${index}`, session_id: `ses_${index}`, response: `answer ${index}`, credits_spent: 1 }];
const error = (index: number | null, code: string): Event => ["error", { ...(index !== null && { index }), error: code, message: "No." }];

interface Script {
  compare: (Response | Error)[];
  runs?: Record<string, (Response | Error)[]>;
}

/** Answers in the order of the script; when it is at its end, there is no connection. */
async function followed(script: Script, count = 2, from: Column[] | null = null) {
  const asked: string[] = [];
  const answer = (answers: (Response | Error)[] = []) => {
    const next = answers.shift() ?? new NetworkError("No connection.");
    return next instanceof Error ? Promise.reject(next) : Promise.resolve(next);
  };
  const source: Source = {
    compare: () => (asked.push("compare"), answer(script.compare)),
    readOn: (runId, after) => (asked.push(`${runId} ${after}`), answer(script.runs?.[runId])),
  };
  const waits: number[] = [];
  const shown: string[] = [];
  const columns = await followComparison(count, source, {
    signal: new AbortController().signal,
    from,
    show: (now) => shown.push(now.map((each) => each.state).join(" ")),
    sleep: (milliseconds) => (waits.push(milliseconds) > 400 ? Promise.reject(new Error("It does not end.")) : Promise.resolve()),
  });
  return { columns, asked, waits, shown, states: columns.map((each) => each.state), texts: columns.map((each) => each.text) };
}

describe("an error", () => {
  it("says what came of it only in the words of the API", () => {
    const said = (status: number, code: string, facts = {}) => isSaid(new ApiError(status, code, "…", facts));
    expect([said(402, "insufficient_credits"), said(404, "package_not_found"), said(502, "model_failed", { run_id: "run_0" })]).toEqual([true, true, true]);
    expect([said(409, "run_in_progress"), said(401, "unauthorized"), said(429, "rate_limited"), said(503, "store_unavailable")]).toEqual([false, false, false, false]);
    expect([said(403, "unknown"), said(409, "unknown"), isSaid(new NetworkError("…"))]).toEqual([false, false, false]);
  });
});

describe("a comparison that is followed", () => {
  it("is one request if nothing breaks", async () => {
    const found = await followed({ compare: [stream(run(0), run(1), done(1), done(0), ["end", { credits_spent: 2 }])] });
    expect([found.asked, found.texts]).toEqual([["compare"], ["answer 0", "answer 1"]]);
  });

  it("reads on each run that has begun behind what was read", async () => {
    const found = await followed({
      compare: [stream(run(0), run(1), delta(0, "ans", "3"), done(1))],
      runs: { run_0: [stream(["delta", { text: "wer" }, "6"]), stream(["done", { run_id: "run_0", response: "answer" }])] },
    });
    expect(found.asked).toEqual(["compare", "run_0 3", "run_0 6"]);
    expect(found.texts).toEqual(["answer", "answer 1"]);
  });

  it("that ended without a word of one column asks for it by the same comparison", async () => {
    const busy = new ApiError(409, "run_in_progress", "…", {}, 3);
    const found = await followed({
      compare: [stream(run(0), done(0)), busy, stream(run(0), delta(0, "x", "1"), done(0), run(1), delta(1, "ans", "3"), done(1))],
    });
    expect(found.asked).toEqual(["compare", "compare", "compare"]);
    expect([found.states, found.texts]).toEqual([["done", "done"], ["answer 0", "answer 1"]]);
    expect(found.waits).toEqual([500, 3000]);
  });

  it("comes to an end when a column never gets its word", async () => {
    const again = () => stream(run(0), delta(0, "an", "2"), done(0)); // always the same, however often
    const found = await followed({ compare: Array.from({ length: 50 }, again) });
    expect(found.states).toEqual(["done", "lost"]);
    expect(found.asked.length).toBeLessThan(10);
  });

  it("that is made elsewhere is waited for, for a while", async () => {
    const busy = () => new ApiError(409, "run_in_progress", "…", {}, 2);
    const found = await followed({ compare: [busy(), busy(), stream(run(0), run(1), done(0), done(1))] });
    expect(found.states).toEqual(["done", "done"]);
    expect(found.shown[0]).toBe("waiting waiting");
    const never = await followed({ compare: Array.from({ length: 1000 }, busy) });
    expect(never.states).toEqual(["lost", "lost"]);
    expect(never.asked.length).toBeLessThan(200);
  });

  it("says what has failed, and why", async () => {
    const found = await followed({ compare: [stream(run(0), run(1), error(0, "model_overloaded"), done(1))] });
    expect(found.states).toEqual(["failed", "done"]);
    expect(found.columns[0]?.failure).toMatchObject({ error: "model_overloaded", message: "No." });
  });

  it("that ended with an error of no column is asked for again: credits may be held for all", async () => {
    const found = await followed({
      compare: [stream(run(0), error(null, "internal_error")), stream(run(0), done(0), run(1), done(1))],
    });
    expect([found.asked, found.states]).toEqual([["compare", "compare"], ["done", "done"]]);
  });

  it("that goes on elsewhere is read on, not failed", async () => {
    const found = await followed({
      compare: [stream(run(0), run(1), done(1), error(null, "run_in_progress"))],
      runs: { run_0: [stream(error(null, "run_in_progress")), stream(done(0))] },
    });
    expect(found.states).toEqual(["done", "done"]);
  });

  it("that was refused raises, and so does one that was not reached", async () => {
    const refused = new ApiError(402, "insufficient_credits", "No.");
    await expect(followed({ compare: [refused] })).rejects.toBe(refused);
    await expect(followed({ compare: [] })).rejects.toBeInstanceOf(NetworkError);
  });

  it("a run that is not known any more is asked for by the comparison, which says its end", async () => {
    const gone = new ApiError(404, "run_not_found", "…");
    const found = await followed({
      compare: [stream(run(0), run(1), done(1)), stream(run(0), error(0, "model_failed"), run(1), done(1))],
      runs: { run_0: [gone] },
    });
    expect(found.states).toEqual(["failed", "done"]);
  });

  it("a run that has failed meanwhile is said by its error", async () => {
    const failed = new ApiError(502, "model_failed", "No.", { run_id: "run_0" });
    const found = await followed({ compare: [stream(run(0), run(1), done(1))], runs: { run_0: [new ApiError(503, "unknown", "…"), failed] } });
    expect(found.columns[0]).toMatchObject({ state: "failed", failure: { error: "model_failed" } });
  });

  it("lost without a connection, can be followed again, and what is over stays", async () => {
    const lost = await followed({ compare: [stream(run(0), delta(0, "an", "2"), done(1))] });
    expect(lost.states).toEqual(["lost", "done"]);
    expect(Math.max(...lost.waits)).toBeLessThanOrEqual(16_000);
    const found = await followed({ compare: [], runs: { run_0: [stream(["done", { run_id: "run_0", response: "answer" }])] } }, 2, lost.columns);
    expect([found.asked, found.texts]).toEqual([["run_0 2"], ["answer", "answer 1"]]);
  });

  it("stops asking when one is signed out", async () => {
    const found = await followed({ compare: [stream(run(0), run(1), done(1))], runs: { run_0: [new ApiError(401, "unauthorized", "…")] } });
    expect([found.states, found.asked.length]).toEqual([["lost", "done"], 2]);
  });
});
