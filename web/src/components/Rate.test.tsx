import { render } from "preact";
import { act } from "preact/test-utils";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Rate } from "./Rate";

const place = document.createElement("div");
document.body.append(place);
let sent: { body: { rating: number; comment: string }; answer: (response: Response) => void; fail: () => void }[] = [];

beforeEach(() => {
  sent = [];
  vi.stubGlobal("fetch", (url: string, options: RequestInit) => {
    if (url === "/config.json") return Promise.resolve(new Response("{}"));
    return new Promise<Response>((answer, reject) =>
      sent.push({ body: JSON.parse(String(options.body)) as (typeof sent)[number]["body"], answer, fail: () => reject(new TypeError("no connection")) }),
    );
  });
});
afterEach(() => {
  render(null, place);
  vi.unstubAllGlobals();
});

const show = (given: Parameters<typeof Rate>[0]["given"] = null) => act(() => render(<Rate runId="run_1" given={given} />, place));
const star = (number: number) => place.querySelectorAll<HTMLInputElement>("input[type=radio]")[number - 1] as HTMLInputElement;
const choose = (number: number) =>
  act(async () => {
    star(number).focus();
    star(number).click();
  });
const settled = () => act(() => new Promise<void>((done) => setTimeout(done)));
const answer = async (at: number, status = 200) => {
  await vi.waitFor(() => expect(sent.length).toBeGreaterThan(at));
  sent[at]?.answer(new Response(status === 200 ? "{}" : '{"error":"store_unavailable","message":"…"}', { status }));
  await settled();
};
const press = (name: string) => act(() => Array.from(place.querySelectorAll("button")).find((each) => each.textContent === name)?.click());

describe("a rating", () => {
  it("is told by the shape of the stars, not by their colour alone", async () => {
    const shapes = () => Array.from(place.querySelectorAll("[aria-hidden]"), (each) => each.textContent).join("");
    await show();
    expect(shapes()).toBe("☆☆☆☆☆");
    await choose(2);
    expect(shapes()).toBe("★★☆☆☆");
  });

  it("chosen with arrow keys one after the other saves the last, one request at a time", async () => {
    await show();
    for (const number of [1, 2, 3, 4]) await choose(number);
    await settled();
    expect(sent.map((each) => each.body.rating)).toEqual([1]);
    await answer(0);
    expect(place.textContent).not.toContain("Saved");
    expect(document.activeElement).toBe(star(4));
    await answer(1);
    expect(sent.map((each) => each.body.rating)).toEqual([1, 4]);
    expect(place.textContent).toContain("Saved. Thank you.");
    expect(document.activeElement).toBe(star(4));
  });

  it("is one group of radio buttons with names", async () => {
    await show();
    expect(place.querySelector("fieldset legend")?.textContent).toBe("Rate this answer");
    expect(Array.from(place.querySelectorAll("label"), (each) => each.textContent)).toEqual(["☆1 star", "☆2 stars", "☆3 stars", "☆4 stars", "☆5 stars"]);
    expect(new Set(Array.from(place.querySelectorAll<HTMLInputElement>("input"), (each) => each.name)).size).toBe(1);
  });

  it("that is not saved says so, and can be sent again", async () => {
    await show();
    await choose(5);
    await answer(0, 503);
    expect(place.querySelector("[role=alert]")?.textContent).toContain("Your rating is not saved.");
    expect(star(5).checked).toBe(true);
    await press("Send it again");
    await answer(1);
    expect(sent[1]?.body).toEqual(sent[0]?.body);
    expect(place.querySelector("[role=alert]")).toBeNull();
    expect(place.textContent).toContain("Saved.");
  });

  it("whose first request fails late does not undo the one after it", async () => {
    await show();
    await choose(2);
    await choose(4);
    await settled();
    sent[0]?.fail();
    await settled();
    await answer(1);
    expect(place.querySelector("[role=alert]")).toBeNull();
    expect(place.textContent).toContain("Saved.");
  });

  it("keeps a comment that was given, sends none that is still being written, and leaves the focus at the stars", async () => {
    await show({ run_id: "run_1", rating: 3, is_helpful: true, comment: "Short.", given_at: "2026-12-01T09:30:00Z" });
    await choose(4);
    await answer(0);
    const field = place.querySelector<HTMLInputElement>("input[type=text]") as HTMLInputElement;
    await act(() => {
      field.value = "Short, but right.";
      field.dispatchEvent(new Event("input", { bubbles: true }));
    });
    await choose(5);
    await answer(1);
    field.focus();
    await press("Send");
    await answer(2);
    expect(sent.map((each) => [each.body.rating, each.body.comment])).toEqual([[4, "Short."], [5, "Short."], [5, "Short, but right."]]);
    expect(document.activeElement).toBe(star(5));
    expect(place.querySelector("form")).toBeNull();
  });
});
