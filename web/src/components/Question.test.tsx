import { render } from "preact";
import { act } from "preact/test-utils";
import { afterEach, describe, expect, it } from "vitest";
import { Question } from "./Question";

const place = document.createElement("div");
afterEach(() => render(null, place));

describe("what was asked", () => {
  it("can be reached by the keyboard where it may scroll, and is not one more stop where it does not", async () => {
    const stops = async (text: string) => {
      await act(() => render(<Question text={text} />, place));
      return place.querySelectorAll("[tabindex='0']").length;
    };
    expect(await stops("And sub?")).toBe(0);
    expect(await stops("word ".repeat(100))).toBe(1);
    expect(await stops("1\n".repeat(20))).toBe(1);
  });
});
