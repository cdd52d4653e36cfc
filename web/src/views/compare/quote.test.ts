import { describe, expect, it } from "vitest";
import { ApiError } from "../../api/client";
import { problemOf } from "../../lib/errors";
import { inColumn, quoteOf } from "./quote";

const estimate = (expected: number, most: number, balance: number) => ({
  estimated_credits: expected,
  max_credits: most,
  available: balance,
});

describe("the quote of a comparison", () => {
  it("is for all columns together", () => {
    expect(quoteOf([estimate(1, 2, 12), estimate(2, 3, 12)]).text).toBe(
      "All columns together: 3 credits, at most 5; you have 12.",
    );
    expect(quoteOf([estimate(1, 1, 1)]).text).toBe("All columns together: 1 credit; you have 1.");
    expect(quoteOf([]).text).toBe("");
  });

  it("says in which column it is refused, and what can be done", () => {
    const problem = problemOf(inColumn(new ApiError(403, "not_entitled", "Not for you."), 1));
    expect(problem.title).toBe("Column 2: Your account cannot run prompts of its own");
    expect(problem.steps).toEqual(["plan"]);
  });

  it("does not offer what no shorter answer makes payable", () => {
    expect(quoteOf([estimate(1, 2, 1), estimate(1, 2, 1)])).toEqual({
      text: expect.stringMatching(/you have 1\. That is too few: each column costs 1 credit at least\.$/),
      isTooDear: true,
    });
    expect(quoteOf([estimate(1, 2, 2), estimate(1, 2, 2), estimate(1, 2, 2)]).text).toMatch(/Remove a column, or buy more\.$/);
    expect(quoteOf([estimate(1, 2, 2), estimate(1, 2, 2)]).text).toContain("Answers may have to be shorter");
  });

  it("says that answers may be shorter", () => {
    expect(quoteOf([estimate(3, 9, 5), estimate(3, 9, 5)]).text).toContain("Answers may have to be shorter");
  });
});
