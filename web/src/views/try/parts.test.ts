import { h, render } from "preact";
import { beforeEach, describe, expect, it, vi } from "vitest";
import { Thread } from "../../components/Thread";
import type { Turn } from "../../lib/conversation";
import { Composer } from "./Composer";
import { RunStatus } from "./RunStatus";
import * as store from "./store";

const MODEL = { name: "sonnet", default: true, retired: false, efforts: [], takes_temperature: true, max_tokens: { default: 4096, most: 8192 }, tiers: { steps: [] } };
const PACKAGE = {
  id: "p",
  name: "@a/p",
  versions: ["1.0.0"],
  latest_version: "1.0.0",
  variables: [{ name: "language", default: "" }],
  examples: [{ title: "An example", input: "the example", variables: { language: "C" } }],
};
const place = document.createElement("div");
const shown = async (text: string) => vi.waitFor(() => expect(place.textContent).toContain(text));
const button = (name: string) => Array.from(place.querySelectorAll("button")).find((each) => each.textContent === name);

beforeEach(() => {
  vi.stubGlobal("fetch", () => new Promise(() => undefined));
  vi.stubGlobal("CSS", { supports: () => true });
  vi.stubGlobal("ResizeObserver", class {});
  document.body.append(place);
  render(null, place);
  store.models.value = [MODEL as never];
  store.details.value = PACKAGE as never;
  store.change({ input: "" });
});

describe("where the text is written", () => {
  it("an example takes the place of what is written, which can be had back", async () => {
    store.change({ input: "mine" });
    store.changeSetup({ variables: { language: "Python" } });
    render(h(Composer, { field: { current: null } }), place);
    button("An example")?.click();
    expect(store.draft.value.input).toBe("the example");
    await shown("Put back what you had written");
    button("An example")?.click(); // once more: what is put back is still one's own
    button("Put back what you had written")?.click();
    expect([store.draft.value.input, store.setup.value.variables]).toEqual(["mine", { language: "Python" }]);
  });
});

describe("a run that is shown elsewhere", () => {
  it("says that its connection is lost", async () => {
    const body = { input: "x", package_id: "q" };
    store.live.value = { key: "k", body, runId: null, sessionId: null, ceiling: null, text: "", state: "lost", error: null };
    render(h(RunStatus, {}), place);
    await shown("The connection to your last run was lost.");
    store.live.value = null;
  });

  it("says that it can be read after signing in again", async () => {
    store.isUnread.value = true;
    render(h(RunStatus, {}), place);
    await shown("Your last run may go on without you, and is charged once. Sign in again to read its answer.");
    store.isUnread.value = false;
  });

  it("gives its text back when its failure is dismissed", async () => {
    store.endedElsewhere.value = { to: "/?package=q", body: { input: "typed", package_id: "q" }, error: new Error("x") };
    render(h(RunStatus, {}), place);
    await shown("Your last run has failed");
    button("Dismiss")?.click();
    expect([store.draft.value.input, store.endedElsewhere.value]).toEqual(["typed", null]);
  });
});

describe("stars of a turn", () => {
  it("are those of its run, not of the turn that was in its place", async () => {
    const turn = (run_id: string, rating: number | null): Turn => ({
      ...{ id: "turn-1", question: "the same", answer: "as before", unreadable: false, run: null },
      earlier: { run_id, credits_spent: 1, stop_reason: "end_turn", feedback: { run_id, rating, comment: "", given_at: "", is_helpful: null } },
    });
    const checked = () => place.querySelectorAll("input:checked").length;
    render(h(Thread, { turns: [turn("run_1", 4)] }), place);
    expect(checked()).toBe(1);
    render(h(Thread, { turns: [turn("run_2", null)] }), place);
    expect(checked()).toBe(0);
  });
});
