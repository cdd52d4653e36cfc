import { render } from "preact";
import { act } from "preact/test-utils";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { signIn } from "../../session/token";
import { writeTab } from "../../session/tab";
import { Compare } from "./Compare";

const TOKEN = `${btoa('{"alg":"HS256"}')}.${btoa(JSON.stringify({ sub: "comparer" })).replace(/=+$/, "")}.c2ln`;
const model = (name: string) => ({ name, retired: false, efforts: [], max_tokens: { default: 4096, most: 8192 } });
const ESTIMATE = { estimated_credits: 1, max_credits: 2, available: 9 };
const place = document.createElement("div");
document.body.append(place);

interface Stream {
  key: string | null;
  send: (text: string) => void;
  end: () => void;
}
let streams: Stream[] = [];
let runs: (Stream & { body: Record<string, unknown> })[] = [];
let estimates: { body: Record<string, unknown>; answer: (credits: number) => void }[] = [];
let frames: (() => void)[] = [];
let failing: string | null = null; // what cannot be loaded
let cancels: { path: string; answer: (status: number) => void }[] = [];

function stream(options: RequestInit): { response: Response; stream: Stream } {
  const encoder = new TextEncoder();
  let control!: ReadableStreamDefaultController<Uint8Array>;
  const response = new Response(new ReadableStream<Uint8Array>({ start: (given) => void (control = given) }));
  const key = new Headers(options.headers).get("Idempotency-Key");
  return { response, stream: { key, send: (text) => control.enqueue(encoder.encode(text)), end: () => control.close() } };
}

