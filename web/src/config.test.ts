import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

const FOUND = { api: "https://api.example/v1", anonymous_runs: true };
let answers: (() => Promise<Response>)[] = [];
let asked = 0;

const ok = (body: unknown = FOUND) => () => Promise.resolve(new Response(JSON.stringify(body)));
const broken = () => Promise.reject(new TypeError("no connection"));
const html = () => Promise.resolve(new Response("<!doctype html>"));
const status = (code: number) => () => Promise.resolve(new Response("{}", { status: code }));

beforeEach(() => {
  vi.useFakeTimers();
  vi.resetModules();
  asked = 0;
  vi.stubGlobal("fetch", () => {
    asked += 1;
    return (answers.shift() ?? broken)();
  });
});
afterEach(() => {
  vi.clearAllTimers();
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

describe("where the page is served", () => {
  it("is read once", async () => {
    answers = [ok()];
    const { config, site } = await import("./config");
    expect((await Promise.all([config(), config()])).map((each) => each.api)).toEqual([FOUND.api, FOUND.api]);
    expect([asked, site.value.anonymous_runs, site.value.laptop]).toEqual([1, true, false]);
  });

  it("is read again after a failure, which nobody waits for", async () => {
    answers = [broken, status(502), html, ok()];
    const { config, site } = await import("./config");
    expect((await config()).api).toBe("/api/v1");
    expect((await config()).api).toBe("/api/v1");
    expect(asked).toBe(1); // not again with each call of the API
    await vi.advanceTimersByTimeAsync(1000 + 2000 + 4000);
    expect(asked).toBe(4);
    expect(site.value.api).toBe(FOUND.api);
    expect((await config()).api).toBe(FOUND.api);
    await vi.advanceTimersByTimeAsync(600_000);
    expect(asked).toBe(4);
  });

  it("is not waited for while it is read again", async () => {
    answers = [broken, () => new Promise(() => undefined)];
    const { config } = await import("./config");
    await config();
    await vi.advanceTimersByTimeAsync(1000);
    expect(asked).toBe(2);
    expect((await config()).api).toBe("/api/v1");
  });

  it("is read again as soon as there is a connection", async () => {
    answers = [broken, ok()];
    const { config, site } = await import("./config");
    await config();
    window.dispatchEvent(new Event("online"));
    await vi.advanceTimersByTimeAsync(0);
    expect(site.value.api).toBe(FOUND.api);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(asked).toBe(2);
  });

  it("is asked for less and less often", async () => {
    answers = [];
    const { config } = await import("./config");
    await config();
    await vi.advanceTimersByTimeAsync(600_000);
    expect(asked).toBeGreaterThan(10);
    expect(asked).toBeLessThan(20);
  });

  it("takes nothing of another type", async () => {
    answers = [ok({ api: 7, pay_page: ["x"], anonymous_runs: "yes", laptop: true, more: 1 })];
    const { config } = await import("./config");
    expect(await config()).toEqual({ api: "/api/v1", stripe_publishable_key: null, pay_page: null, anonymous_runs: false, laptop: true });
  });
});
