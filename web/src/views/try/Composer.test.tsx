import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

const TOKEN = `e30.${btoa(JSON.stringify({ sub: "alice" })).replace(/=+$/, "")}.c2ln`;
const MODEL = {
  name: "sonnet",
  default: true,
  retired: false,
  efforts: [],
  takes_temperature: true,
  tiers: { unit: 2000, steps: [{ up_to_tokens: 2500, credits: 1 }] },
  max_tokens: { default: 4096, most: 8192 },
};
const json = (body: object) => new Response(JSON.stringify(body), { headers: { "Content-Type": "application/json" } });
const settled = () => new Promise((resolve) => setTimeout(resolve, 20));

let store: typeof import("./store");
let change: typeof import("./draft").change;
let root: HTMLElement;
let leave: () => void;
let inputs: string[];
let answerModels: (answer: Response | Error) => void;

beforeEach(async () => {
  inputs = [];
  sessionStorage.clear();
  vi.resetModules(); // a page of its own for each
  store = await import("./store");
  change = (await import("./draft")).change;
  store.packageId.value = "p";
  store.details.value = { id: "p", name: "@a/p", latest_version: "1.0.0", versions: ["1.0.0"], variables: [] } as unknown as typeof store.details.value;
  vi.stubGlobal("CSS", { supports: () => true });
  vi.stubGlobal("fetch", (url: string, init: RequestInit = {}) => {
    if (url === "/config.json") return Promise.resolve(json({}));
    if (url.endsWith("/playground/models")) {
      return new Promise((resolve, reject) => {
        answerModels = (answer) => (answer instanceof Error ? reject(answer) : resolve(answer));
      });
    }
    if (url.endsWith("/playground/run/stream")) inputs.push(JSON.parse(String(init.body)).input);
    return new Promise(() => undefined);
  });
  root = document.body.appendChild(document.createElement("div"));
  (await import("../../session/token")).signIn(TOKEN);
  change({ input: "Say hello" });
  const { render } = await import("preact");
  const { Composer } = await import("./Composer");
  render(<Composer field={{ current: null }} />, root);
  leave = () => render(null, root);
});

afterEach(() => {
  leave();
  root.remove();
  vi.unstubAllGlobals();
});

const setVariables = (...names: string[]) => {
  const variables = names.map((name) => ({ name, default: null }));
  store.details.value = { ...store.details.value, variables } as unknown as typeof store.details.value;
};

const pressRun = async () => {
  await settled();
  [...root.querySelectorAll("button")].find((each) => each.textContent?.trim() === "Run")?.click();
  await settled();
};
const problem = () => root.querySelector("#input-problem")?.textContent;

describe("Run, pressed before the models are loaded", () => {
  it("a variable with a name that every object inherits is empty until it is filled in", async () => {
    setVariables("constructor", "__proto__");
    await settled();
    expect([...root.querySelectorAll<HTMLInputElement>(".variables input")].map((each) => each.value)).toEqual(["", ""]);
    expect(store.missingVariables.value).toEqual(["constructor", "__proto__"]);
    store.changeSetup({ variables: { constructor: "make", ["__proto__"]: "p" } });
    expect(store.missingVariables.value).toEqual([]);
  });

  it("runs what was written, once, when they are there", async () => {
    await pressRun();
    await pressRun();
    expect(problem()).toMatch(/as soon as the page is loaded/);
    expect(inputs).toEqual([]);
    answerModels(json({ models: [MODEL] }));
    await vi.waitFor(() => expect(inputs).toEqual(["Say hello"]));
    await settled();
    expect(inputs).toEqual(["Say hello"]);
    expect(problem()).toBe("");
  });

  it.each([
    ["the text", () => change({ input: "Say hello, no" })],
    ["the package", () => (store.packageId.value = "q")],
  ])("runs nothing when %s was changed meanwhile", async (_, changed) => {
    await pressRun();
    changed();
    await settled();
    answerModels(json({ models: [MODEL] }));
    await settled();
    expect(inputs).toEqual([]);
    expect(problem()).toBe("");
  });

  it("says when they cannot be loaded, and runs nothing later by itself", async () => {
    await pressRun();
    answerModels(new TypeError("Failed to fetch"));
    await settled();
    expect(problem()).toMatch(/could not be loaded/);
    store.models.value = [MODEL] as unknown as typeof store.models.value;
    await settled();
    expect(inputs).toEqual([]);
  });
});
