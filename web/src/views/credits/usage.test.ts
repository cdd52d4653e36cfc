import { describe, expect, it } from "vitest";
import { bars, usageOf, type Row } from "./usage";

const row = (date: string, model: string, name: string | null, credits: number): Row => ({ date, model, package: name, runs: 1, failed_runs: 0, credits, tokens: credits * 1000 });

describe("what one's runs came to", () => {
  const rows = [row("2026-11-27", "sonnet", "@a/b", 1), row("2026-11-29", "sonnet", "@a/b", 2), row("2026-11-29", "opus", "@a/b", 9), row("2026-11-29", "opus", null, 9)];

  it("by day has every day, over the end of a month, too", () => {
    const { days, total } = usageOf(rows, "2026-11-27", "2026-12-01");
    expect(days.map((each) => [each.date, each.credits])).toEqual([
      ["2026-11-27", 1], ["2026-11-28", 0], ["2026-11-29", 20], ["2026-11-30", 0], ["2026-12-01", 0],
    ]);
    expect(total).toEqual({ credits: 21, runs: 4, tokens: 21_000, failed: 0 });
  });

  it("by model and package has those that cost most first", () => {
    const { kinds } = usageOf(rows, "2026-11-27", "2026-12-01");
    expect(kinds.map((each) => [each.model, each.package, each.runs, each.credits])).toEqual([
      ["opus", "@a/b", 1, 9], ["opus", null, 1, 9], ["sonnet", "@a/b", 2, 3],
    ]);
  });

  it("of nothing is nothing, and of no dates, too", () => {
    expect(usageOf([], "2026-12-01", "2026-12-01").days).toHaveLength(1);
    expect(usageOf([], "", "").days).toEqual([]);
  });

  it("is drawn so that a day with little can be seen", () => {
    const days = [{ credits: 0, runs: 0, tokens: 0 }, { credits: 1, runs: 1, tokens: 1 }, { credits: 10_000, runs: 1, tokens: 1 }];
    expect(bars(days, "credits", 300, 100).map((each) => [each.x, each.height])).toEqual([[10, 0], [110, 2], [210, 100]]);
    expect(bars([], "credits", 300, 100)).toEqual([]);
  });
});
