import { describe, expect, it } from "vitest";
import { follows } from "./follow";

describe("a text that grows", () => {
  it("is followed by who sees its end, and not by who has scrolled up", () => {
    expect(follows(false, 300, 0)).toBe(true); // came back to the end
    expect(follows(true, -100, 92)).toBe(false); // scrolled up
    expect(follows(false, 50, 400)).toBe(false); // reads on, not at the end yet
  });

  it("is still followed when it has grown before the page has scrolled", () => {
    expect(follows(true, 40, 120)).toBe(true);
    expect(follows(true, 0, 120)).toBe(true);
    expect(follows(true, -3, 5)).toBe(true);
  });
});
