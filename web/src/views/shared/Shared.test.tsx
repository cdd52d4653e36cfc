import { render } from "preact";
import { act } from "preact/test-utils";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Shared } from "./Shared";

const TOKEN = `${btoa('{"alg":"HS256"}')}.${btoa(JSON.stringify({ sub: "reader" })).replace(/=+$/, "")}.c2ln`;
const SHARED = {
  package: "@a/tidy", package_id: "p", package_version: "1.0.0", model: "sonnet", title: "Tidy this", turns: 1,
  created_at: "2026-11-01T00:00:00Z", shared_at: "2026-11-02T00:00:00Z", views: 1, helpful: 0, not_helpful: 0, next_cursor: null,
  conversation: [{ role: "user", content: "q", unreadable: false }, { role: "assistant", content: "a", unreadable: false }],
};
const place = document.createElement("div");
document.body.append(place);
let sent: { path: string; body: Record<string, unknown>; key: string | null; answer: (status: number, body?: unknown) => void }[] = [];

beforeEach(async () => {
  (await import("../../session/token")).refuse(TOKEN); // nobody is signed in
  sent = [];
  history.replaceState(null, "", "/playground/shared/tok");
  vi.stubGlobal("fetch", (url: string, options: RequestInit = {}) => {
    if (options.method !== "POST") return Promise.resolve(new Response(JSON.stringify(url === "/config.json" ? {} : SHARED)));
    return new Promise<Response>((resolve) =>
      sent.push({
        path: url.replace(/.*\/tok\//, ""),
        body: JSON.parse(String(options.body ?? "null")) as Record<string, unknown>,
        key: new Headers(options.headers).get("Idempotency-Key"),
        answer: (status, body = {}) => resolve(new Response(JSON.stringify(body), { status })),
      }),
    );
  });
});
afterEach(() => {
  render(null, place);
  vi.unstubAllGlobals();
});

const settled = () => act(() => new Promise<void>((done) => setTimeout(done)));
const show = async () => {
  await act(() => render(<Shared token="tok" />, place));
  await settled();
};
const named = (name: string) => Array.from(place.querySelectorAll("button")).find((each) => each.textContent === name) as HTMLButtonElement;
const press = (name: string) => act(() => named(name).click());
const answer = async (status: number, body?: unknown) => {
  await settled();
  sent[sent.length - 1]?.answer(status, body);
  await settled();
};
const write = (field: HTMLInputElement | HTMLTextAreaElement, text: string) =>
  act(() => {
    field.value = text;
    field.dispatchEvent(new Event("input", { bubbles: true }));
  });

describe("a shared conversation", () => {
  it("is judged without an account by one press, and pressed twice sends one vote", async () => {
    await show();
    await act(() => {
      named("Helpful").click();
      named("Helpful").click();
      named("Not helpful").click();
    });
    await answer(200);
    expect(sent.map((each) => [each.path, each.body])).toEqual([["feedback", { is_helpful: true, comment: "" }]]);
    expect(named("Helpful").getAttribute("aria-pressed")).toBe("true");
    await write(place.querySelector(".comment input") as HTMLInputElement, "unfinished");
    await press("Not helpful");
    await answer(200);
    expect(sent[1]?.body).toEqual({ is_helpful: false, comment: "" });
  });

  it("is not judged when that fails: it says so, and can be pressed again", async () => {
    await show();
    await press("Helpful");
    await answer(503, { error: "store_unavailable", message: "…" });
    expect(place.querySelector("[role=alert]")?.textContent).toContain("It is ours, not yours.");
    expect(named("Helpful").getAttribute("aria-pressed")).toBe("false");
    await press("Try again");
    await answer(200);
    expect(place.textContent).toContain("Your vote is counted.");
  });

  it("is continued in a copy as soon as one is signed in: the button was pressed already", async () => {
    await show();
    await press("Continue in a copy of your own");
    expect(sent).toEqual([]);
    expect(place.textContent).toContain("Sign in to continue in a copy");
    const { signIn } = await import("../../session/token");
    await act(() => signIn(TOKEN));
    await settled();
    expect(sent.map((each) => each.path)).toEqual(["fork"]);
    await answer(503, { error: "store_unavailable", message: "…" });
    await press("Try again");
    await answer(200, { session_id: "ses_1" });
    expect(sent[1]?.key).toBe(sent[0]?.key); // the same copy
    expect(location.search).toBe("?session=ses_1");
  });

  it("is reported in a form that has the focus, which goes back to the button", async () => {
    await show();
    const { signIn } = await import("../../session/token");
    await act(() => signIn(TOKEN));
    await press("Report it");
    await settled();
    const text = place.querySelector("textarea") as HTMLTextAreaElement;
    expect(document.activeElement).toBe(text);
    await press("Do not report");
    expect(document.activeElement).toBe(named("Report it"));
    await press("Report it");
    await write(place.querySelector("textarea") as HTMLTextAreaElement, " It names somebody. ");
    await press("Report");
    await answer(200);
    expect(sent.map((each) => [each.path, each.body])).toEqual([["report", { reason: "It names somebody." }]]);
    expect(document.activeElement).toBe(named("Report it"));
    expect(place.textContent).toContain("Reported. Somebody will look at it.");
  });
});
