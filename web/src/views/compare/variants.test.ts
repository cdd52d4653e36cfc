import { describe, expect, it } from "vitest";
import type { PromptInfo } from "../../lib/prompts";
import { another, body, firstMissing, missing, repeated, title, withAndWithout, type Known, type Variant } from "./variants";

const model = (name: string, efforts: string[] = []) => ({ name, efforts, max_tokens: { default: 4096, most: 32_000 } });
const known: Known = {
  variables: {
    "id-1": [],
    "id-2": [
      { name: "for_whom", default: null },
      { name: "tone", default: "plain" },
    ],
  },
  models: [model("sonnet", ["low", "high"]), model("haiku"), model("opus")],
  info: { limits: { min_prompt_length: 10, max_prompt_length: 50, max_tokens_output: 1024 } } as PromptInfo,
};
const begun = (packageId = "id-1") => withAndWithout(packageId, "@acme/tidy", "sonnet") as [Variant, Variant];

describe("the columns of a comparison", () => {
  it("begin with the package and without it", () => {
    const variants = begun();
    expect(variants.map(title)).toEqual(["@acme/tidy, Sonnet", "Without a package, Sonnet"]);
    expect(variants.map((each) => body(each, known))).toEqual([
      { package_id: "id-1", model: "sonnet", variables: {} },
      { package_id: "id-1", model: "sonnet", use_no_prompt: true },
    ]);
    expect(repeated(variants, known)).toEqual([]);
    expect(firstMissing(variants, known)).toBeNull();
  });

  it("another one has another model, and what the first one was given", () => {
    const variants = begun("id-2").map((each) => ({ ...each, values: { for_whom: "tenants" } }));
    expect(another(variants, known.models)).toMatchObject({ model: "haiku", prompt: "package", values: { for_whom: "tenants" } });
    expect(another(variants, known.models.slice(0, 1))).toMatchObject({ model: "sonnet" });
  });

  it("those that would be the same run are named", () => {
    const [first, second] = begun();
    expect(repeated([first, second, { ...first }], known)).toEqual([2]);
    expect(repeated([second, { ...second, packageId: "id-2" }], known)).toEqual([1]);
    expect(repeated([first, { ...first, maxTokens: 50 }, { ...first, effort: "low" }, { ...first, effort: "none" }], known)).toEqual([3]);
    const filled = { ...first, packageId: "id-2", values: { for_whom: "a", unknown: "b" } };
    expect(repeated([filled, { ...filled, values: { for_whom: "c" } }, { ...filled, values: { for_whom: "a" } }], known)).toEqual([2]);
  });

  it("send the variables that are filled in, and ask for those that are needed", () => {
    const [first] = begun("id-2");
    expect(missing(first, known)).toBe("Fill in “for whom”.");
    const filled = { ...first, values: { for_whom: "tenants", tone: "", unknown: "x" } };
    expect(missing(filled, known)).toBeNull();
    expect(body(filled, known).variables).toEqual({ for_whom: "tenants" });
    const inherited = { ...known, variables: { "id-2": [{ name: "constructor", default: null }] } };
    expect(missing(first, inherited)).toBe("Fill in “constructor”.");
    expect(missing({ ...first, packageId: "id-3" }, known)).toBe("The package is being loaded.");
    expect(firstMissing([filled, { ...first, packageId: "" }], known)).toBe("Column 2: Choose a package.");
  });

  it("send a prompt of one's own in place of a package, with its limits", () => {
    const own: Variant = { ...begun()[0], prompt: "own", own: "You are a pirate.", maxTokens: 4000, effort: "high" };
    expect(body(own, known)).toEqual({ custom_prompt: "You are a pirate.", model: "sonnet", effort: "high", max_tokens: 1024 });
    expect(body({ ...own, prompt: "package" }, known).max_tokens).toBe(4000);
    expect(title(own)).toBe("Your own prompt, Sonnet");
    expect(missing({ ...own, own: "short" }, known)).toBe("Write a prompt of at least 10 characters.");
    expect(missing({ ...own, own: "x".repeat(51) }, known)).toBe("Shorten the prompt by 1 character.");
    expect(missing(own, { ...known, info: null })).toBe("Prompts of your own cannot be run at present.");
  });

  it("without a package anywhere, the column without a prompt names one that stands in", () => {
    const [, none] = begun("");
    expect(body(none, known, "id-9")).toEqual({ package_id: "id-9", model: "sonnet", use_no_prompt: true });
    expect(body({ ...none, packageId: "id-1" }, known, "id-9").package_id).toBe("id-1");
  });
});
