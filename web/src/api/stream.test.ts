import { describe, expect, it } from "vitest";
import { ApiError, NetworkError } from "./client";
import { backoff, follow, MAX_FAILURES, saysOutcome, unread, type RunEvent, type Source } from "./stream";

const RUN = 'event: run\ndata: {"run_id": "run_1", "session_id": "ses_1", "ceiling": 2, "max_tokens": 4096}\n\n';
const DONE = 'event: done\ndata: {"run_id": "run_1", "response": "Under the 🙂 stairs"}\n\n';
const delta = (text: string, end: number) => `event: delta\nid: ${end}\ndata: ${JSON.stringify({ text })}\n\n`;

type Step = string | { cut: string } | Error;

/** Answers one step after the other, and notes how it was asked. */
class Scripted implements Source {
  readonly asked: string[] = [];
  constructor(private readonly steps: Step[]) {}

  request(after: string | null): Promise<Response> {
    return this.next(`POST ${after}`);
  }

  readOn(runId: string, after: string): Promise<Response> {
    return this.next(`GET ${runId} ${after}`);
  }

  private async next(how: string): Promise<Response> {
    this.asked.push(how);
    const step = this.steps.shift();
    if (step === undefined) throw new Error("asked once too often");
    if (step instanceof Error) throw step;
    const text = typeof step === "string" ? step : step.cut;
    const bytes = new TextEncoder().encode(text);
    let sent = false;
    return new Response(
      new ReadableStream({
        pull(controller) {
          if (!sent) {
            sent = true;
            controller.enqueue(bytes);
          } else if (typeof step === "string") controller.close();
          else controller.error(new TypeError("network error"));
        },
      }),
    );
  }
}

async function run(source: Source, runId: string | null = null, isRepeat = false) {
  const slept: number[] = [];
  const seen: RunEvent[] = [];
  let error: unknown = null;
  try {
    const sleep = async (milliseconds: number) => void slept.push(milliseconds);
    for await (const event of follow(source, { runId, isRepeat, sleep, random: () => 1 })) seen.push(event);
  } catch (problem) {
    error = problem;
  }
  const text = seen.map((event) => (event.type === "text" ? event.text : "")).join("");
  return { text, seen, error, slept, last: seen.at(-1)?.type };
}

