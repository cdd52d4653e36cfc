import { describe, expect, it } from "vitest";
import { ApiError } from "../api/client";
import { turnsOf } from "../lib/conversation";
import { problemOf } from "../lib/errors";
import { kindName, readFindings } from "../components/findings";
import { matches } from "./conversations/store";
import { sentence } from "./try/Price";
import { lost } from "./try/TryOut";
import { merged, placeOf } from "./try/store";
import { parse } from "../router";

describe("the price before a run", () => {
  const price = { estimated_credits: 1, max_credits: 2, available: 5, approximate: false };
  it("says the usual, the most and what one has", () => {
    expect(sentence(price)).toBe("1 credit, at most 2; you have 5.");
    expect(sentence({ ...price, max_credits: 1 })).toBe("1 credit; you have 5.");
    expect(sentence({ ...price, approximate: true, estimated_credits: 3, max_credits: 1200 })).toBe("About 3 credits, at most 1,200; you have 5.");
  });
});

describe("a search in titles", () => {
  const about = { title: "Review my Parser", package: "@a/code-reviewer", model: "opus", use_no_prompt: false };
  it("does not find a column without a package by the name that stands in", () => {
    const column = { ...about, use_no_prompt: true, comparison: { id: "cmp_1", index: 1 } };
    expect([matches(column, "code-reviewer"), matches(column, "without package")]).toEqual([false, true]);
  });

  it("takes words in any order and case", () => {
    expect(matches(about, "parser review")).toBe(true);
    expect(matches(about, "CODE")).toBe(true);
    expect(matches(about, "opus parser")).toBe(true);
    expect(matches(about, "parsers")).toBe(false);
  });
});

describe("findings of the secret scan", () => {
  it("have names for people", () => {
    expect(kindName("aws_access_key_id")).toBe("an AWS access key id");
    expect(kindName("github_token")).toBe("a github token");
    expect(kindName("openai_key")).toBe("an openai key");
    expect(readFindings({})).toEqual([]);
  });
});

describe("a run with a prompt of one's own", () => {
  it("is shown at an address that leads back to it", () => {
    const to = placeOf({ input: "x", custom_prompt: "You are a pirate." });
    expect(to).toBe("/?prompt=own");
    expect(parse("/", "?prompt=own")).toEqual({ view: "try", packageId: null, sessionId: null, isOwn: true });
    expect(placeOf({ input: "x", custom_prompt: "You are a pirate.", session_id: "ses_1" })).toBe("/?session=ses_1");
    expect(placeOf({ input: "x", package_id: "p" })).toBe("/?package=p");
  });
});

describe("a try without an account", () => {
  const refused = (code: string) => problemOf(new ApiError(code === "not_entitled" ? 403 : 429, code, "…", { login_required: true }, 3600));
  it("leads to signing in when it is refused, and is not offered again", () => {
    for (const code of ["not_entitled", "rate_limited", "paused"]) expect(refused(code).steps).toEqual(["sign-in"]);
    expect(refused("rate_limited").title).toBe("You have had today's try without an account");
    expect(problemOf(lost()).steps).toEqual([]);
  });
});

describe("turns that are read again", () => {
  it("keep what the page knows of its own runs", () => {
    const run = { id: "run_1", body: { package_id: "p", input: "b" }, answer: {} as never };
    const known = (run_id: string) => ({ run_id, feedback: null, credits_spent: 1, stop_reason: "end_turn" });
    const read = (id: string) => ({ id, question: "the same", answer: "as before", unreadable: false, run: null, earlier: known(id) });
    const shown = [{ ...read("run_1"), earlier: null, run }];
    const now = merged([read("run_0"), read("run_1"), { ...read("run_2"), earlier: null }], shown);
    expect(now.map((turn) => [turn.id, turn.run?.id ?? null])).toEqual([["run_0", null], ["run_1", "run_1"], ["run_2", null]]);
  });
  it("have the ids of their runs", () => {
    const said = (content: string, run_id?: string) => ({
      content,
      unreadable: false,
      ...(run_id && { run: { run_id, feedback: null, credits_spent: 1, stop_reason: "end_turn" } }),
    });
    const turns = turnsOf([said("a"), said("A", "run_1"), said("a"), said("A", "run_2"), said("b"), said("B")]);
    expect(turns.map((turn) => turn.id)).toEqual(["run_1", "run_2", "turn-3"]);
  });
});

