/**
 * What is being tried: the package, what is written, the conversation and the run that is being made. It outlives the view,
 * so a run goes on while another view is open; the draft and the run outlive the page, in the tab's storage.
 */
import { batch, computed, effect, signal } from "@preact/signals";
import { announce } from "../../components/announcer";
import { api, ApiError, newKey, type Schemas } from "../../api/client";
import { apiSource, follow, type RunBody } from "../../api/stream";
import { balance, refreshBalance } from "../../session/balance";
import { readTab, writeTab } from "../../session/tab";
import { isSignedIn } from "../../session/token";
import { getSession, turnsOf, type Session, type Turn } from "../../lib/conversation";
import { characters, credits } from "../../lib/format";
import { mostTokens as mostOf, promptInfo, promptProblem } from "../../lib/prompts";
import { links, navigate, route } from "../../router";
import { loadMarkdown } from "../../components/Markdown";

export const MAX_INPUT_CHARACTERS = 10_000;

export type Package = Schemas["PackageDetails"];
export type Model = Schemas["ModelAnswer"];
export type { Session };

export interface LiveRun {
  key: string;
  body: RunBody;
  runId: string | null;
  sessionId: string | null;
  ceiling: number | null;
  text: string;
  state: "starting" | "writing" | "broken" | "lost" | "stopping";
  /** Of a stop that did not reach the API, or of a connection that is lost. */
  error: unknown;
}

export interface Draft {
  input: string;
  /** Of one's own, in place of a package. */
  prompt: string;
  variables: Record<string, string>;
  model: string | null;
  effort: string | null;
  maxTokens: number | null;
  temperature: number | null;
  version: string | null;
  withoutPrompt: boolean;
}

const EMPTY: Draft = {
  input: "",
  prompt: "",
  variables: {},
  model: null,
  effort: null,
  maxTokens: null,
  temperature: null,
  version: null,
  withoutPrompt: false,
};

interface Kept {
  packageId: string | null;
  draft: Draft;
}

const kept = readTab<Kept>("draft");

export const packageId = signal<string | null>(kept?.packageId ?? null);
export const details = signal<Package | null>(null);
/** A prompt of one's own is tried in place of a package. */
export const isOwn = signal(false);
export const session = signal<Session | null>(null);
export const turns = signal<readonly Turn[]>([]);
export const live = signal<LiveRun | null>(null);
export const draft = signal<Draft>({ ...EMPTY, ...kept?.draft });
/** Why the package or the conversation could not be loaded. */
export const loadError = signal<unknown>(null);
/** Why the last run was refused or failed. */
export const runError = signal<unknown>(null);
export const models = signal<readonly Model[]>([]);

effect(() => writeTab("draft", { packageId: packageId.value, draft: draft.value } satisfies Kept));

export function change(part: Partial<Draft>): void {
  draft.value = { ...draft.peek(), ...part };
}

export const sessionId = computed(() => session.value?.session_id ?? null);

export const model = computed<Model | null>(() => {
  const offered = models.value.filter((each) => !each.retired);
  const wanted = draft.value.model ?? session.value?.model ?? null;
  return offered.find((each) => each.name === wanted) ?? offered.find((each) => each.default) ?? offered[0] ?? null;
});

/** The variables can be given when a conversation begins, and by the first run in a copy of a shared one. */
export const takesVariables = computed(() => {
  const current = session.value;
  return current === null || (current.forked && current.variables === null && current.credits_spent === 0);
});

export const missingVariables = computed<readonly string[]>(() => {
  if (!takesVariables.value) return [];
  const given = draft.value.variables;
  return (details.value?.variables ?? []).filter((each) => each.default === null && !given[each.name]).map((each) => each.name);
});

/** What is shown runs a prompt of its own in place of a package. */
export const runsOwnPrompt = computed(() => (session.value === null ? isOwn.value : session.value.package_id === null));

/** A prompt of one's own is given when a conversation begins, and by the first run in a copy of a shared one. */
export const takesPrompt = computed(() => runsOwnPrompt.value && (session.value?.custom_prompt ?? null) === null);

