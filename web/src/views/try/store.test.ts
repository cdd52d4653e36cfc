import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

const token = (sub: string) => `e30.${btoa(JSON.stringify({ sub })).replace(/=+$/, "")}.c2ln`;
const MODEL = {
  name: "sonnet",
  default: true,
  retired: false,
  efforts: [],
  takes_temperature: true,
  max_tokens: { default: 4096, most: 8192 },
};
const about = (id: string, variables: string[] = []) => ({
  id,
  name: `@a/${id}`,
  latest_version: "2.0.0",
  versions: ["2.0.0", "1.0.0"],
  variables: variables.map((name) => ({ name, default: null })),
});
const answerOf = (run: string, session: string) => ({
  run_id: run,
  session_id: session,
  response: "Yes.",
  credits_spent: 1,
  credits_remaining: 4,
  conversation: [],
});
const event = (name: string, data: object) => `event: ${name}\ndata: ${JSON.stringify(data)}\n\n`;
const begun = (run = "run_1", session = "ses_1") => event("run", { run_id: run, session_id: session, ceiling: 2, max_tokens: 4096 });
const done = (run = "run_1", session = "ses_1") => begun(run, session) + event("done", answerOf(run, session));
const sessionOf = (id: string, packageId: string, runs: string[] = []) => ({
  session_id: id,
  package_id: packageId,
  package: `@a/${packageId}`,
  model: "sonnet",
  custom_prompt: null,
  variables: null,
  forked: false,
  use_no_prompt: false,
  turns: runs.length,
  next_cursor: null,
  conversation: runs.flatMap((run_id) => [
    { content: "a", unreadable: false },
    { content: "A", unreadable: false, run: { run_id, feedback: null, credits_spent: 1, stop_reason: "end_turn" } },
  ]),
});

interface Call {
  route: string;
  key: string | null;
  body: Record<string, unknown> | null;
  auth: string | null;
}

/** The API as the page reaches it: what has no answer yet stays open until `answer`. */
class Api {
  readonly calls: Call[] = [];
  private readonly waiting: { route: string; resolve: (answer: Response) => void; reject: (error: unknown) => void }[] = [];
  always: Record<string, () => Response> = {};

  fetch = (url: string, init: RequestInit = {}): Promise<Response> => {
    const headers = new Headers(init.headers);
    const route = `${init.method ?? "GET"} ${url.replace("/api/v1", "")}`;
    this.calls.push({ route, key: headers.get("Idempotency-Key"), auth: headers.get("Authorization"), body: typeof init.body === "string" ? JSON.parse(init.body) : null });
    const fixed = this.always[route];
    if (fixed) return Promise.resolve(fixed());
    return new Promise((resolve, reject) => {
      this.waiting.push({ route, resolve, reject });
      init.signal?.addEventListener("abort", () => reject(new DOMException("aborted", "AbortError")));
    });
  };

  /** Answers the oldest open call of the route, once it is there. */
  async answer(route: string, with_: Response | Error): Promise<void> {
    await vi.waitFor(() => expect(this.waiting.map((each) => each.route)).toContain(route), 5_000);
    const [call] = this.waiting.splice(this.waiting.findIndex((each) => each.route === route), 1);
    if (with_ instanceof Error) call?.reject(with_);
    else call?.resolve(with_);
    await new Promise((resolve) => setTimeout(resolve)); // what follows from it at once
  }

  /** The page is left: nothing of what it has asked for comes any more. */
  leave(): void {
    this.waiting.length = 0;
  }

  /** The runs that have been asked for, once they are so many. */
  async runsWhen(count: number): Promise<Call[]> {
    await vi.waitFor(() => expect(this.runs()).toHaveLength(count), 5_000);
    return this.runs();
  }

  runs = () => this.calls.filter((each) => each.route === RUN);
}

const RUN = "POST /playground/run/stream";
const json = (body: object, status = 200, headers = {}) => new Response(JSON.stringify(body), { status, headers });
const refused = (status: number, error: string, facts = {}, headers = {}) => json({ error, message: "…", ...facts }, status, headers);

let api: Api;

type Page = typeof import("./store") & Pick<typeof import("../../session/token"), "signIn" | "bearer" | "accountName"> & Pick<typeof import("../../router"), "navigate">;

