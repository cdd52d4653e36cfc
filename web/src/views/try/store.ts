/**
 * What is being tried: the package, what is written, the conversation and the run that is being made. It outlives the view,
 * so a run goes on while another view is open; the run outlives the page, too, in the tab's storage, as the draft does.
 */
import { batch, computed, effect, signal } from "@preact/signals";
import { announce } from "../../components/announcer";
import { api, ApiError, errorOf, type Schemas } from "../../api/client";
import { apiSource, follow, saysOutcome, type RunBody } from "../../api/stream";
import { filledIn } from "../../lib/variables";
import { Attempts } from "../../session/attempts";
import { balance, refreshBalance } from "../../session/balance";
import { readTab, writeTab } from "../../session/tab";
import { account, isSignedIn } from "../../session/token";
import { getSession, turnsOf, type Session, type Turn } from "../../lib/conversation";
import { characters, count, credits } from "../../lib/format";
import { mostTokens as mostOf, promptInfo, promptProblem } from "../../lib/prompts";
import { links, navigate, route } from "../../router";
import { loadMarkdown } from "../../components/Markdown";
import { change, changeSetupOf, draft, numberIn, setupOf, type Setup } from "./draft";
import { readOut } from "./readOut";

export const MAX_INPUT_CHARACTERS = 10_000;
const MAX_VARIABLES_CHARACTERS = 10_000; // of all values together

export type Package = Schemas["PackageDetails"];
export type Model = Schemas["ModelAnswer"];
export type { Session };
export { change, draft };

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

export const packageId = signal<string | null>(null);
export const details = signal<Package | null>(null);
/** A prompt of one's own is tried in place of a package. */
export const isOwn = signal(false);
export const session = signal<Session | null>(null);
export const turns = signal<readonly Turn[]>([]);
export const live = signal<LiveRun | null>(null);
/** The conversation that is to be shown and has not been read yet. */
export const loadingSession = signal<string | null>(null);
/** Why the package or the conversation could not be loaded. */
export const loadError = signal<unknown>(null);
/** Why the last run was refused or failed, and what it was. */
export const runError = signal<unknown>(null);
export const failedRun = signal<RunBody | null>(null);
export const models = signal<readonly Model[]>([]);

/** What was chosen and filled in for the package that is shown. */
export const setup = computed<Setup>(() => setupOf(details.value?.id ?? null));

export function changeSetup(part: Partial<Setup>): void {
  const shown = details.peek();
  if (shown !== null) changeSetupOf(shown.id, part);
}

export function chooseModel(name: string): void {
  const current = session.peek();
  change(current === null ? { model: name } : { sessionModel: { sessionId: current.session_id, model: name } });
}

export const sessionId = computed(() => session.value?.session_id ?? null);

export const model = computed<Model | null>(() => {
  const offered = models.value.filter((each) => !each.retired);
  const { model: chosen, sessionModel } = draft.value;
  const current = session.value;
  const here = sessionModel?.sessionId === current?.session_id ? sessionModel?.model : null;
  const wanted = current === null ? chosen : (here ?? current.model);
  return offered.find((each) => each.name === wanted) ?? offered.find((each) => each.default) ?? offered[0] ?? null;
});

/** The variables can be given when a conversation begins, and by the first run in a copy of a shared one. */
export const takesVariables = computed(() => {
  const current = session.value;
  return current === null || (current.forked && current.variables === null && current.credits_spent === 0);
});

