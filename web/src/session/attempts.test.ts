import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Attempts } from "./attempts";

describe("the key of a paid request", () => {
  let attempts: Attempts;
  beforeEach(() => {
    sessionStorage.clear();
    attempts = new Attempts("test");
  });
  afterEach(() => void vi.unstubAllGlobals());

  it("is the same until its outcome is known", () => {
    const request = { input: "Hi.", variants: [{ model: "haiku" }, { model: "sonnet" }] };
    const { key } = attempts.at(request);
    expect(attempts.at({ ...request }).key).toBe(key);
    attempts.noteOutcome(key);
    expect(attempts.at(request).key).not.toBe(key);
  });

  it("is made without TLS, too", () => {
    vi.stubGlobal("crypto", { getRandomValues: crypto.getRandomValues.bind(crypto) });
    expect(attempts.at({ input: "c" }).key).toMatch(/^[0-9a-f]{32}$/);
  });

  it("outlives other requests, whatever becomes of those", () => {
    const { key } = attempts.at({ input: "a" });
    attempts.noteBegun(key);
    for (let other = 0; other < 100; other += 1) attempts.at({ input: `refused ${other}` });
    expect(attempts.at({ input: "a" })).toMatchObject({ key, mayHaveBegun: true });
    expect(attempts.at({ input: "refused 99" }).key).not.toBe(key);
  });
});