/** The page, loaded at this address; what the tab keeps is what the page before it has left. */
async function load(address: string): Promise<Page> {
  api.leave();
  history.replaceState(null, "", address);
  vi.resetModules();
  const { signIn, bearer, accountName } = await import("../../session/token");
  const { navigate } = await import("../../router");
  const store = await import("./store");
  await store.loadModels();
  return { ...store, signIn, bearer, accountName, navigate };
}

beforeEach(() => {
  sessionStorage.clear();
  api = new Api();
  api.always = {
    "GET /config.json": () => json({}),
    "GET /playground/models": () => json({ models: [MODEL, { ...MODEL, name: "opus", default: false }] }),
    "GET /playground/credits": () => json({ available: 5, monthly: {}, rollover: {} }),
    "GET /packages/p": () => json(about("p", ["language"])),
    "GET /packages/q": () => json(about("q")),
    "GET /packages/%40a/p": () => json(about("p", ["language"])),
  };
  vi.stubGlobal("fetch", api.fetch);
});

afterEach(() => vi.unstubAllGlobals());

async function write(page: Page, text: string): Promise<void> {
  await page.showPackage("p");
  page.change({ input: text });
  page.changeSetup({ variables: { language: "Python" } });
}

describe("what follows an answer", () => {
  it("is found by a page that was asked for before the answer came, and not said twice", async () => {
    const page = await load(`/?package=p#token=${token("alice")}`);
    await write(page, "first");
    page.start();
    await api.answer(RUN, new Response(done()));
    await vi.waitFor(() => expect(page.live.value).toBeNull());
    expect((await load("/?package=p")).endedElsewhere.value).toMatchObject({ to: "/?session=ses_1", error: null });
    expect((await load("/?session=ses_1")).endedElsewhere.value).toBeNull();
    expect((await load("/?package=p")).endedElsewhere.value).toBeNull();
  });

  it("goes on with its conversation before that has been read, and however often reading it fails", async () => {
    const page = await load(`/?package=p#token=${token("alice")}`);
    await write(page, "first");
    page.start();
    await api.answer(RUN, new Response(done()));
    await vi.waitFor(() => expect(page.live.value).toBeNull());
    expect(page.turns.value.map((turn) => turn.question)).toEqual(["first"]);
    expect(location.search).toBe("?session=ses_1");
    page.change({ input: "second" });
    expect(page.request.value).toEqual({ input: "second", model: "sonnet", package_id: "p", package_version: "2.0.0", session_id: "ses_1" });

    await api.answer("GET /playground/sessions/ses_1", refused(503, "store_unavailable"));
    expect(page.loadError.value).toBeNull();
    await api.answer("GET /playground/sessions/ses_1", json(sessionOf("ses_1", "p", ["run_1"]))); // tried again
    await vi.waitFor(() => expect(page.session.value?.turns).toBe(1));
    expect(page.turns.value.map((turn) => turn.run?.id)).toEqual(["run_1"]);
  });

  it("is not taken away by what was read before it", async () => {
    api.always["GET /playground/sessions/ses_1"] = () => json(sessionOf("ses_1", "p", ["run_1"]));
    const page = await load(`/?session=ses_1#token=${token("alice")}`);
    await page.showSession("ses_1");
    delete api.always["GET /playground/sessions/ses_1"];
    void page.showSession("ses_1"); // slow
    page.change({ input: "second" });
    page.start();
    await api.answer(RUN, new Response(done("run_2")));
    await vi.waitFor(() => expect(page.turns.value).toHaveLength(2));
    await api.answer("GET /playground/sessions/ses_1", json(sessionOf("ses_1", "p", ["run_1"])));
    expect(page.turns.value).toHaveLength(2);
    await api.answer("GET /playground/sessions/ses_1", json(sessionOf("ses_1", "p", ["run_1", "run_2", "run_3"])));
    expect(page.turns.value.map((turn) => turn.id)).toEqual(["run_1", "run_2", "run_3"]);
  });

  it("is not run in the conversation before while another one is being read", async () => {
    api.always["GET /playground/sessions/ses_1"] = () => json(sessionOf("ses_1", "p", ["run_1"]));
    const page = await load(`/?session=ses_1#token=${token("alice")}`);
    await page.showSession("ses_1");
    page.change({ input: "text" });
    const shown = page.showSession("ses_2");
    expect([page.request.value, page.turns.value]).toEqual([null, []]);
    await api.answer("GET /playground/sessions/ses_2", json(sessionOf("ses_2", "q")));
    await shown;
    expect(page.request.value).toMatchObject({ session_id: "ses_2", package_id: "q" });
  });
});

