import { describe, expect, it } from "vitest";
import { ApiError, NetworkError } from "../api/client";
import { parse } from "../router";
import { titleOf, turnsOf } from "./conversation";
import { curl, plainText, quoted } from "./copies";
import { problemOf } from "./errors";
import { characters, counted, credits, cut, duration, signed } from "./format";
import { markdown } from "./markdown";

describe("addresses of the page", () => {
  it("are those that the backend links to", () => {
    expect(parse("/", "")).toEqual({ view: "try", packageId: null, sessionId: null, isOwn: false });
    expect(parse("/", "?package=%40a%2Fb&session=ses_1")).toEqual({ view: "try", packageId: "@a/b", sessionId: "ses_1", isOwn: false });
    expect(parse("/playground/credits", "")).toEqual({ view: "credits", section: "credits" });
    expect(parse("/playground/subscription", "?checkout=success")).toEqual({ view: "credits", section: "subscription" });
    expect(parse("/playground/shared/a-b_c", "")).toEqual({ view: "shared", token: "a-b_c" });
    expect(parse("/conversations/ses_1", "")).toEqual({ view: "conversations", sessionId: "ses_1" });
    for (const path of ["/playground", "/playground/shared", "/playground/shared/a/b", "/x", "/compare/x"]) {
      expect(parse(path, "")).toEqual({ view: "unknown" });
    }
    expect(parse("/playground/shared/%E0%A4%A", "").view).toBe("shared");
  });
});

describe("numbers for people", () => {
  it("credits, characters, durations", () => {
    expect([credits(1), credits(0), credits(1234)]).toEqual(["1 credit", "0 credits", "1,234 credits"]);
    expect(characters("🙂é👨‍👩‍👧")).toBe(7);
    expect([duration(0.2), duration(59.5), duration(61), duration(3600), duration(7500), duration(200_000)]).toEqual([
      "1 s", "1 min", "2 min", "1 h", "2 h 5 min", "3 days",
    ]);
  });
});

describe("what went wrong", () => {
  it("is said with the next step", () => {
    const broke = problemOf(new ApiError(402, "insufficient_credits", "…", { required_credits: 3, available_credits: 1, reset_at: "2026-12-05T00:00:00Z" }));
    expect(broke.text).toContain("needs at least 3 credits; you have 1.");
    expect(broke.text).toContain("5 Dec 2026");
    expect(broke.steps).toEqual(["buy"]);
    expect(problemOf(new ApiError(401, "unauthorized", "…")).steps).toEqual(["sign-in"]);
    expect(problemOf(new ApiError(413, "context_too_long", "…")).steps).toContain("shorten");
    expect(problemOf(new ApiError(429, "rate_limited", "…", { limit: 5 }, 42))).toMatchObject({
      text: "You can start 5 a minute. Try again in 42 s.", steps: ["retry"], waitSeconds: 42,
    });
    expect(problemOf(new ApiError(502, "model_failed", "…", { reason: "no_text" })).text).toContain("You were not charged.");
    const conflict = problemOf(new ApiError(409, "session_conflict", "A new attempt takes a new Idempotency-Key.", { run_id: "run_1" })).text;
    expect(conflict).toBe("It was used in another window, or deleted, while this was being answered. You were not charged.");
    expect(problemOf(new NetworkError("…"))).toMatchObject({ text: "Check your connection, then try again.", steps: ["retry"] });
    expect(problemOf(new NetworkError("…"), true).text).toContain("A run that has begun goes on without you, and is charged once.");
    expect(problemOf(new TypeError("x is undefined"))).toMatchObject({ steps: ["reload"] });
  });

  it("is the API's own message where the page has no better words", () => {
    expect(problemOf(new ApiError(400, "validation_error", "`input` is too long.")).text).toBe("`input` is too long.");
    expect(problemOf(new ApiError(418, "later", "Something new.")).text).toBe("Something new.");
    expect(problemOf(new ApiError(500, "later", "Something new.")).text).not.toContain("new");
  });
});

describe("copies of an answer", () => {
  it("as text", () => {
    const html = markdown("# Title\n\nOne **two**\n\n- a\n- b `c`\n\n3. x\n4. y\n\n```\nx < y\n```\n\n| a | b |\n|-|-|\n| 1 | 2 |");
    expect(plainText(html)).toBe("Title\n\nOne two\n\n- a\n- b c\n\n3. x\n4. y\n\nx < y\n\na\tb\n1\t2");
  });

  it("as a command without the token, in which nothing is interpreted", () => {
    const text = curl("https://a.example/api/v1", { package_id: "p", input: "it's $HOME `id` \\ \n\"x\"", effort: null });
    expect(text).toContain('-H "Authorization: Bearer $TOKEN"');
    expect(text).not.toContain("effort");
    expect(text).toContain(`it'\\''s $HOME \`id\``);
    expect(quoted("'")).toBe("''\\'''");
  });
});

describe("a title", () => {
  it("is one line that does not turn what stands beside it", () => {
    expect(titleOf({ title: "Pay \u202Egnp.exe\u202C\n\u2067now\u2069", package: null })).toBe("Pay gnp.exe now");
    expect(titleOf({ title: " \u202E\n", package: "@a/tidy" })).toBe("@a/tidy");
  });
});

describe("turns", () => {
  it("are question and answer", () => {
    const message = (content: string, unreadable = false) => ({ content, unreadable });
    const turns = turnsOf([message("a"), message("b"), message("c"), message("", true), message("left over")]);
    expect(turns.map((turn) => [turn.id, turn.question, turn.answer, turn.unreadable])).toEqual([
      ["turn-1", "a", "b", false],
      ["turn-2", "c", "", true],
    ]);
  });

  it("say of each earlier run what became of it", () => {
    const run = { run_id: "run_1", credits_spent: 2, stop_reason: "cancelled", feedback: null };
    const [own, copied] = turnsOf([
      { content: "a", unreadable: false, run: null },
      { content: "b", unreadable: false, run },
      { content: "c", unreadable: false },
      { content: "d", unreadable: false },
    ]);
    expect([own?.earlier, copied?.earlier]).toEqual([run, null]);
  });
});

describe("numbers and texts", () => {
  it("one is not many", () => {
    expect([0, 1, 2, 1000].map((amount) => counted(amount, "run"))).toEqual(["0 runs", "1 run", "2 runs", "1,000 runs"]);
    expect([1, 2].map((amount) => counted(amount, "entry", "entries"))).toEqual(["1 entry", "2 entries"]);
    expect([1, -1, 5].map(credits)).toEqual(["1 credit", "-1 credit", "5 credits"]);
    expect([1200, -3, 0].map(signed)).toEqual(["+1,200", "−3", "0"]);
  });

  it("what is cut ends with an ellipsis", () => {
    expect(cut("short", 5)).toBe("short");
    expect(cut("a longer text", 9)).toBe("a longer…");
    expect(cut("🎈🎈🎈", 2)).toBe("🎈…");
  });
});