export const missingVariables = computed<readonly string[]>(() => {
  if (!takesVariables.value) return [];
  const given = setup.value.variables;
  return (details.value?.variables ?? []).filter((each) => each.default === null && filledIn(given, each.name) === "").map((each) => each.name);
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

export const maxTokens = computed(() => numberIn(draft.value.maxTokens, 1, mostTokens.value, true));
export const temperature = computed(() => (model.value?.takes_temperature ? numberIn(draft.value.temperature, 0, 1, false) : null));

/** What prevents a run of what is written, because it is out of bounds; null: nothing does. */
export const excess = computed<string | null>(() => {
  const over = inputLength.value - MAX_INPUT_CHARACTERS;
  if (over > 0) return `Shorten your text by ${count(over)} ${over === 1 ? "character" : "characters"} to run it.`;
  if (takesVariables.value) {
    const all = Object.values(givenVariables.value).reduce((sum, each) => sum + characters(each), 0);
    if (all > MAX_VARIABLES_CHARACTERS) {
      return `Shorten the variables: together they may have ${count(MAX_VARIABLES_CHARACTERS)} characters, and have ${count(all)}.`;
    }
  }
  if (model.value === null) return null;
  if (maxTokens.value === undefined) return `The maximum of tokens is a whole number from 1 to ${count(mostTokens.value)} here.`;
  if (temperature.value === undefined) return "The temperature is a number from 0 to 1.";
  return null;
});

/** The values of the package's own variables that are filled in. */
const givenVariables = computed<Record<string, string>>(() => {
  const names = new Set((details.value?.variables ?? []).map((each) => each.name));
  return Object.fromEntries(Object.entries(setup.value.variables).filter(([name, text]) => names.has(name) && text !== ""));
});

/** The request for the input as it is now; null while nothing is chosen, or something is out of bounds. */
export const request = computed<RunBody | null>(() => {
  const chosen = details.value;
  const current = session.value;
  const packageId = current ? current.package_id : chosen?.id;
  const selected = model.value;
  if ((!packageId && !current && !isOwn.value) || !selected || loadingSession.value !== null) return null;
  if (maxTokens.value === undefined || temperature.value === undefined) return null;
  const now = draft.value;
  const body: RunBody = { input: now.input, model: selected.name as RunBody["model"] & string };
  if (packageId) body.package_id = packageId; // else the conversation has a prompt of its own
  if (current) body.session_id = current.session_id;
  if (takesPrompt.value) body.custom_prompt = now.prompt;
  const version = current?.package_version ?? setup.value.version;
  if (version && packageId) body.package_version = version;
  if (now.effort && selected.efforts.includes(now.effort)) body.effort = now.effort as NonNullable<RunBody["effort"]>;
  if (maxTokens.value !== null) body.max_tokens = maxTokens.value;
  if (temperature.value !== null) body.temperature = temperature.value;
  if (current ? current.use_no_prompt : packageId && setup.value.withoutPrompt) body.use_no_prompt = true;
  if (takesVariables.value && chosen && chosen.variables.length > 0) body.variables = givenVariables.value;
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
    if (!isOwn.peek() || session.peek() !== null) forgetError();
    packageId.value = null;
    details.value = null;
    isOwn.value = true;
    leaveSession();
  });
}

function leaveSession(): void {
  session.value = null;
  loadingSession.value = null;
  loadError.value = null;
  turns.value = [];
}

function forgetError(): void {
  runError.value = null;
  failedRun.value = null;
}

/** Show a package; nothing of an earlier conversation stays. The draft stays. */
export async function showPackage(wanted: string): Promise<void> {
  const number = ++loading;
  batch(() => {
    const isAnother = packageId.peek() !== wanted && !names(details.peek(), wanted);
    if (isAnother || session.peek() !== null) forgetError();
    packageId.value = wanted;
    isOwn.value = false;
    leaveSession();
    if (!names(details.peek(), wanted)) details.value = null;
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

const MAX_READS = 6; // of a conversation that is shown, one after the other, while they fail
const READ_AGAIN_MS = 1_000; // after the first that has failed; then twice as long each

/**
 * Show a conversation, to go on with it. One that is shown already is read again, because another window may have gone on;
 * if that fails it stays as it is, and is read later.
 */
export function showSession(id: string): Promise<void> {
  if (session.peek()?.session_id === id && live.peek() !== null) return Promise.resolve();
  if (beingRead?.id !== id || beingRead.number !== loading) {
    const number = ++loading;
    beingRead = { id, number, done: readUntilRead(id, number) };
  }
  return beingRead.done;
}

let beingRead: { id: string; number: number; done: Promise<void> } | null = null;

async function readUntilRead(id: string, number: number): Promise<void> {
  const isAnother = session.peek()?.session_id !== id;
  batch(() => {
    loadError.value = null;
    if (!isAnother) return;
    // Until it is read nothing is run: neither in the conversation before it, nor as a new one.
    leaveSession();
    forgetError();
    loadingSession.value = id;
  });
  for (let failures = 0; number === loading; ) {
    try {
      await readSession(id, number);
      beingRead = null;
      return;
    } catch (error) {
      if (number !== loading) return;
      failures += 1;
      const isGone = error instanceof ApiError && error.status < 500 && error.status !== 429;
      if (isAnother || isGone || failures >= MAX_READS) {
        if (isAnother || (isGone && isSignedIn.peek())) loadError.value = error;
        beingRead = null;
        return;
      }
      await new Promise((resolve) => setTimeout(resolve, READ_AGAIN_MS * 2 ** (failures - 1)));
    }
  }
}

async function readSession(id: string, number: number): Promise<void> {
  const found = await getSession(id);
  if (number !== loading) return;
  batch(() => {
    session.value = found;
    loadingSession.value = null;
    isOwn.value = false;
    packageId.value = found.package;
    turns.value = merged(turnsOf(found.conversation), turns.peek());
    if (found.package_id === null || !names(details.peek(), found.package_id)) details.value = null;
  });
  if (details.peek() === null && found.package_id !== null) {
    // A package that was withdrawn cannot be shown; the conversation can be read all the same.
    const about = await getPackage(found.package_id).catch(() => null);
    if (number === loading) details.value = about;
  }
}

/** What this page knows of its own runs stays with their turns. */
export function merged(read: readonly Turn[], shown: readonly Turn[]): Turn[] {
  const own = new Map(shown.flatMap((each) => (each.run === null ? [] : [[each.run.id, each.run]])));
  return read.map((turn) => {
    const run = turn.earlier ? own.get(turn.earlier.run_id) : undefined;
    return run === undefined ? turn : { ...turn, run };
  });
}

export function chooseNone(): void {
  loading += 1;
  batch(() => {
    packageId.value = null;
    details.value = null;
    isOwn.value = false;
    leaveSession();
    forgetError();
  });
}

// --- running ---------------------------------------------------------------------------------------------------------

interface KeptRun {
  key: string;
  body: RunBody;
  runId: string | null;
  /** Its request may have arrived: only its key asks for the same run. */
  mayHaveBegun: boolean;
  /** The user id of whoever began it; earlier versions of the page did not keep it. */
  owner?: string | null;
}

const attempts = new Attempts("attempts");
/** A run has begun, and its answer can be read by whoever began it when they are signed in again. */
export const isUnread = signal(!isSignedIn.peek() && readTab<KeptRun>("run") !== null);
let reading: AbortController | null = null;

/** Begin a run of what is written. If the same was sent before and its outcome is not known, it is the same run. */
export function start(): void {
  const body = request.peek();
  if (body !== null) run(body);
}

/** Run again what has failed, with what is chosen now if its text is still in the field. */
export function retry(): void {
  const failed = failedRun.peek();
  if (failed === null || failed.input === draft.peek().input) start();
  else run(failed);
}

function run(body: RunBody): void {
  if (live.peek() !== null) return;
  void loadMarkdown().catch(() => undefined);
  begin({ ...attempts.at(body), body, runId: null, owner: account.peek() });
}

/** Go on with a run that a page before this one began. */
export function resume(): void {
  const kept = readTab<KeptRun>("run");
  if (!kept?.key || !kept.body || live.peek() !== null || !isSignedIn.peek()) return;
  if (kept.owner !== undefined && kept.owner !== account.peek()) writeTab("run", null);
  else begin({ ...kept, mayHaveBegun: true });
}

/** Read on after the connection was lost. */
export function readOn(): void {
  const run = live.peek();
  if (run !== null) begin({ key: run.key, body: run.body, runId: run.runId, mayHaveBegun: true, owner: readTab<KeptRun>("run")?.owner ?? account.peek() });
}

/**
 * Follow a run no longer whose connection is lost. If it has begun it goes on, and its answer is kept and paid for; the same
 * request would be the same run.
 */
export function drop(): void {
  reading?.abort();
  writeTab("run", null);
  live.value = null;
}

function begin(kept: KeptRun): void {
  reading?.abort();
  reading = new AbortController();
  writeTab("run", kept);
  isUnread.value = false;
  if (kept.mayHaveBegun) attempts.noteBegun(kept.key);
  const { key, body, runId } = kept;
  batch(() => {
    forgetError();
    live.value = { key, body, runId, sessionId: body.session_id ?? null, ceiling: null, text: "", state: "starting", error: null };
  });
  void read(kept, reading.signal);
}

/** Whether a run is of what is shown: the same conversation, or a new one with the same package. */
export function isShown(body: RunBody): boolean {
  const current = session.value;
  if (body.session_id) return current?.session_id === body.session_id;
  if (current !== null) return false;
  return body.custom_prompt ? isOwn.value : details.value?.id === body.package_id;
}

export const shownRun = computed(() => (live.value !== null && isShown(live.value.body) ? live.value : null));
const ENDED = "ended";
const LEAVING_MS = 10_000; // from a reload that is asked for to the next page

interface Ended {
  to: string;
  body: RunBody;
  error: unknown;
}

function restoredEnd(): Ended | null {
  const kept = readTab<Ended & { error: Pick<ApiError, "status" | "code" | "message" | "facts"> | null }>(ENDED);
  if (!kept?.body) return null;
  const { to, body, error } = kept;
  if (error !== null) return { to, body, error: errorOf(error.status, { ...error.facts, error: error.code, message: error.message }) };
  return to === location.pathname + location.search ? null : { to, body, error };
}

/** How a run has ended while something else was shown. */
export const endedElsewhere = signal<Ended | null>(restoredEnd());

/** How a run has ended, until it is seen: a page that is loaded again says it, and has the text of one that failed. */
function keepEnd(ended: Ended | null): void {
  if (ended === null || !(ended.error instanceof ApiError)) return writeTab(ENDED, ended && { ...ended, error: null });
  const { status, code, message, facts } = ended.error;
  writeTab(ENDED, { ...ended, error: { status, code, message, facts } });
}

effect(() => {
  const body = failedRun.value;
  const isKept = body === null || runError.value === null || body.input === draft.value.input;
  keepEnd(endedElsewhere.value ?? (isKept ? null : { to: placeOf(body), body, error: runError.value }));
});

// Whoever comes to where it ended sees it there, and has the text of a run that failed.
effect(() => {
  const ended = endedElsewhere.value;
  if (ended === null || route.value.view !== "try") return;
  if (ended.error === null ? ended.to === links.try({ sessionId: sessionId.value }) : isShown(ended.body)) {
    batch(() => {
      endedElsewhere.value = null;
      if (ended.error !== null) showFailure(ended.body, ended.error);
    });
  }
});

/** Say no more about it. The text of a run that failed goes back to the field, if that is free. */
export function dismissEnded(): void {
  const ended = endedElsewhere.peek();
  endedElsewhere.value = null;
  if (ended?.error != null && draft.peek().input === "") change({ input: ended.body.input });
}

function showFailure(body: RunBody, error: unknown): void {
  runError.value = error;
  failedRun.value = body;
  if (draft.peek().input === "") change({ input: body.input });
}

/** Where a run is shown. */
export function placeOf(body: RunBody): string {
  if (body.session_id) return links.try({ sessionId: body.session_id });
  return links.try(body.custom_prompt ? { isOwn: true } : { packageId: body.package_id });
}

function update(part: Partial<LiveRun>): void {
  const run = live.peek();
  if (run !== null) live.value = { ...run, ...part };
}

async function read(kept: KeptRun, signal: AbortSignal): Promise<void> {
  let { mayHaveBegun } = kept;
  const hasBegun = () => {
    if (!mayHaveBegun) attempts.noteBegun(kept.key);
    mayHaveBegun = true;
  };
  const save = () => writeTab("run", { ...kept, runId: live.peek()?.runId ?? kept.runId, mayHaveBegun });
  let answer: Schemas["RunAnswer"] | null = null;
  try {
    const options = { runId: kept.runId, isRepeat: mayHaveBegun, signal };
    for await (const event of follow(apiSource(kept.body, kept.key, signal), options)) {
      if (signal.aborted) return;
      const state = live.peek()?.state;
      switch (event.type) {
        case "run":
          hasBegun();
          // Held now: what was written is on its way, so the field is free for what comes next.
          if (draft.peek().input === kept.body.input) change({ input: "" });
          update({ runId: event.runId, sessionId: event.sessionId, ceiling: event.ceiling });
          save();
          announce(`The answer is being written. It costs at most ${credits(event.ceiling)}.`);
          void refreshBalance();
          break;
        case "text":
          update({ text: (live.peek()?.text ?? "") + event.text, state: state === "stopping" ? state : "writing" });
          break;
        case "broken":
          hasBegun();
          update({ state: state === "stopping" ? state : "broken" });
          break;
        case "done":
          answer = event.answer;
          break;
      }
    }
  } catch (error) {
    if (signal.aborted) return;
    const isSignedOut = error instanceof ApiError && error.status === 401;
    if (isSignedOut && mayHaveBegun) {
      // It goes on, and is read on by the same person signed in again.
      save();
      live.value = null;
      isUnread.value = true;
      return;
    }
    if (!saysOutcome(error, mayHaveBegun)) {
      // Whether it has begun is not known: only the same key asks for the same run.
      hasBegun();
      update({ state: "lost", error });
      save();
      return;
    }
    fail(kept, error);
  }
  if (answer !== null) finish(kept, answer);
}

/** Its key is of a run whose conversation has been deleted since, or of another request. */
const SPENT: readonly string[] = ["session_not_found", "idempotency_conflict"];

/** What was refused at once, or has failed. A refusal is no outcome of its key: the same request may go on with it. */
function fail(kept: KeptRun, error: ApiError): void {
  writeTab("run", null);
  if (error.runId !== null || SPENT.includes(error.code)) attempts.noteOutcome(kept.key);
  const { body } = kept;
  const isRead = isShown(body) && route.peek().view === "try";
  batch(() => {
    live.value = null;
    // Where the text is written it says that one is signed out.
    if (error.status === 401) return;
    if (isRead) showFailure(body, error);
    else endedElsewhere.value = { to: placeOf(body), body, error };
  });
  void refreshBalance();
}

function finish(kept: KeptRun, answer: Schemas["RunAnswer"]): void {
  const { body, key } = kept;
  writeTab("run", null);
  attempts.noteOutcome(key);
  const known = balance.peek();
  const wasShown = isShown(body);
  const isRead = wasShown && route.peek().view === "try";
  const to = links.try({ sessionId: answer.session_id });
  loading += 1; // what is being read of the conversation does not have this turn
  if (isRead) readOut(key, answer.response, true);
  batch(() => {
    live.value = null;
    if (known) balance.value = { ...known, available: answer.credits_remaining };
    if (!isRead) endedElsewhere.value = { to, body, error: null };
    if (!wasShown) return;
    turns.value = [...turns.peek(), turnOf(body, answer)];
    // The next text goes on with it, before more is known about it.
    session.value ??= begunSession(body, answer);
    place.value = { packageId: null, sessionId: answer.session_id, isOwn: false };
    if (isRead) navigate(to, { replace: true });
  });
  if (isRead) {
    // A page that is being loaded again this moment comes with the address that this one had before.
    keepEnd({ to, body, error: null });
    setTimeout(() => keepEnd(endedElsewhere.peek()), LEAVING_MS);
  }
  announce(`The answer is complete. It cost ${credits(answer.credits_spent)}.`);
  void refreshBalance();
  // What the API says about the conversation now: its title, its link, and turns of another window.
  if (wasShown) void showSession(answer.session_id);
}

function turnOf(body: RunBody, answer: Schemas["RunAnswer"]): Turn {
  const { run_id: id, response } = answer;
  return { id, question: body.input, answer: response, unreadable: false, run: { id, body, answer } };
}

/** A conversation as its first answer makes it known. */
function begunSession(body: RunBody, answer: Schemas["RunAnswer"]): Session {
  const about = details.peek();
  const now = answer.conversation.at(-1)?.timestamp ?? new Date().toISOString();
  const { session_id: id, credits_spent, tokens_used, duration_ms } = answer;
  return {
    session_id: id,
    title: body.input,
    package: about?.name ?? null,
    package_id: body.package_id ?? null,
    package_version: body.package_version ?? about?.latest_version ?? null,
    model: body.model ?? answer.model,
    use_no_prompt: body.use_no_prompt ?? false,
    custom_prompt: body.custom_prompt ?? null,
    variables: body.variables ?? null,
    comparison: null,
    forked: false,
    shared: false,
    share: null,
    turns: 1,
    credits_spent,
    tokens_used,
    duration_ms,
    created_at: now,
    updated_at: now,
    conversation: [],
    next_cursor: null,
    // Earlier names of the same:
    id,
    is_public: false,
    last_run_at: now,
    package_name: about?.name ?? "",
    run_count: 1,
    total_tokens: tokens_used,
    total_duration_ms: duration_ms,
  };
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