describe("a run whose outcome is not known", () => {
  it("stays that of who began it when it is read on while signed out", async () => {
    const page = await load(`/?package=p#token=${token("alice")}`);
    const { refuse } = await import("../../session/token");
    await write(page, "first");
    page.start();
    await api.runsWhen(1);
    refuse(page.bearer() as string); // as another request has found
    page.readOn();
    expect(JSON.parse(sessionStorage.getItem("playground.run") as string).owner).toBe("alice");
  });

  it("keeps its key while it is refused, while signed out, and over a page that is loaded again", async () => {
    let page = await load(`/?package=p#token=${token("alice")}`);
    await write(page, "first");
    page.start();
    await api.answer(RUN, new TypeError("connection lost"));
    await api.answer(RUN, refused(401, "unauthorized"));
    await vi.waitFor(() => expect(page.live.value).toBeNull());
    expect(page.bearer()).toBeNull();
    expect(page.isUnread.value).toBe(true);
    page = await load("/?package=p");
    expect(page.isUnread.value).toBe(true); // still signed out

    page.signIn(token("alice"));
    page.resume();
    expect(page.isUnread.value).toBe(false);
    await api.runsWhen(3);
    page = await load("/?package=p");
    await page.showPackage("p");
    page.resume();
    await api.answer(RUN, refused(503, "store_unavailable", {}, { "Retry-After": "0" }));
    await api.answer(RUN, refused(429, "rate_limited", {}, { "Retry-After": "0" }));
    await api.answer(RUN, new Response(done()));
    await vi.waitFor(() => expect(page.turns.value).toHaveLength(1));
    expect(new Set((await api.runsWhen(6)).map((each) => each.key)).size).toBe(1);
    expect(sessionStorage.getItem("playground.run")).toBeNull();
  }, 20_000);

  it("is the same run when the same is run again, also after it was left; something else is another one", async () => {
    const page = await load(`/?package=p#token=${token("alice")}`);
    await write(page, "first");
    page.start();
    await api.answer(RUN, new TypeError("connection lost"));
    page.drop();
    page.start();
    await api.answer(RUN, refused(402, "insufficient_credits", { required_credits: 9, available_credits: 1 }));
    await vi.waitFor(() => expect(page.runError.value).not.toBeNull());
    page.retry();
    await api.answer(RUN, new Response(begun() + event("error", { error: "model_failed", message: "…", run_id: "run_1" })));
    await vi.waitFor(() => expect(page.runError.value).toMatchObject({ code: "model_failed" }));
    expect(new Set((await api.runsWhen(3)).map((each) => each.key)).size).toBe(1);

    page.retry(); // its outcome was said: a new attempt
    await api.answer(RUN, refused(503, "store_unavailable"));
    await vi.waitFor(() => expect(page.live.value).toBeNull());
    page.change({ input: "another" });
    page.start();
    expect(new Set((await api.runsWhen(5)).map((each) => each.key)).size).toBe(3);
  });

  it("that was refused without having begun is asked for with the same key", async () => {
    const page = await load(`/?package=p#token=${token("alice")}`);
    await write(page, "first");
    page.start();
    page.start(); // a second press
    await api.answer(RUN, refused(503, "store_unavailable"));
    await vi.waitFor(() => expect(page.runError.value).not.toBeNull());
    page.retry();
    const [first, second] = await api.runsWhen(2);
    expect(first?.key).toBe(second?.key);
  });

  it("of a page that was left before it had an answer is asked for again until there is one", async () => {
    let page = await load(`/?package=p#token=${token("alice")}`);
    await write(page, "first");
    page.start();
    await api.runsWhen(1);
    page = await load("/?package=p");
    await page.showPackage("p");
    page.resume();
    await api.answer(RUN, refused(503, "store_unavailable", {}, { "Retry-After": "0" }));
    expect([page.live.value?.state, page.runError.value]).toEqual(["broken", null]);
    await api.answer(RUN, new Response(done()));
    await vi.waitFor(() => expect(page.turns.value).toHaveLength(1));
    expect(new Set((await api.runsWhen(3)).map((each) => each.key)).size).toBe(1);

    await write(page, "first"); // the same once more, in a new conversation
    page.start();
    expect((await api.runsWhen(4)).at(-1)?.key).not.toBe(api.runs()[0]?.key);
  });

  it("whose conversation was deleted since can be run anew", async () => {
    const page = await load(`/?package=p#token=${token("alice")}`);
    await write(page, "first");
    page.start();
    await api.answer(RUN, new TypeError("connection lost"));
    await api.answer(RUN, refused(404, "session_not_found"));
    await vi.waitFor(() => expect(page.runError.value).not.toBeNull());
    page.retry();
    const keys = (await api.runsWhen(3)).map((each) => each.key);
    expect([keys[0] === keys[1], keys[1] === keys[2]]).toEqual([true, false]);
  });

  it("of somebody else is neither shown nor asked for", async () => {
    const kept = { key: "k", runId: "run_9", owner: "alice", body: { input: "secret", model: "sonnet", package_id: "p" } };
    sessionStorage.setItem("playground.run", JSON.stringify(kept));
    const page = await load(`/?package=p#token=${token("bob")}`);
    page.resume();
    expect(page.live.value).toBeNull();
    expect(sessionStorage.getItem("playground.run")).toBeNull();
  });
});