describe("a run that is followed", () => {
  it("is read to its end", async () => {
    const source = new Scripted([RUN + delta("Under ", 6) + delta("the 🙂 stairs", 18) + DONE]);
    const { text, last, error } = await run(source);
    expect([text, last, error]).toEqual(["Under the 🙂 stairs", "done", null]);
    expect(source.asked).toEqual(["POST null"]);
  });

  it("is read on behind the last piece, wherever it was cut", async () => {
    const whole = RUN + delta("Under ", 6) + delta("the 🙂", 11) + delta(" stairs", 18) + DONE;
    for (let cut = 0; cut < whole.length; cut += 1) {
      const before = whole.slice(0, cut);
      const read = before.includes("id: 18\n") && before.split("id: 18")[1]?.includes("\n\n") ? 18 : before.split("id: 11")[1]?.includes("\n\n") ? 11 : before.split("id: 6")[1]?.includes("\n\n") ? 6 : 0;
      const rest = Array.from("Under the 🙂 stairs").slice(read).join("");
      const source = new Scripted([{ cut: before }, RUN + (rest ? delta(rest, 18) : "") + DONE]);
      const { text, last, error } = await run(source);
      expect([text, last, error]).toEqual(["Under the 🙂 stairs", "done", null]);
      const knowsRun = before.includes("}\n\n");
      expect(source.asked[1]).toBe(knowsRun ? `GET run_1 ${read}` : "POST null");
    }
  });

  it("shows a piece once, also when it is sent again from the beginning", async () => {
    const source = new Scripted([{ cut: RUN + delta("Under ", 6) }, RUN + delta("Under the 🙂", 11) + delta(" stairs", 18) + DONE]);
    expect((await run(source)).text).toBe("Under the 🙂 stairs");
  });

  it("a stream that ends without its last event was cut", async () => {
    const source = new Scripted([RUN + delta("Under ", 6), RUN + delta("the 🙂 stairs", 18) + DONE]);
    expect((await run(source)).text).toBe("Under the 🙂 stairs");
    expect(source.asked).toEqual(["POST null", "GET run_1 6"]);
  });

  it("that cannot be found is asked for by its request", async () => {
    const lost = new ApiError(404, "run_not_found", "There is no such run.");
    const source = new Scripted([{ cut: RUN + delta("Under ", 6) }, lost, RUN + delta("the 🙂 stairs", 18) + DONE]);
    expect((await run(source)).text).toBe("Under the 🙂 stairs");
    expect(source.asked).toEqual(["POST null", "GET run_1 6", "POST 6"]);
  });

  it("waits as long as it is made elsewhere, without counting that as failures", async () => {
    const busy = () => new ApiError(409, "run_in_progress", "…", { run_id: "run_1" }, 2);
    const source = new Scripted([...Array.from({ length: 12 }, busy), RUN + delta("Under the 🙂 stairs", 18) + DONE]);
    const { text, slept, seen } = await run(source);
    expect(text).toBe("Under the 🙂 stairs");
    expect(slept).toEqual(Array(12).fill(2000));
    expect(seen.some((event) => event.type === "broken")).toBe(false);
  });

  it("goes on after an event run_in_progress", async () => {
    const event = 'event: error\ndata: {"error": "run_in_progress", "message": "…", "run_id": "run_1", "retry_after": 1}\n\n';
    const source = new Scripted([RUN + delta("Under ", 6) + event, RUN + delta("the 🙂 stairs", 18) + DONE]);
    expect((await run(source)).text).toBe("Under the 🙂 stairs");
    expect(source.asked[1]).toBe("GET run_1 6");
  });

  it("ends with the error of the run, which is not asked for again", async () => {
    const failed = 'event: error\ndata: {"error": "model_failed", "message": "…", "reason": "empty", "run_id": "run_1"}\n\n';
    const source = new Scripted([RUN + failed]);
    const { error } = await run(source);
    expect(error).toMatchObject({ name: "ApiError", status: 502, code: "model_failed", runId: "run_1" });
    expect(source.asked).toHaveLength(1);
  });

  it("that is refused is refused at once", async () => {
    for (const [status, code] of [[402, "insufficient_credits"], [401, "unauthorized"], [429, "rate_limited"], [503, "runs_paused"], [400, "validation_error"]] as const) {
      const source = new Scripted([new ApiError(status, code, "…", {}, 60)]);
      const { error, slept } = await run(source);
      expect(error).toMatchObject({ code });
      expect(slept).toEqual([]);
    }
  });

  it("that may have begun is asked for again, whatever stands between", async () => {
    const cut = () => new NetworkError("…");
    for (const [status, code] of [[503, "store_unavailable"], [429, "rate_limited"], [503, "runs_paused"], [500, "internal_error"]] as const) {
      const busy = () => new ApiError(status, code, "…", {}, 1);
      const source = new Scripted([cut(), busy(), busy(), RUN + DONE]);
      const { last, error, slept } = await run(source);
      expect([code, last, error]).toEqual([code, "done", null]);
      expect(source.asked).toEqual(Array(4).fill("POST null"));
      expect(slept).toEqual([500, 1000, 1000]);
      expect((await run(new Scripted([busy(), RUN + DONE]), null, true)).last).toBe("done");
    }
  });

  it("that may have begun and is refused for long ends with the refusal, which is no outcome", async () => {
    const busy = () => new ApiError(503, "store_unavailable", "…", {}, 1);
    const { error } = await run(new Scripted(Array.from({ length: 20 }, busy)), null, true);
    expect(error).toMatchObject({ code: "store_unavailable" });
    expect(saysOutcome(error, true)).toBe(false);
  });

  it("that may have begun and is not allowed to ask ends at once, without an outcome", async () => {
    const source = new Scripted([new NetworkError("…"), new ApiError(401, "unauthorized", "…")]);
    const { error } = await run(source);
    expect(source.asked).toHaveLength(2);
    expect(saysOutcome(error, true)).toBe(false);
  });

  it("has no outcome while it is in progress, however long", async () => {
    const busy = () => new ApiError(409, "run_in_progress", "…", { run_id: "run_1" }, 2);
    const { error } = await run(new Scripted(Array.from({ length: 200 }, busy)));
    expect(error).toMatchObject({ code: "run_in_progress" });
    expect(saysOutcome(error, false)).toBe(false);
  });

  it("is given up after failures in a row, and a new piece starts the count again", async () => {
    const lost = () => new NetworkError("…");
    const source = new Scripted([{ cut: RUN + delta("Under ", 6) }, ...Array.from({ length: 40 }, lost)]);
    const { error, slept } = await run(source);
    expect(error).toBeInstanceOf(NetworkError);
    expect(slept).toHaveLength(MAX_FAILURES);
    expect(source.asked).toHaveLength(MAX_FAILURES + 1);

    const steps: Step[] = [{ cut: RUN }];
    for (let end = 1; end <= 3 * MAX_FAILURES; end += 1) steps.push({ cut: delta("x", end) });
    const patient = await run(new Scripted([...steps, DONE]));
    expect(patient.text).toHaveLength(3 * MAX_FAILURES);
    expect(patient.last).toBe("done");
  });

  it("of a page that was loaded again begins at its first character", async () => {
    const source = new Scripted([RUN + delta("Under the 🙂 stairs", 18) + DONE]);
    expect((await run(source, "run_1")).text).toBe("Under the 🙂 stairs");
    expect(source.asked).toEqual(["GET run_1 0"]);
  });

  it("is not followed further by who has left", async () => {
    const left = new AbortController();
    const source = new Scripted([{ cut: RUN }]);
    const sleep = async () => left.abort(new Error("left"));
    await expect(async () => {
      for await (const _ of follow(source, { signal: left.signal, sleep }));
    }).rejects.toThrow("left");
    expect(source.asked).toHaveLength(1);
  });
});

