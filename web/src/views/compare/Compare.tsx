import { useComputed, useSignal, type ReadonlySignal } from "@preact/signals";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { api, ApiError, errorOf, newKey, NetworkError, type Schemas } from "../../api/client";
import { apiSource as runSource, follow, type RunBody } from "../../api/stream";
import type { Asked } from "../../lib/asked";
import { problemOf } from "../../lib/errors";
import { characters, count, counted, credits } from "../../lib/format";
import { perFrame } from "../../lib/frames";
import { loadPromptInfo, promptInfo } from "../../lib/prompts";
import { links } from "../../router";
import { CopyAnswer } from "../../components/Copy";
import { ErrorNotice } from "../../components/ErrorNotice";
import { Markdown } from "../../components/Markdown";
import { SignIn } from "../../components/SignIn";
import { StopBar } from "../../components/StopBar";
import { Attempts } from "../../session/attempts";
import { balance, refreshBalance } from "../../session/balance";
import { readTab, writeTab } from "../../session/tab";
import { isSignedIn } from "../../session/token";
import { failureOf, isOver, newColumns, next, outcome, type Column } from "./columns";
import { apiSource, followComparison, isSaid } from "./comparison";
import { ColumnForm } from "./ColumnForm";
import { useQuote, type Quote } from "./quote";
import "./compare.css";
import {
  MAX_INPUT_LENGTH,
  MAX_VARIANTS,
  MIN_VARIANTS,
  another,
  body,
  firstMissing,
  packageOfAny,
  repeated,
  title,
  withAndWithout,
} from "./variants";
import type { Known, Model, ModelDetails, Variant, Variable } from "./variants";

const DEFAULT_MODEL: Model = "sonnet";
/** The comparisons that this tab has begun and has not seen the end of. */
const attempts = new Attempts("comparisons");

/** The comparison that this tab has asked for last, until its end has been seen: kept for the way back, and for a reload. */
const ROUND = "comparison";
const LEAVING_MS = 10_000; // from a reload that is asked for to the next page

/** What is written here, kept for the way back from another view. */
interface Kept {
  variants: Variant[];
  input: string;
}

/** A comparison that was asked for. */
interface Round {
  variants: readonly Variant[];
  request: { input: string; variants: Schemas["Variant"][] };
  key: string;
}

