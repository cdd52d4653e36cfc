import { describe, expect, it } from "vitest";
import { applied, brokenOff, lost, newColumns, spent } from "./columns";

const answer = { run_id: "run_1", session_id: "ses_1", response: "Hello", credits_spent: 2 };

describe("columns of a comparison", () => {
  it("each gets what is its own", () => {
    let columns = newColumns(2);
    columns = applied(columns, { event: "run", data: { index: 1, run_id: "run_1", session_id: "ses_1", ceiling: 3 } });
    columns = applied(columns, { event: "delta", id: "3", data: { index: 1, text: "Hel" } });
    expect(columns[0]?.state).toBe("waiting");
    expect(columns[1]).toMatchObject({ state: "writing", text: "Hel", lastId: "3", ceiling: 3, runId: "run_1" });
    columns = applied(columns, { event: "done", data: { index: 1, ...answer } });
    columns = applied(columns, { event: "error", data: { index: 0, error: "model_failed", message: "No." } });
    expect(columns.map((column) => column.state)).toEqual(["failed", "done"]);
    expect(columns[1]?.text).toBe("Hello");
    expect(spent(columns)).toBe(2);
  });

  it("what names no column changes none", () => {
    const columns = newColumns(2);
    for (const data of [null, [], "x", {}, { index: 2, text: "x" }, { index: "0", text: "x" }]) {
      expect(applied(columns, { event: "delta", data })).toEqual(columns);
    }
    expect(applied(columns, { event: "later", data: { index: 0 } })).toEqual(columns);
  });

  it("a broken stream leaves what has ended as it is", () => {
    let columns = applied(newColumns(2), { event: "done", data: { index: 0, ...answer } });
    expect(brokenOff(columns).map((column) => column.state)).toEqual(["done", "cut"]);
    columns = lost(columns);
    expect(columns.map((column) => column.state)).toEqual(["done", "lost"]);
  });
});
