import { beforeEach, describe, expect, it } from "vitest";
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

  it("is another one for another request", () => {
    expect(keyFor({ input: "a" })).not.toBe(keyFor({ input: "b" }));
  });
});