export const promptLack = computed(() => {
  const info = promptInfo.value;
  if (!takesPrompt.value) return null;
  return info === null ? "What prompts may be is still being loaded. Try again in a moment." : promptProblem(draft.value.prompt, info.limits);
});

/** Of an answer by the chosen model. */
export const mostTokens = computed(() => mostOf(model.value?.max_tokens.most ?? 0, runsOwnPrompt.value, promptInfo.value));

/** The request for the input as it is now; null while nothing is chosen. */
export const request = computed<RunBody | null>(() => {
  const chosen = details.value;
  const current = session.value;
  const packageId = current ? current.package_id : chosen?.id;
  const selected = model.value;
  if ((!packageId && !current && !isOwn.value) || !selected) return null;
  const now = draft.value;
  const body: RunBody = { input: now.input, model: selected.name as RunBody["model"] & string };
  if (packageId) body.package_id = packageId; // else the conversation has a prompt of its own
  if (current) body.session_id = current.session_id;
  if (takesPrompt.value) body.custom_prompt = now.prompt;
  const version = current?.package_version ?? now.version;
  if (version && packageId) body.package_version = version;
  if (now.effort && selected.efforts.includes(now.effort)) body.effort = now.effort as NonNullable<RunBody["effort"]>;
  if (now.maxTokens !== null) body.max_tokens = Math.min(now.maxTokens, mostTokens.value);
  if (now.temperature !== null && selected.takes_temperature) body.temperature = now.temperature;
  if (current ? current.use_no_prompt : packageId && now.withoutPrompt) body.use_no_prompt = true;
  if (takesVariables.value && chosen && chosen.variables.length > 0) {
    const names = new Set(chosen.variables.map((each) => each.name));
    body.variables = Object.fromEntries(Object.entries(now.variables).filter(([name, text]) => names.has(name) && text !== ""));
  }
  return body;
});

export const inputLength = computed(() => characters(draft.value.input));

// --- loading ---------------------------------------------------------------------------------------------------------

let loading = 0;

export async function loadModels(): Promise<void> {
  if (models.peek().length > 0) return;
  models.value = (await api.get("/playground/models")).models;
}

/** Show the field for a prompt of one's own; nothing of an earlier conversation stays. The draft stays. */
export function showOwn(): void {
  loading += 1;
  batch(() => {
    if (!isOwn.peek() || session.peek() !== null) runError.value = null;
    packageId.value = null;
    details.value = null;
    isOwn.value = true;
    session.value = null;
    loadError.value = null;
    turns.value = [];
  });
}

/** Show a package; nothing of an earlier conversation stays. The draft's input stays. */
export async function showPackage(wanted: string): Promise<void> {
  const number = ++loading;
  const isAnother = packageId.peek() !== wanted;
  batch(() => {
    packageId.value = wanted;
    isOwn.value = false;
    if (session.peek() !== null) runError.value = null;
    session.value = null;
    loadError.value = null;
    if (details.peek() !== null && !names(details.peek(), wanted)) details.value = null;
    if (isAnother) {
      runError.value = null;
      change({ variables: {}, version: null, withoutPrompt: false });
    }
    turns.value = [];
  });
  if (details.peek() !== null) return;
  try {
    const found = await getPackage(wanted);
    if (number === loading) details.value = found;
  } catch (error) {
    if (number === loading) loadError.value = error;
  }
}

function names(found: Package | null, wanted: string): boolean {
  return found !== null && (found.id === wanted || found.name === wanted);
}

function getPackage(wanted: string): Promise<Package> {
  const [scope, name, ...more] = wanted.split("/");
  return scope && name && more.length === 0
    ? api.get("/packages/{scope}/{name}", { path: { scope, name } })
    : api.get("/packages/{package_id}", { path: { package_id: wanted } });
}

