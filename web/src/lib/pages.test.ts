import { describe, expect, it } from "vitest";
import { Pages, type Page } from "./pages";

/** Answers when the test says so. */
function asked() {
  const questions: { key: string; cursor: string | null; signal: AbortSignal; answer: (page: Page<string>) => void; fail: (error: unknown) => void }[] = [];
  const read = (key: string, cursor: string | null, signal: AbortSignal) =>
    new Promise<Page<string>>((answer, fail) => questions.push({ key, cursor, signal, answer, fail }));
  return { pages: new Pages<string, string>(read, (each) => each), questions };
}

const settled = () => new Promise((done) => setTimeout(done));

describe("a list in pages", () => {
  it("never has a late page of another one", async () => {
    const { pages, questions } = asked();
    void pages.load("runs");
    questions[0]?.answer({ items: ["run 3", "run 2"], next: "2" });
    await settled();
    void pages.more(); // of runs
    void pages.load("refunds"); // while it is on its way
    expect(questions[1]?.signal.aborted).toBe(true);
    questions[2]?.answer({ items: ["refund 1"], next: null });
    await settled();
    questions[1]?.answer({ items: ["run 1"], next: "0" });
    await settled();
    expect([pages.key.value, pages.items.value, pages.next.value]).toEqual(["refunds", ["refund 1"], null]);
  });

  it("is the one that was asked for last, in whatever order the answers come, and failures", async () => {
    const { pages, questions } = asked();
    for (const key of ["a", "b", "c"]) void pages.load(key);
    questions[2]?.answer({ items: ["of c"], next: null });
    questions[1]?.fail(new Error("late"));
    questions[0]?.answer({ items: ["of a"], next: null });
    await settled();
    expect([pages.key.value, pages.items.value, pages.error.value]).toEqual(["c", ["of c"], null]);
    expect(pages.isLoading.value).toBe(false);
  });

  it("asks for a page once, also when it is pressed twice, and lists an item once", async () => {
    const { pages, questions } = asked();
    void pages.load("a");
    questions[0]?.answer({ items: ["1", "2"], next: "2", unreadable: 1 });
    await settled();
    void pages.more();
    const twice = pages.more();
    expect(questions).toHaveLength(2);
    questions[1]?.answer({ items: ["2", "3"], next: null, unreadable: 2 });
    await twice;
    expect([pages.items.value, pages.unreadable.value]).toEqual([["1", "2", "3"], 3]);
    await pages.more();
    expect(questions).toHaveLength(2); // there is nothing behind the end
  });

  it("goes on after a failure with the page that failed", async () => {
    const { pages, questions } = asked();
    void pages.load("a");
    questions[0]?.answer({ items: ["1"], next: "1" });
    await settled();
    void pages.more();
    questions[1]?.fail(new Error("no"));
    await settled();
    expect([pages.error.value, pages.items.value]).toEqual([new Error("no"), ["1"]]);
    void pages.again();
    expect(questions[2]?.cursor).toBe("1");
    void pages.load("b");
    questions[3]?.fail(new Error("no"));
    await settled();
    void pages.again();
    expect([questions[4]?.key, questions[4]?.cursor]).toEqual(["b", null]);
  });

  it("that is wanted again drops the other one that was asked for, and its failure", async () => {
    const { pages, questions } = asked();
    void pages.load("a");
    questions[0]?.answer({ items: ["of a"], next: null });
    await settled();
    void pages.load("b");
    pages.stop();
    questions[1]?.answer({ items: ["of b"], next: null });
    await settled();
    expect([pages.items.value, pages.isLoading.value]).toEqual([["of a"], false]);
    void pages.load("b");
    questions[2]?.fail(new Error("no"));
    await settled();
    pages.stop();
    expect(pages.error.value).toBeNull();
  });
});