/** One input in two to four columns, which are answered at the same time. */
export function Compare({ packageId }: { packageId: string | null }) {
  const kept = useRef(readTab<Kept>("compare"));
  const [models, setModels] = useState<readonly ModelDetails[]>([]);
  const [variables, setVariables] = useState<Readonly<Record<string, readonly Variable[]>>>({});
  const [anyPackageId, setAnyPackageId] = useState("");
  const [variants, setVariants] = useState<Variant[]>(() => kept.current?.variants ?? withAndWithout("", "", DEFAULT_MODEL));
  const [input, setInput] = useState(kept.current?.input ?? "");
  const [round, setRound] = useState<Round | null>(null);
  // A signal, so that what is written draws the columns and not the form.
  const columns = useSignal<readonly Column[]>([]);
  const [busy, setBusy] = useState(false);
  const [isStopping, setStopping] = useState(false);
  const [refusal, setRefusal] = useState<unknown>(null);
  /** Of models or packages: trying again loads them, and runs nothing. */
  const [loadError, setLoadError] = useState<unknown>(null);
  const [attempt, setAttempt] = useState(0);
  const [said, setSaid] = useState("");
  const go = useRef<HTMLButtonElement>(null);
  const answers = useRef<HTMLDivElement>(null);
  const running = useRef<AbortController | null>(null);
  const stopping = useRef<Set<string> | null>(null); // the runs that were asked to stop, once Stop is pressed
  const ownKeys = useRef(new Map<number, string>()); // of runs in place of columns that had failed, until their end is seen
  const hasColumns = useComputed(() => columns.value.length > 0);
  const canStop = useComputed(() => columns.value.some((column) => column.runId !== null && !isOver(column)));

  useEffect(() => {
    api
      .get("/playground/models")
      .then((found) => setModels(found.models.filter((model) => !model.retired)))
      .catch(setLoadError);
    void loadPromptInfo();
  }, [attempt]);
  useEffect(() => () => running.current?.abort(), []);

  useEffect(() => {
    if (packageId === null) return undefined;
    let isCurrent = true;
    api
      .get("/packages/{package_id}", { path: { package_id: packageId } })
      .then((found) => {
        if (!isCurrent) return;
        setVariables((before) => ({ ...before, [found.id]: found.variables }));
        setVariants((before) => {
          if (before.some((variant) => variant.packageId === found.id)) return before;
          // What was chosen while it was being loaded stays.
          if (packageOfAny(before) === "") return before.map((each) => ({ ...each, packageId: found.id, packageName: found.name }));
          return withAndWithout(found.id, found.name, DEFAULT_MODEL);
        });
      })
      .catch((error: unknown) => isCurrent && setLoadError(error));
    return () => {
      isCurrent = false;
    };
  }, [packageId, attempt]);

  // Who has pressed Compare sees the columns begin, and is left alone from then on.
  useEffect(() => {
    if (busy) answers.current?.scrollIntoView({ block: "nearest" });
  }, [busy]);

  useEffect(() => writeTab("compare", { variants, input } satisfies Kept), [variants, input]);

  // The variables of each package that is chosen, once.
  const unread = variants.find((each) => each.prompt === "package" && each.packageId !== "" && !variables[each.packageId]);
  const unreadId = unread?.packageId ?? null;
  useEffect(() => {
    if (unreadId === null) return;
    api
      .get("/packages/{package_id}", { path: { package_id: unreadId } })
      .then((found) => setVariables((before) => ({ ...before, [unreadId]: found.variables })))
      .catch(setLoadError);
  }, [unreadId, attempt]);

  // A column without a prompt names a package all the same; without one in any column, some package stands in.
  const needsAny = packageOfAny(variants) === "" && variants.some((variant) => variant.prompt === "none");
  useEffect(() => {
    if (!needsAny || anyPackageId !== "") return;
    api
      .get("/packages", { query: { limit: 1 } })
      .then((page) => setAnyPackageId(page.packages[0]?.id ?? ""))
      .catch(setLoadError);
  }, [needsAny, attempt]);

  const known: Known = { variables, models, info: promptInfo.value };
  const same = repeated(variants, known);
  const lacking = firstMissing(variants, known);
  const isComplete = lacking === null && same.length === 0 && input.trim() !== "" && characters(input) <= MAX_INPUT_LENGTH;
  const isReady = isSignedIn.value && models.length > 0 && isComplete && !(needsAny && anyPackageId === "");
  const bodies = isReady ? variants.map((each) => body(each, known, packageOfAny(variants) || anyPackageId)) : [];
  const quote = useQuote(busy ? [] : bodies, input, balance.value?.available);

  function change(place: number, part: Partial<Variant>) {
    setVariants((before) => before.map((variant, index) => (index === place ? { ...variant, ...part } : variant)));
  }

  /** The first choice of a package is that of every column that has none. */
  function choose(place: number, packageId: string, packageName: string) {
    setVariants((before) =>
      before.map((variant, index) =>
        index === place || variant.packageId === "" || variant.prompt === "none"
          ? { ...variant, packageId, packageName, values: variant.packageId === packageId ? variant.values : {} }
          : variant,
      ),
    );
  }

  function remove(place: number) {
    setVariants((before) => before.filter((_, index) => index !== place));
  }

  const frames = useMemo(() => perFrame((now: readonly Column[]) => (columns.value = now)), []);
  useEffect(() => frames.stop, []);

  function show(now: readonly Column[]) {
    frames.show(now);
    if (stopping.current !== null) for (const column of now) stopRun(column);
  }

  // A comparison goes on while another view, or a page that is loaded again, takes the place of this one.
  const signedIn = isSignedIn.value;
  useEffect(() => {
    const begun = readTab<Round>(ROUND);
    if (signedIn && begun !== null) void compare(begun);
  }, [signedIn]);

  /** `from`: columns that were lost, of the same round. */
  async function compare(wanted: Round, from: readonly Column[] | null = null) {
    if (running.current !== null) return;
    const control = new AbortController();
    running.current = control;
    const { signal } = control;
    begin("The answers are being written.");
    setRound(wanted);
    writeTab(ROUND, wanted);
    if (from === null) ownKeys.current.clear();
    frames.show(from ?? newColumns(wanted.variants.length));
    frames.flush();
    try {
      attempts.noteBegun(wanted.key);
      const source = apiSource(wanted.request, wanted.key, signal);
      const found = await followComparison(wanted.variants.length, source, { signal, show, from });
      if (signal.aborted) return;
      // While a column is lost, the key names the comparison that it belongs to.
      if (found.every(isOver)) {
        attempts.noteOutcome(wanted.key);
        setTimeout(() => readTab<Round>(ROUND)?.key === wanted.key && writeTab(ROUND, null), LEAVING_MS);
      }
      frames.show(found);
      setSaid(outcome(found));
    } catch (error) {
      if (signal.aborted) return;
      writeTab(ROUND, null); // it has not begun, as far as is known: it is asked for again when the reader says so
      if (isSaid(error)) attempts.noteOutcome(wanted.key);
      setRefusal(error);
      frames.show([]);
      setSaid("");
    }
    finish();
  }

  /** A run of its own in place of one that has failed, which cost nothing. */
  async function again(place: number) {
    const variant = round?.request.variants[place];
    if (running.current !== null || round === null || variant === undefined) return;
    const key = ownKeys.current.get(place) ?? newKey();
    ownKeys.current.set(place, key);
    const control = new AbortController();
    running.current = control;
    writeTab(ROUND, null); // it does not have this run
    const { signal } = control;
    let current = newColumns(1)[0] as Column;
    const put = (now: Column) => {
      current = now;
      show(columns.peek().map((each, at) => (at === place ? now : each)));
    };
    begin(`Column ${place + 1} is being written.`);
    put(current);
    try {
      const request = { ...variant, input: round.request.input } as RunBody;
      for await (const event of follow(runSource(request, key, signal), { signal })) {
        if (event.type === "run") put({ ...current, runId: event.runId, sessionId: event.sessionId, ceiling: event.ceiling });
        else if (event.type === "text") put(next(current, { event: "delta", data: event }, { text: event.text }));
        else if (event.type === "done") put(next(current, { event: "done", data: event.answer }, event.answer as unknown as Record<string, unknown>));
      }
    } catch (error) {
      if (signal.aborted) return;
      put(isSaid(error) ? { ...current, state: "failed", failure: failureOf(error) } : { ...current, state: "lost" });
    }
    frames.flush();
    if (columns.peek()[place]?.state !== "lost") ownKeys.current.delete(place);
    setSaid(outcome(columns.peek()));
    finish();
  }

  function begin(text: string) {
    stopping.current = null;
    setBusy(true);
    setStopping(false);
    setRefusal(null);
    setSaid(text);
  }

  function finish() {
    frames.flush();
    running.current = null;
    setBusy(false);
    void refreshBalance();
  }

  function stop() {
    stopping.current = new Set();
    setStopping(true);
    setSaid("Stopping. What was written by now is kept and paid for.");
    for (const column of columns.peek()) stopRun(column);
  }

  /** Once for each run; also for those that begin after Stop was pressed. */
  function stopRun({ runId, ...column }: Column) {
    const asked = stopping.current;
    if (asked === null || runId === null || column.state === "done" || column.state === "failed" || asked.has(runId)) return;
    asked.add(runId);
    api.post("/playground/runs/{run_id}/cancel", { path: { run_id: runId } }).catch((error: unknown) => {
      if (error instanceof ApiError && error.code === "run_ended") return; // its own end came first
      if (stopping.current !== asked) return;
      stopping.current = null;
      setStopping(false);
      setSaid("It could not be stopped. Try again.");
    });
  }

  function wanted(): Round {
    const request = { input, variants: bodies as Schemas["Variant"][] };
    return { variants, request, key: attempts.at(request).key };
  }

  /** What has failed is run anew. What is lost is asked for again by the key that it was begun with. */
  function tryAgain(place: number) {
    const isOfRound = columns.peek()[place]?.state === "lost" && !ownKeys.current.has(place);
    if (round !== null) void (isOfRound ? compare(round, columns.peek()) : again(place));
  }

  return (
    <div class="compare">
      <h1>Compare</h1>
      <p class="lead">One input, answered side by side: with and without a package, or by several models.</p>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (isReady && !busy) void compare(wanted());
        }}
      >
        <div class="compare-variants">
          {variants.map((variant, place) => (
            <ColumnForm
              key={place}
              place={place}
              variant={variant}
              known={known}
              isRepeated={same.includes(place)}
              onChange={(part) => change(place, part)}
              onChoose={(id, name) => choose(place, id, name)}
              onRemove={variants.length > MIN_VARIANTS ? () => remove(place) : null}
            />
          ))}
        </div>
        {variants.length < MAX_VARIANTS && (
          <button type="button" class="button button-quiet" onClick={() => setVariants([...variants, another(variants, models)])}>
            Add a column
          </button>
        )}
        <label class="compare-input">
          Your input
          <textarea
            dir="auto"
            rows={5}
            value={input}
            aria-describedby="compare-count"
            onInput={(event) => setInput(event.currentTarget.value)}
            onKeyDown={(event) => {
              if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !event.isComposing) event.currentTarget.form?.requestSubmit();
            }}
          />
        </label>
        <p id="compare-count" class="hint">
          {count(characters(input))} of {count(MAX_INPUT_LENGTH)} characters
        </p>
        <Price quote={quote} lacking={lacking} />
        <p class="compare-actions">
          <button type="submit" class="button button-main" ref={go} disabled={!isReady} aria-disabled={busy}>
            {busy ? "Comparing…" : "Compare"}
          </button>
        </p>
      </form>
      {!isSignedIn.value && (
        <div class="notice">
          <p class="notice-title">Sign in to compare</p>
          <SignIn />
        </div>
      )}
      {loadError !== null && (
        <ErrorNotice
          error={loadError}
          onRetry={() => {
            setLoadError(null);
            setAttempt(attempt + 1);
          }}
        />
      )}
      {refusal !== null && <ErrorNotice ofRun error={refusal} onRetry={isReady ? () => void compare(wanted()) : undefined} />}
      {busy && (
        <StopBar
          isOff={isStopping || !canStop.value}
          onStop={stop}
          note="What is written when you stop is kept and paid for."
          onGone={() => go.current?.focus({ preventScroll: true })}
        />
      )}
      <p role="status" class="compare-status">
        {said}
      </p>
      {hasColumns.value && round !== null && (
        <div class="compare-columns" ref={answers}>
          {round.variants.map((variant, place) => (
            <ColumnView
              key={place}
              place={place}
              columns={columns}
              name={title(variant)}
              onAgain={busy || !isSignedIn.value ? undefined : () => tryAgain(place)}
            />
          ))}
        </div>
      )}
    </div>
  );
}

