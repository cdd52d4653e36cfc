import { describe, expect, it } from "vitest";
import { mostTokens, promptProblem, promptTerms, type PromptInfo } from "./prompts";

const limits = { min_prompt_length: 10, max_prompt_length: 50_000, max_tokens_output: 1024 };

describe("a prompt of one's own", () => {
  it("has a length, counted in characters as the API counts them", () => {
    expect(promptProblem("123456789", limits)).toBe("Write a prompt of at least 10 characters.");
    expect(promptProblem("1234567890", limits)).toBeNull();
    expect(promptProblem("🦜".repeat(50_000), limits)).toBeNull();
    expect(promptProblem("🦜".repeat(50_002), limits)).toBe("Shorten the prompt by 2 characters.");
  });

  it("says for whom it is and what it costs", () => {
    const info = { available: true, requirements: { description: "For PRPM+." }, pricing: { credit_multiplier: 2 } } as PromptInfo;
    expect(promptTerms(info)).toBe("For PRPM+. Costs 2 times the credits of a package.");
    expect(promptTerms({ ...info, available: false })).toBe("They are switched off here and cannot be run.");
  });

  it("has shorter answers than a package", () => {
    const info = { limits } as PromptInfo;
    expect([mostTokens(32_000, true, info), mostTokens(32_000, false, info), mostTokens(500, true, info)]).toEqual([1024, 32_000, 500]);
  });
});
