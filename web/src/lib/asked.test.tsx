import { render } from "preact";
import { act } from "preact/test-utils";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { useAsked } from "./asked";

const place = document.createElement("div");
const questions: { wanted: string; signal: AbortSignal; answer: (text: string) => void; fail: (error: unknown) => void }[] = [];
const ask = (wanted: string, signal: AbortSignal) =>
  new Promise<string>((answer, fail) => questions.push({ wanted, signal, answer, fail }));

let again = () => {};
function Shown({ wanted }: { wanted: string | null }) {
  const asked = useAsked(wanted, ask, 400);
  again = asked.again;
  return <p>{asked.state === "failed" ? `failed: ${String(asked.error)}` : (asked.value ?? asked.state)}</p>;
}
const show = (wanted: string | null) => act(() => render(<Shown wanted={wanted} />, place));
const pass = (milliseconds: number) => act(() => vi.advanceTimersByTimeAsync(milliseconds).then(() => undefined));

beforeEach(() => {
  vi.useFakeTimers();
  questions.length = 0;
});
afterEach(() => {
  render(null, place);
  vi.useRealTimers();
});

describe("an answer about what is written", () => {
  it("is never that of what was written before", async () => {
    await show("a");
    expect(place.textContent).toBe("asking");
    await pass(400);
    questions[0]?.answer("1 credit");
    await pass(0);
    expect(place.textContent).toBe("1 credit");
    await show("b");
    expect(place.textContent).toBe("asking"); // not "1 credit", not for a moment
    await pass(400);
    await show("c");
    await pass(400);
    questions[2]?.answer("3 credits");
    questions[1]?.answer("2 credits"); // late
    await pass(0);
    expect(place.textContent).toBe("3 credits");
    expect(questions.map((each) => each.signal.aborted)).toEqual([true, true, false]);
  });

  it("is asked for once after several changes, and not for nothing", async () => {
    for (const wanted of ["a", "ab", "abc"]) {
      await show(wanted);
      await pass(100);
    }
    await pass(400);
    expect(questions.map((each) => each.wanted)).toEqual(["abc"]);
    await show(null);
    questions[0]?.answer("late");
    await pass(1000);
    expect(place.textContent).toBe("none");
  });

  it("a failure is of what is written, too, and can be asked again", async () => {
    await show("a");
    await pass(400);
    questions[0]?.fail("no");
    await pass(0);
    expect(place.textContent).toBe("failed: no");
    await act(() => again());
    expect(place.textContent).toBe("asking");
    await pass(400);
    questions[1]?.answer("1 credit");
    await pass(0);
    expect(place.textContent).toBe("1 credit");
    await show("b");
    await pass(400);
    questions[2]?.fail("no");
    await pass(0);
    await show("a");
    expect(place.textContent).toBe("asking");
  });
});
