import { render } from "preact";
import { act } from "preact/test-utils";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { Plan } from "./Plan";

const PRICING = { name: "PRPM+", credits: 200, interval: "month", price_formatted: "$20.00" };
const place = document.createElement("div");
document.body.append(place);
let isCanceled = false; // as the API has it
let fails = false;
let waiting: (() => void)[] = []; // reads of the subscription that are held back
let holds = false;
const errors: unknown[] = [];

beforeEach(() => {
  [isCanceled, fails, holds, waiting] = [false, false, false, []];
  errors.length = 0;
  vi.stubGlobal("fetch", async (url: string, init: RequestInit = {}) => {
    const json = (body: unknown) => new Response(JSON.stringify(body));
    if (url.endsWith("/pricing")) return json(PRICING);
    if (!url.includes("/subscription")) return json({});
    if (fails) throw new TypeError("no connection");
    if (init.method === "POST") isCanceled = url.endsWith("/cancel");
    const answer = json({ is_active: true, status: "active", cancel_at_period_end: isCanceled, current_period_end: "2026-12-29T00:00:00Z" });
    if (holds && init.method === "GET") await new Promise<void>((go) => waiting.push(go));
    return answer;
  });
});
afterEach(async () => {
  await act(() => render(null, place));
  vi.unstubAllGlobals();
});

const settled = () => act(() => new Promise<void>((done) => setTimeout(done, 5)));
const status = () => place.querySelector("[role=status]")?.textContent ?? "";
const press = (name: string) => act(() => Array.from(document.querySelectorAll("button")).filter((each) => each.textContent === name).at(-1)?.click());
const comeBack = () => act(() => void document.dispatchEvent(new Event("visibilitychange", { bubbles: true })));

async function shown() {
  await act(() => render(<Plan changes={1} onState={() => undefined} onError={(error) => errors.push(error)} />, place));
  await settled();
}

it("says whether it renews as it is now, when its window is looked at again", async () => {
  await shown();
  expect(status()).toContain("Active, renews");
  isCanceled = true; // in another window
  await comeBack();
  await settled();
  expect(status()).toContain("Canceled. It ends");
  fails = true;
  await comeBack();
  await settled();
  expect([status().slice(0, 8), errors]).toEqual(["Canceled", []]);
});

it("does not say what was read before it was changed here", async () => {
  isCanceled = true;
  await shown();
  holds = true;
  await comeBack();
  await vi.waitFor(() => expect(waiting).toHaveLength(1));
  holds = false;
  await press("Keep PRPM+");
  await settled();
  expect(status()).toContain("Active, renews");
  waiting[0]?.();
  await settled();
  expect(status()).toContain("Active, renews");
});