describe("what somebody has typed", () => {
  it("stays with its package, and the text is carried over", async () => {
    const page = await load(`/?package=p#token=${token("alice")}`);
    await write(page, "my text");
    page.changeSetup({ version: "1.0.0" });
    await page.showPackage("q");
    expect(page.request.value).toEqual({ input: "my text", model: "sonnet", package_id: "q" });
    await page.showPackage("@a/p");
    expect(page.request.value).toEqual({ input: "my text", model: "sonnet", package_id: "p", package_version: "1.0.0", variables: { language: "Python" } });
    const again = await load("/?package=p");
    await again.showPackage("p");
    expect(again.setup.value).toEqual({ variables: { language: "Python" }, version: "1.0.0", withoutPrompt: false });
  });

  it("is there again when its run has failed elsewhere", async () => {
    const page = await load(`/?package=p#token=${token("alice")}`);
    await write(page, "my text");
    page.start();
    const failed = event("error", { error: "model_failed", message: "…", run_id: "run_1" });
    let send: ReadableStreamDefaultController<Uint8Array> | null = null;
    const stream = new ReadableStream<Uint8Array>({ start: (controller) => void (send = controller) });
    await api.answer(RUN, new Response(stream));
    const say = (text: string) => send?.enqueue(new TextEncoder().encode(text));
    say(begun());
    await vi.waitFor(() => expect(page.draft.value.input).toBe(""));
    await page.showPackage("q");
    say(failed);
    await vi.waitFor(() => expect(page.endedElsewhere.value).not.toBeNull());
    expect(page.runError.value).toBeNull();
    await page.showPackage("p");
    expect(page.draft.value.input).toBe("my text");
    expect(page.runError.value).toMatchObject({ code: "model_failed" });
    expect(page.endedElsewhere.value).toBeNull();
  });

  it("is there again, too, when the page was loaded again before anybody saw that the run had failed", async () => {
    const page = await load(`/?package=p#token=${token("alice")}`);
    await write(page, "my text");
    page.start();
    await page.showPackage("q");
    await api.answer(RUN, new Response(begun() + event("error", { error: "model_failed", message: "…", run_id: "run_1" })));
    await vi.waitFor(() => expect(page.endedElsewhere.value).not.toBeNull());
    const elsewhere = await load("/conversations");
    expect(elsewhere.endedElsewhere.value).toMatchObject({ to: "/?package=p", error: { code: "model_failed" } });
    const next = await load("/?package=p");
    await next.showPackage("p");
    expect(next.draft.value.input).toBe("my text");
    expect(next.runError.value).toMatchObject({ code: "model_failed", runId: "run_1" });
    expect((await load("/?package=p")).endedElsewhere.value).toBeNull();
  });

  it("is shown again by a page that is loaded again, when another one is in the field", async () => {
    const page = await load(`/?package=p#token=${token("alice")}`);
    await write(page, "one");
    page.start();
    page.change({ input: "two" });
    await api.answer(RUN, new Response(begun() + event("error", { error: "model_failed", message: "…", run_id: "run_1" })));
    await vi.waitFor(() => expect(page.runError.value).not.toBeNull());
    const again = await load("/?package=p");
    await again.showPackage("p");
    expect([again.failedRun.value?.input, again.draft.value.input]).toEqual(["one", "two"]);
    expect(again.runError.value).toMatchObject({ code: "model_failed" });
  });

  it("while another run was failing is not run in its place", async () => {
    const page = await load(`/?package=p#token=${token("alice")}`);
    await write(page, "one");
    page.start();
    page.change({ input: "two" });
    await api.answer(RUN, new Response(begun() + event("error", { error: "model_failed", message: "…", run_id: "run_1" })));
    await vi.waitFor(() => expect(page.runError.value).not.toBeNull());
    page.retry();
    expect((await api.runsWhen(2)).map((each) => each.body?.["input"])).toEqual(["one", "one"]);
    expect(page.draft.value.input).toBe("two");
  });

  it("has a model of its own for a conversation, and the one that was chosen for what is new", async () => {
    api.always["GET /playground/sessions/ses_1"] = () => json({ ...sessionOf("ses_1", "p"), model: "opus" });
    const page = await load(`/?package=p#token=${token("alice")}`);
    await page.showPackage("p");
    await page.showSession("ses_1");
    expect(page.model.value?.name).toBe("opus");
    await page.showPackage("p");
    expect(page.model.value?.name).toBe("sonnet");
    await page.showSession("ses_1");
    page.chooseModel("sonnet");
    expect(page.model.value?.name).toBe("sonnet");
    await page.showPackage("p");
    page.chooseModel("opus");
    await page.showSession("ses_1");
    expect(page.model.value?.name).toBe("sonnet");
  });

  it("of an earlier version of the page can be read", async () => {
    const { readDraft } = await import("./draft");
    expect(readDraft({ input: "x", maxTokens: 512, temperature: null })).toMatchObject({ input: "x", maxTokens: "512", temperature: "", setups: {} });
    expect(readDraft(undefined)).toMatchObject({ input: "", maxTokens: "" });
  });
});