function Price({ quote, lacking }: { quote: Asked<Quote>; lacking: string | null }) {
  if (lacking !== null) return <p class="compare-quote hint">{lacking}</p>;
  if (quote.state === "asking") return <p class="compare-quote hint">Working out the price…</p>;
  if (quote.state !== "failed") {
    return (
      <p class="compare-quote" aria-live="polite">
        {quote.value?.text}
        {quote.value?.isTooDear && (
          <>
            {" "}
            <a href={links.credits()}>Buy credits</a>
          </>
        )}
      </p>
    );
  }
  const problem = problemOf(quote.error);
  return (
    <p class="compare-quote problem" role="alert">
      {problem.title}. {problem.text} {problem.steps.includes("plan") && <a href={links.subscription()}>See PRPM+</a>}
      {problem.steps.includes("retry") && (
        <button type="button" class="link" onClick={quote.again}>
          Ask for the price again
        </button>
      )}
    </p>
  );
}

interface ColumnProps {
  place: number;
  columns: ReadonlySignal<readonly Column[]>;
  name: string;
  /** undefined: not now. */
  onAgain: (() => void) | undefined;
}

function ColumnView({ place, columns, name, onAgain }: ColumnProps) {
  const own = useComputed(() => columns.value[place] ?? null);
  const column = own.value;
  if (column === null) return null;
  const { answer, failure, state } = column;
  const isWriting = state === "writing" || state === "waiting" || state === "cut";
  return (
    <article aria-label={name} aria-busy={isWriting} class={`compare-column compare-${state}`}>
      <h2>{name}</h2>
      {column.text && <Markdown text={column.text} />}
      {state === "waiting" && <p>Waiting for the first words…</p>}
      {state === "cut" && <p>The connection broke off. Reading on…</p>}
      {state === "lost" && <ErrorNotice ofRun error={LOST} onRetry={onAgain} />}
      {state === "failed" && failure !== null && (
        <ErrorNotice error={errorOf(0, failure, secondsOf(failure))} onRetry={onAgain} />
      )}
      {answer && (
        <p class="facts">
          <span>{credits(answer.credits_spent)}</span>
          <span>{counted(answer.tokens_used, "token")}</span>
          <span>{(answer.duration_ms / 1000).toFixed(1)} s</span>
          {answer.stop_reason === "max_tokens" && <span>cut at its limit</span>}
          {answer.stop_reason === "cancelled" && <span>stopped by you</span>}
        </p>
      )}
      {answer && (
        <div class="actions">
          <a class="button button-quiet" href={links.try({ sessionId: answer.session_id })}>
            Continue this one
          </a>
          <CopyAnswer text={column.text} />
        </div>
      )}
    </article>
  );
}

const LOST = new NetworkError("The connection broke off.");

function secondsOf(failure: Record<string, unknown>): number | null {
  return typeof failure["retry_after"] === "number" ? failure["retry_after"] : null;
}