describe("an outcome", () => {
  const error = (status: number, code: string, facts = {}) => new ApiError(status, code, "…", facts);
  it("is what names the run, or a refusal of a request that was answered at once", () => {
    expect(saysOutcome(error(503, "model_overloaded", { run_id: "run_1" }), true)).toBe(true);
    expect(saysOutcome(error(402, "insufficient_credits"), true)).toBe(true);
    expect(saysOutcome(error(429, "rate_limited"), false)).toBe(true);
    expect(saysOutcome(error(429, "rate_limited"), true)).toBe(false);
    expect(saysOutcome(new NetworkError("…"), false)).toBe(false);
  });
});

describe("pieces and waits", () => {
  it("of a piece only what is new is read, in code points", () => {
    expect(unread("🙂🙂x", 5, 2)).toBe("🙂🙂x");
    expect(unread("🙂🙂x", 5, 3)).toBe("🙂x");
    expect(unread("🙂🙂x", 5, 5)).toBe("");
    expect(unread("🙂🙂x", 5, 9)).toBe("");
    expect(unread("no id", NaN, 3)).toBe("no id");
  });

  it("waits grow, are never longer than 8 s, and never shorter than half", () => {
    for (let failures = 1; failures < 20; failures += 1) {
      const most = Math.min(8000, 500 * 2 ** (failures - 1));
      expect(backoff(failures, () => 1)).toBe(most);
      expect(backoff(failures, () => 0)).toBe(most / 2);
    }
  });
});