describe("what is out of bounds", () => {
  it("is said before it is run, and is not sent", async () => {
    const page = await load(`/?package=p#token=${token("alice")}`);
    await write(page, "🙂".repeat(10_000));
    expect(page.excess.value).toBeNull();
    page.change({ input: "🙂".repeat(10_001) });
    expect(page.excess.value).toBe("Shorten your text by 1 character to run it.");
    page.change({ input: "x" });
    for (const bad of ["0", "8193", "1.5", "many", "-1"]) {
      page.change({ maxTokens: bad });
      expect([bad, page.excess.value, page.request.value]).toEqual([bad, "The maximum of tokens is a whole number from 1 to 8,192 here.", null]);
    }
    page.change({ maxTokens: "8192", temperature: "1.1" });
    expect([page.excess.value, page.request.value]).toEqual(["The temperature is a number from 0 to 1.", null]);
    page.change({ temperature: "0" });
    expect([page.excess.value, page.request.value]).toEqual([null, expect.objectContaining({ max_tokens: 8192, temperature: 0 })]);
    page.changeSetup({ variables: { language: "x".repeat(10_001) } });
    expect(page.excess.value).toContain("Shorten the variables");
  });
});

describe("an answer that is read out", () => {
  it("is read out once, also by a page that was loaded again", async () => {
    vi.resetModules();
    const said: string[] = [];
    const announcer = await import("../../components/announcer");
    const { effect } = await import("@preact/signals");
    const stop = effect(() => void (announcer.said.value && said.push(announcer.said.value.trim())));
    const { readOut } = await import("./readOut");
    vi.useFakeTimers();
    const hear = (...what: Parameters<typeof readOut>) => (vi.advanceTimersByTime(2_000), readOut(...what));
    hear("k", "One.\n\nTw");
    hear("k", "One.\n\nTwo.\n\nThr");
    vi.resetModules();
    hear("k", "One.");
    hear("k", "One.\n\nTwo.\n\nThr");
    hear("k", "One.\n\nTwo.\n\nThree.", true);
    expect(said).toEqual(["One.", "Two.", "Three."]);
    hear("k2", "Other.\n\n");
    expect(said.at(-1)).toBe("Other.");
    stop();
    vi.useRealTimers();
  });
});
