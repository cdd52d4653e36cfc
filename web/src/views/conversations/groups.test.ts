import { describe, expect, it } from "vitest";
import { promptName } from "../../lib/conversation";
import { grouped } from "./groups";
import type { Listed } from "./store";

const one = (session_id: string, comparison: Listed["comparison"] = null) => ({ session_id, comparison }) as Listed;
const shape = (sessions: Listed[]) =>
  grouped(sessions).map((each) => (each.kind === "one" ? each.of.session_id : each.columns.map((column) => column.session_id)));

describe("the list of conversations", () => {
  it("has a comparison in one place, its columns in their order, also if one was continued later", () => {
    const list = [one("b2", { id: "b", index: 1 }), one("x"), one("a1", { id: "a", index: 0 }), one("b1", { id: "b", index: 0 }), one("a2", { id: "a", index: 1 })];
    expect(shape(list)).toEqual([["b1", "b2"], "x", ["a1", "a2"]]);
  });

  it("has what is left of a comparison as a conversation", () => {
    expect(shape([one("a1", { id: "a", index: 0 }), one("x")])).toEqual(["a1", "x"]);
    expect(shape([])).toEqual([]);
  });

  it("names what was sent before the input", () => {
    const about = { package: "@a/tidy", use_no_prompt: false, comparison: { id: "a", index: 0 } };
    expect(promptName(about)).toBe("@a/tidy");
    expect(promptName({ ...about, use_no_prompt: true })).toBe("Without a package");
    expect(promptName({ ...about, use_no_prompt: true, comparison: null })).toBe("@a/tidy, without its prompt");
    expect(promptName({ ...about, package: null })).toBe("Your own prompt");
  });
});