/** Show a conversation, to go on with it. One that is shown already is read again: another window may have gone on. */
export async function showSession(id: string): Promise<void> {
  if (session.peek()?.session_id === id && live.peek() !== null) return;
  const number = ++loading;
  const isAnother = session.peek()?.session_id !== id;
  loadError.value = null;
  try {
    const found = await getSession(id);
    if (number !== loading) return;
    batch(() => {
      session.value = found;
      isOwn.value = false;
      packageId.value = found.package;
      turns.value = merged(turnsOf(found.conversation), turns.peek());
      if (isAnother) {
        runError.value = null;
        change({ model: found.model });
      }
      if (found.package_id === null || !names(details.peek(), found.package_id)) details.value = null;
    });
    if (details.peek() === null && found.package_id !== null) {
      // A package that was withdrawn cannot be shown; the conversation can be read all the same.
      const about = await getPackage(found.package_id).catch(() => null);
      if (number === loading) details.value = about;
    }
  } catch (error) {
    if (number === loading) loadError.value = error;
  }
}

/** What this page knows of its own runs stays with turns that are the same. */
export function merged(read: readonly Turn[], shown: readonly Turn[]): Turn[] {
  const own = shown.filter((each) => each.run !== null);
  return read.map((turn) => {
    const same = own.find((each) => each.question === turn.question && each.answer === turn.answer);
    return same ? { ...turn, id: same.id, run: same.run } : turn;
  });
}

export function chooseNone(): void {
  loading += 1;
  batch(() => {
    packageId.value = null;
    details.value = null;
    isOwn.value = false;
    session.value = null;
    loadError.value = null;
    runError.value = null;
    turns.value = [];
  });
}

// --- running ---------------------------------------------------------------------------------------------------------

interface KeptRun {
  key: string;
  body: RunBody;
  runId: string | null;
}

let reading: AbortController | null = null;

/** Begin a run of what is written. */
export function start(): void {
  const body = request.peek();
  if (body === null || live.peek() !== null) return;
  void loadMarkdown().catch(() => undefined);
  begin({ key: newKey(), body, runId: null });
}

/** Go on with a run that a page before this one began. */
export function resume(): void {
  const run = readTab<KeptRun>("run");
  if (run !== null && live.peek() === null && isSignedIn.peek()) begin(run);
}

/** Read on after the connection was lost. */
export function readOn(): void {
  const run = live.peek();
  if (run !== null) begin({ key: run.key, body: run.body, runId: run.runId });
}

/** Follow a run no longer whose connection is lost. If it has begun it goes on, and its answer is kept and paid for. */
export function drop(): void {
  reading?.abort();
  writeTab("run", null);
  live.value = null;
}

function begin(run: KeptRun): void {
  reading?.abort();
  reading = new AbortController();
  writeTab("run", run);
  batch(() => {
    runError.value = null;
    live.value = { ...run, sessionId: run.body.session_id ?? null, ceiling: null, text: "", state: "starting", error: null };
  });
  void read(run, reading.signal);
}

/** Whether a run is of what is shown: the same conversation, or a new one with the same package. */
export function isShown(body: RunBody): boolean {
  const current = session.value;
  if (body.session_id) return current?.session_id === body.session_id;
  if (current !== null) return false;
  return body.custom_prompt ? isOwn.value : details.value?.id === body.package_id;
}

export const shownRun = computed(() => (live.value !== null && isShown(live.value.body) ? live.value : null));
/** How a run has ended while something else was shown. */
export const endedElsewhere = signal<{ to: string; error: unknown } | null>(null);

/** Where a run is shown. */
export function placeOf(body: RunBody): string {
  if (body.session_id) return links.try({ sessionId: body.session_id });
  return links.try(body.custom_prompt ? { isOwn: true } : { packageId: body.package_id });
}

function update(part: Partial<LiveRun>): void {
  const run = live.peek();
  if (run !== null) live.value = { ...run, ...part };
}