beforeEach(() => {
  [streams, runs, estimates, frames, cancels] = [[], [], [], [], []];
  vi.stubGlobal("requestAnimationFrame", (draw: () => void) => frames.push(draw));
  vi.stubGlobal("cancelAnimationFrame", (number: number) => (frames[number - 1] = () => undefined));
  Element.prototype.scrollIntoView = () => undefined; // jsdom has none
  vi.stubGlobal("fetch", (url: string, options: RequestInit = {}) => {
    const json = (body: unknown) => Promise.resolve(new Response(JSON.stringify(body)));
    const body = JSON.parse(String(options.body ?? "null")) as Record<string, unknown>;
    if (failing !== null && url.includes(failing)) return Promise.reject(new TypeError("no connection"));
    if (url.endsWith("/compare/stream") || url.endsWith("/run/stream")) {
      const made = stream(options);
      if (url.endsWith("/compare/stream")) streams.push(made.stream);
      else runs.push({ ...made.stream, body });
      return Promise.resolve(made.response);
    }
    if (url.endsWith("/estimate")) {
      return new Promise<Response>((resolve) =>
        estimates.push({ body, answer: (credits) => resolve(new Response(JSON.stringify({ ...ESTIMATE, estimated_credits: credits, max_credits: credits }))) }),
      );
    }
    if (url.endsWith("/cancel")) {
      return new Promise<Response>((resolve) =>
        cancels.push({ path: url.replace(/.*\/runs\//, ""), answer: (status) => resolve(new Response(JSON.stringify({ error: status === 409 ? "run_ended" : "unknown" }), { status })) }),
      );
    }
    if (url.endsWith("/models")) return json({ models: ["sonnet", "haiku"].map(model) });
    if (url.includes("/packages/")) return json({ id: "p", name: "@a/tidy", variables: [] });
    return json({});
  });
  const column = { packageId: "p", packageName: "@a/tidy", values: {}, own: "", model: "sonnet", effort: null, maxTokens: null };
  writeTab("compare", { variants: [{ ...column, prompt: "package" }, { ...column, prompt: "none" }], input: "Hi." });
  signIn(TOKEN);
});
afterEach(() => {
  render(null, place);
  sessionStorage.clear();
  vi.unstubAllGlobals();
});

const settled = (milliseconds = 0) => act(() => new Promise<void>((done) => setTimeout(done, milliseconds)));
const draw = () => act(() => frames.splice(0).forEach((each) => each()));
const named = (name: string, within: Element = place) =>
  Array.from(within.querySelectorAll("button")).find((each) => each.textContent === name) as HTMLButtonElement;
const articles = () => Array.from(place.querySelectorAll("article"), (each) => each.textContent ?? "");
const event = (name: string, data: unknown) => `event: ${name}\ndata: ${JSON.stringify(data)}\n\n`;
const run = (index: number) => event("run", { index, run_id: `run_${index}`, session_id: `ses_${index}`, ceiling: 2 });
const done = (index: number) =>
  event("done", { index, run_id: `run_${index}`, session_id: `ses_${index}`, response: `answer ${index}`, credits_spent: 1, tokens_used: 1, duration_ms: 1000, stop_reason: "end_turn" });

async function begun() {
  await act(() => render(<Compare packageId={null} />, place));
  await settled();
  await act(() => {
    named("Compare").click();
    named("Compare").click();
  });
  await vi.waitFor(() => expect(streams).toHaveLength(1));
  return streams[0] as Stream;
}

async function shownAgain() {
  await act(() => render(null, place));
  await act(() => render(<Compare packageId={null} />, place));
  await settled();
}

describe("a comparison", () => {
  it("draws once in a frame, however many pieces come", async () => {
    const { send } = await begun();
    send(run(0) + run(1));
    await settled();
    await draw();
    let drawn = 0;
    const observer = new MutationObserver((records) => (drawn += records.length));
    observer.observe(place, { childList: true, subtree: true, characterData: true });
    for (let piece = 0; piece < 200; piece += 1) send(event("delta", { index: piece % 2, text: "word " }));
    await settled(20);
    expect(drawn).toBe(0); // all of it waits for the frame
    await draw();
    await settled();
    observer.disconnect();
    expect(articles().map((each) => each.match(/word/g)?.length)).toEqual([100, 100]);
    expect(drawn).toBeLessThan(20);
  });

  it("a column that has failed says why, and is run again by itself, as another run", async () => {
    const { send, end, key } = await begun();
    send(run(0) + run(1) + event("error", { index: 0, error: "model_failed", message: "…", reason: "empty" }) + done(1));
    end();
    await settled();
    expect(articles()[0]).toContain("Claude answered with nothing. You were not charged.");
    expect(place.querySelector(".compare-status")?.textContent).toBe("1 column has no answer. Together: 1 credit.");
    await act(() => named("Try again", place.querySelector("article") as Element).click());
    await vi.waitFor(() => expect(runs).toHaveLength(1));
    expect([runs[0]?.body["package_id"], runs[0]?.body["input"], runs[0]?.key === key]).toEqual(["p", "Hi.", false]);
    runs[0]?.send(run(0) + done(0));
    await settled();
    expect(articles()[0]).toContain("answer 0");
    expect(streams).toHaveLength(1);
  });

  it("goes on when its view, or its page, is there again: by its key, without being asked for", async () => {
    const { send, key } = await begun();
    send(run(0) + run(1) + done(0));
    await settled();
    for (const again of [1, 2]) {
      await shownAgain();
      await vi.waitFor(() => expect(streams).toHaveLength(1 + again));
      expect(streams[again]?.key).toBe(key);
    }
    streams[2]?.send(run(0) + run(1) + done(0) + done(1));
    streams[2]?.end();
    await settled();
    expect(articles().map((each) => /answer \d/.exec(each)?.[0])).toEqual(["answer 0", "answer 1"]);
    // The page that takes the place of this one may have been asked for before the last answer came.
    await shownAgain();
    await vi.waitFor(() => expect(streams).toHaveLength(4));
    expect(streams[3]?.key).toBe(key);
  });

  it("of which a column was made anew does not come back", async () => {
    const { send, end } = await begun();
    send(run(0) + run(1) + done(0) + event("error", { index: 1, error: "model_failed", message: "…", reason: "empty" }));
    end();
    await settled();
    await act(() => named("Try again", place.querySelectorAll("article")[1] as Element).click());
    await vi.waitFor(() => expect(runs).toHaveLength(1));
    await shownAgain();
    await settled(20);
    expect([streams.length, runs.length]).toEqual([1, 1]);
  });

  it("that was refused does not begin by itself later", async () => {
    failing = "/compare/stream";
    await act(() => render(<Compare packageId={null} />, place));
    await settled();
    await act(() => named("Compare").click());
    await settled();
    expect(place.querySelector("[role=alert]")?.textContent).toContain("cannot be reached");
    failing = null;
    await shownAgain();
    await settled(20);
    expect(streams).toEqual([]);
  });

  it("an answer is gone on with where one writes, and is copied", async () => {
    const { send, end } = await begun();
    send(run(0) + run(1) + done(0) + done(1));
    end();
    await settled();
    const second = place.querySelectorAll("article")[1] as Element;
    expect(second.querySelector(".actions a")?.getAttribute("href")).toBe("/?session=ses_1");
    const copied: string[] = [];
    vi.stubGlobal("navigator", { clipboard: { writeText: (text: string) => Promise.resolve(copied.push(text)) } });
    await act(() => named("Copy Markdown", second).click());
    await settled();
    expect(copied).toEqual(["answer 1"]);
  });

  it("stops also the runs that begin after Stop was pressed, and can be pressed again if that fails", async () => {
    const { send } = await begun();
    send(run(0));
    await settled();
    await draw();
    await act(() => named("Stop").click());
    send(run(1));
    await settled();
    await draw();
    expect(cancels.map((each) => each.path)).toEqual(["run_0/cancel", "run_1/cancel"]);
    cancels[0]?.answer(409);
    cancels[1]?.answer(500);
    await settled();
    expect(place.querySelector(".compare-status")?.textContent).toBe("It could not be stopped. Try again.");
    expect(named("Stop").getAttribute("aria-disabled")).toBe("false");
  });

  it("is not begun by loading the models or a package again", async () => {
    for (const what of ["/models", "/packages/"]) {
      failing = what;
      await act(() => render(<Compare packageId={null} />, place));
      await settled();
      if (what === "/models") expect(named("Compare").disabled).toBe(true); // settings would be lost
      failing = null;
      await act(() => named("Try again").click());
      await settled();
      expect(place.querySelector("[role=alert]")).toBeNull();
      expect(named("Compare").disabled).toBe(false);
      render(null, place);
    }
    expect(streams).toEqual([]);
  });

  it("has the price of what is chosen, or none", async () => {
    await act(() => render(<Compare packageId={null} />, place));
    await vi.waitFor(() => expect(estimates).toHaveLength(2), 2000);
    for (const each of estimates) each.answer(1);
    await settled();
    const price = () => place.querySelector(".compare-quote")?.textContent;
    expect(price()).toBe("All columns together: 2 credits; you have 9.");
    const select = place.querySelectorAll("select")[1] as HTMLSelectElement;
    await act(() => {
      select.value = "haiku";
      select.dispatchEvent(new Event("change", { bubbles: true }));
    });
    expect(price()).toBe("Working out the price…");
    await vi.waitFor(() => expect(estimates).toHaveLength(4), 2000);
    for (const each of estimates.slice(2)) each.answer(4);
    await settled();
    expect(price()).toBe("All columns together: 8 credits; you have 9.");
  });
});

