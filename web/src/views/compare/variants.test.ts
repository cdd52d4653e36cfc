import { describe, expect, it } from "vitest";
import { another, body, repeated, title, withAndWithout } from "./variants";

describe("the columns of a comparison", () => {
  it("begin with the package and without it", () => {
    const variants = withAndWithout("id-1", "@acme/tidy", "sonnet");
    expect(variants.map(title)).toEqual(["@acme/tidy, sonnet", "Without a package, sonnet"]);
    expect(variants.map(body)).toEqual([
      { package_id: "id-1", model: "sonnet", use_no_prompt: false, variables: {} },
      { package_id: "id-1", model: "sonnet", use_no_prompt: true },
    ]);
    expect(repeated(variants)).toEqual([]);
  });

  it("another one has another model", () => {
    const variants = withAndWithout("id-1", "@acme/tidy", "sonnet");
    expect(another(variants, ["sonnet", "haiku", "opus"])).toMatchObject({ model: "haiku", withPackage: true });
    expect(another(variants, ["sonnet"])).toMatchObject({ model: "sonnet" });
  });

  it("those that would be the same run are named", () => {
    const [first, second] = withAndWithout("id-1", "@acme/tidy", "sonnet");
    if (!first || !second) throw new Error("two columns");
    expect(repeated([first, second, { ...first }])).toEqual([2]);
    expect(repeated([second, { ...second, packageId: "id-2" }])).toEqual([1]);
  });
});
