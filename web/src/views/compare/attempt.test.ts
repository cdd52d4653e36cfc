import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { ended, keyFor } from "./attempt";

describe("the key of a comparison", () => {
  beforeEach(ended);

  it("is the same until the end was seen", () => {
    const request = { input: "Hi.", variants: [{ model: "haiku" }, { model: "sonnet" }] };
    const key = keyFor(request);
    expect(keyFor({ ...request })).toBe(key);
    ended();
    expect(keyFor(request)).not.toBe(key);
  });

  afterEach(() => void vi.unstubAllGlobals());

  it("is made without TLS, too", () => {
    vi.stubGlobal("crypto", { getRandomValues: crypto.getRandomValues.bind(crypto) });
    expect(keyFor({ input: "c" })).toMatch(/^[0-9a-f]{32}$/);
    expect(keyFor({ input: "d" })).not.toBe(keyFor({ input: "e" }));
  });

  it("is another one for another request", () => {
    expect(keyFor({ input: "a" })).not.toBe(keyFor({ input: "b" }));
  });
});