async function read(run: KeptRun, signal: AbortSignal): Promise<void> {
  try {
    for await (const event of follow(apiSource(run.body, run.key, signal), { runId: run.runId, signal })) {
      if (signal.aborted) return;
      const state = live.peek()?.state;
      switch (event.type) {
        case "run":
          writeTab("run", { ...run, runId: event.runId });
          // Held now: what was written is on its way, so the field is free for what comes next.
          if (draft.peek().input === run.body.input) change({ input: "" });
          update({ runId: event.runId, sessionId: event.sessionId, ceiling: event.ceiling });
          announce(`The answer is being written. It costs at most ${credits(event.ceiling)}.`);
          void refreshBalance();
          break;
        case "text":
          update({ text: (live.peek()?.text ?? "") + event.text, state: state === "stopping" ? state : "writing" });
          break;
        case "broken":
          update({ state: state === "stopping" ? state : "broken" });
          break;
        case "done":
          await finish(run, event.answer);
          return;
      }
    }
  } catch (error) {
    if (signal.aborted) return;
    if (!isFinal(error)) {
      // Whether it has begun is not known: only the same key asks for the same run.
      update({ state: "lost", error });
      return;
    }
    // Signed out meanwhile: the run goes on, and is read on by the same person signed in again.
    const isLater = live.peek()?.runId != null && error instanceof ApiError && error.status === 401;
    if (!isLater) writeTab("run", null);
    const wasShown = isShown(run.body);
    batch(() => {
      live.value = null;
      if (wasShown) {
        // Where the text is written it says that one is signed out.
        runError.value = error instanceof ApiError && error.status === 401 ? null : error;
        if (draft.peek().input === "" && !isLater) change({ input: run.body.input });
      } else endedElsewhere.value = { to: placeOf(run.body), error };
    });
    void refreshBalance();
  }
}

/** The API has said how the run ended, as opposed to: it could not be asked. */
function isFinal(error: unknown): boolean {
  return error instanceof ApiError;
}

async function finish(run: KeptRun, answer: Schemas["RunAnswer"]): Promise<void> {
  writeTab("run", null);
  const known = balance.peek();
  const wasShown = isShown(run.body);
  const isRead = wasShown && route.peek().view === "try";
  batch(() => {
    live.value = null;
    if (known) balance.value = { ...known, available: answer.credits_remaining };
    if (!isRead) endedElsewhere.value = { to: links.try({ sessionId: answer.session_id }), error: null };
    if (wasShown) {
      turns.value = [
        ...turns.peek(),
        {
          id: answer.run_id,
          question: run.body.input,
          answer: answer.response,
          unreadable: false,
          run: { id: answer.run_id, body: run.body, answer },
        },
      ];
    }
  });
  announce(`The answer is complete. It cost ${credits(answer.credits_spent)}.`);
  void refreshBalance();
  if (!wasShown) return;
  try {
    // What the API says about the conversation now: its title, its link, and turns of another window.
    const found = await getSession(answer.session_id);
    if (!isShown(run.body)) return;
    batch(() => {
      session.value = found;
      turns.value = merged(turnsOf(found.conversation), turns.peek());
    });
    place.value = { packageId: null, sessionId: answer.session_id, isOwn: false };
    if (route.peek().view === "try") navigate(links.try({ sessionId: answer.session_id }), { replace: true });
  } catch {
    /* the answer is shown; the conversation can be opened later */
  }
}

/** Stop the run. What is written by then is kept and paid for; the stream ends with it. */
export async function stop(): Promise<void> {
  const run = live.peek();
  if (run?.runId == null) return;
  update({ state: "stopping", error: null });
  announce("Stopping. What is written by now is kept and paid for.");
  try {
    await api.post("/playground/runs/{run_id}/cancel", { path: { run_id: run.runId } });
  } catch (error) {
    // 409 run_ended: it came to its own end first, and the stream says which.
    if (live.peek()?.runId === run.runId && !(error instanceof ApiError && error.code === "run_ended")) {
      update({ state: "writing", error });
    }
  }
}

// Somebody who could not pay for a run and has bought credits since need not be told any more.
effect(() => {
  const now = balance.value;
  const error = runError.peek();
  if (now === null || !(error instanceof ApiError) || error.code !== "insufficient_credits") return;
  if (now.available >= Number(error.facts["required_credits"])) runError.value = null;
});

// --- where one was ---------------------------------------------------------------------------------------------------

interface Place {
  packageId: string | null;
  sessionId: string | null;
  isOwn: boolean;
}

/** What the view showed last, so that the way back from another view, or another page, leads to it. */
export const place = signal<Place>(readTab<Place>("place") ?? { packageId: null, sessionId: null, isOwn: false });

effect(() => writeTab("place", place.value));

export const tryLink = computed(() => links.try(place.value.sessionId ? { sessionId: place.value.sessionId } : place.value));
