import { describe, expect, it } from "vitest";
import { explain } from "./explain";
import { balanceOverTime, runOf, stepPath } from "./history";

const settled = {
  status: "settled",
  model: "opus",
  ceiling: 9,
  credits_spent: 6,
  buckets: { monthly: -4, rollover: 0, purchased: -2 },
  usage: { input_tokens: 1000, output_tokens: 2000, cache_write_tokens: 0, cache_read_tokens: 0 },
  price: { credits: 6, tier: 2, factor: 3, floor: 2, cost_nano_dollars: 1 },
};

describe("why a run cost what it did", () => {
  it("names size, model, charge and what was given back", () => {
    expect(explain(settled)).toEqual([
      "1,000 tokens were read and 2,000 were written: 3,000 together.",
      "A run of that size costs 2 credits, times 3 for Opus: 6 credits.",
      "Charged: 6 credits. 3 credits of the 9 held were given back.",
      "Paid from: 4 monthly, 2 of those that never expire.",
    ]);
  });

  it("says that a prompt of one's own counts more", () => {
    const own = { ...settled, custom_prompt: true, price: { ...settled.price, factor: 6 } };
    expect(explain(own)).toContain(
      "A run of that size costs 2 credits, times 6 for Opus with a prompt of your own: 12 credits.",
    );
  });

  it("says when the floor applied, and when the ceiling did", () => {
    const floor = { ...settled, credits_spent: 9, overrun: 2, price: { ...settled.price, floor: 11 } };
    expect(explain(floor)).toContain("Its tokens cost more than usual, so the floor applied: 11 credits.");
    expect(explain(floor)).toContain("At most 9 credits were held, and never more than that is charged.");
    expect(explain(floor)).toContain("Charged: 9 credits.");
  });

  it("counts cached tokens as read", () => {
    const usage = { input_tokens: 10, output_tokens: 5, cache_write_tokens: 0, cache_read_tokens: 1000 };
    expect(explain({ ...settled, usage })[0]).toBe(
      "1,010 tokens were read and 5 were written: 1,015 together, 1,000 of them through the prompt cache.",
    );
  });

  it("says that the package's prompt was left out", () => {
    expect(explain({ ...settled, use_no_prompt: true })).toContain("It ran without the package's prompt.");
  });

  it("one credit is not many", () => {
    const one = { ...settled, ceiling: 2, credits_spent: 1, buckets: null };
    expect(explain(one)).toContain("Charged: 1 credit. 1 credit of the 2 held was given back.");
    expect(explain({ status: "held", model: "sonnet", ceiling: 1 })[0]).toContain("1 credit is held for it");
  });

  it("a failed run cost nothing", () => {
    expect(explain({ status: "released", model: "sonnet", ceiling: 2 })).toEqual([
      "This run ended without an answer, so it cost nothing.",
      "The 2 credits that were held for it were given back.",
    ]);
  });
});

describe("a line of the history", () => {
  const run = { package: "@acme/tidy", model: "sonnet", custom_prompt: false, use_no_prompt: false };

  it("says what was run", () => {
    expect(runOf(run)).toBe("@acme/tidy, Sonnet");
    expect(runOf({ ...run, use_no_prompt: true })).toBe("@acme/tidy, without its prompt, Sonnet");
    expect(runOf({ ...run, package: null, custom_prompt: true })).toBe("your own prompt, Sonnet");
    expect(runOf({ ...run, package: null, model: null })).toBeNull();
  });
});

describe("the chart", () => {
  const at = (day: number) => `2026-11-0${day}T00:00:00Z`;
  const entries = [
    { seq: 2, amount: -2, balance_after: 3, created_at: at(3) },
    { seq: 1, amount: 5, balance_after: 5, created_at: at(1) },
  ];

  it("begins before the first line and ends now", () => {
    const points = balanceOverTime(entries, Date.parse(at(5)));
    expect(points.map((point) => point.balance)).toEqual([0, 5, 3, 3]);
    expect(stepPath(points, 100, 50)).toBe("M0 50H0V0H50V20H100V20");
  });

  it("never goes back in time, whatever the clocks of several servers say", () => {
    const at = (ms: number) => new Date(ms).toISOString();
    const entries = [
      { seq: 3, amount: -1, balance_after: 3, created_at: at(40) },
      { seq: 2, amount: -1, balance_after: 4, created_at: at(50) },
      { seq: 1, amount: 5, balance_after: 5, created_at: at(10) },
    ];
    expect(balanceOverTime(entries, 100).map((point) => [point.at, point.balance])).toEqual([[10, 0], [10, 5], [50, 4], [50, 3], [100, 3]]);
  });

  it("draws nothing of nothing", () => {
    expect(balanceOverTime([], 0)).toEqual([]);
    expect(stepPath([], 100, 50)).toBe("");
  });

  it("a balance of zero for ever is a line at the bottom", () => {
    const points = [
      { at: 5, balance: 0 },
      { at: 5, balance: 0 },
    ];
    expect(stepPath(points, 100, 50)).toBe("M0 50H0V50");
  });
});
