import { useEffect, useRef, useState } from "preact/hooks";
import { api, errorOf, open, type Schemas } from "../../api/client";
import { events } from "../../api/sse";
import { problemOf } from "../../lib/errors";
import { characters, count, credits } from "../../lib/format";
import { loadPromptInfo, promptInfo } from "../../lib/prompts";
import { links } from "../../router";
import { ErrorNotice } from "../../components/ErrorNotice";
import { Markdown } from "../../components/Markdown";
import { SignIn } from "../../components/SignIn";
import { StopBar } from "../../components/StopBar";
import { refreshBalance } from "../../session/balance";
import { readTab, writeTab } from "../../session/tab";
import { isSignedIn } from "../../session/token";
import {
  applied,
  brokenOff,
  failed,
  failureOf,
  isOver,
  newColumns,
  next,
  spent,
  type Column,
  type Failure,
  type ServerEvent,
} from "./columns";
import { ended, keyFor } from "./attempt";
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
const MAX_RETRIES = 6;
const MAX_SILENCE_MS = 25_000; // the API sends a comment every 10 s

/** What is written here, kept for the way back from another view. */
interface Kept {
  variants: Variant[];
  input: string;
}

/** One input in two to four columns, which are answered at the same time. */
export function Compare({ packageId }: { packageId: string | null }) {
  const kept = useRef(readTab<Kept>("compare"));
  const [models, setModels] = useState<readonly ModelDetails[]>([]);
  const [variables, setVariables] = useState<Readonly<Record<string, readonly Variable[]>>>({});
  const [anyPackageId, setAnyPackageId] = useState("");
  const [variants, setVariants] = useState<Variant[]>(() => kept.current?.variants ?? withAndWithout("", "", DEFAULT_MODEL));
  const [input, setInput] = useState(kept.current?.input ?? "");
  const [round, setRound] = useState(0);
  const [asked, setAsked] = useState<Variant[]>([]);
  const [columns, setColumns] = useState<Column[]>([]);
  const [busy, setBusy] = useState(false);
  const [isStopping, setStopping] = useState(false);
  const [refusal, setRefusal] = useState<unknown>(null);
  const [said, setSaid] = useState("");
  const go = useRef<HTMLButtonElement>(null);
  const answers = useRef<HTMLDivElement>(null);
  const running = useRef<AbortController | null>(null);

  useEffect(() => {
    api
      .get("/playground/models")
      .then((found) => setModels(found.models.filter((model) => !model.retired)))
      .catch(setRefusal);
    void loadPromptInfo();
    return () => running.current?.abort();
  }, []);

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
      .catch((error: unknown) => isCurrent && setRefusal(error));
    return () => {
      isCurrent = false;
    };
  }, [packageId]);

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
      .catch(setRefusal);
  }, [unreadId]);

  // A column without a prompt names a package all the same; without one in any column, some package stands in.
  const needsAny = packageOfAny(variants) === "" && variants.some((variant) => variant.prompt === "none");
  useEffect(() => {
    if (!needsAny || anyPackageId !== "") return;
    api
      .get("/packages", { query: { limit: 1 } })
      .then((page) => setAnyPackageId(page.packages[0]?.id ?? ""))
      .catch(setRefusal);
  }, [needsAny]);

  const known: Known = { variables, models, info: promptInfo.value };
  const same = repeated(variants, known);
  const lacking = firstMissing(variants, known);
  const isComplete = lacking === null && same.length === 0 && input.trim() !== "" && characters(input) <= MAX_INPUT_LENGTH;
  const isReady = isSignedIn.value && isComplete && !(needsAny && anyPackageId === "");
  const bodies = isReady ? variants.map((each) => body(each, known, packageOfAny(variants) || anyPackageId)) : [];
  const quote = useQuote(busy ? [] : bodies, input, round);

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

  async function compare() {
    const control = new AbortController();
    running.current = control;
    const wanted = variants;
    let current = newColumns(wanted.length);
    const show = (now: Column[]) => {
      current = now;
      if (!control.signal.aborted) setColumns(now);
    };
    setBusy(true);
    setStopping(false);
    setRefusal(null);
    setAsked(wanted);
    setSaid("The answers are being written.");
    show(current);
    const request = { input, variants: bodies as Schemas["Variant"][] };
    try {
      const { signal } = control;
      const answer = await open("post", "/playground/compare/stream", { body: request, key: keyFor(request), signal });
      await follow(answer, (event) => show(applied(current, event)));
      show(brokenOff(current));
    } catch (error) {
      if (current.some((column) => column.runId)) show(brokenOff(current));
      else {
        setRefusal(error);
        setColumns([]);
      }
    }
    await Promise.all(
      current.map((column, place) =>
        column.state === "cut" && column.runId
          ? readOn(column, control.signal, (now) => show(current.map((each, index) => (index === place ? now : each))))
          : undefined,
      ),
    );
    if (control.signal.aborted) return;
    if (current.length > 0 && current.every(isOver)) ended();
    setBusy(false);
    setSaid(current.length > 0 && current.every(isOver) ? `All answers are there. Together: ${credits(spent(current))}.` : "");
    setRound((before) => before + 1);
    void refreshBalance();
  }

  function stop() {
    setStopping(true);
    for (const column of columns) {
      if (!isOver(column) && column.runId) {
        api.post("/playground/runs/{run_id}/cancel", { path: { run_id: column.runId } }).catch(() => undefined);
      }
    }
    setSaid("Stopping. What was written by now is kept and paid for.");
  }

  return (
    <div class="compare">
      <h1>Compare</h1>
      <p class="lead">One input, answered side by side: with and without a package, or by several models.</p>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (isReady && !busy) void compare();
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
            rows={5}
            value={input}
            aria-describedby="compare-count"
            onInput={(event) => setInput(event.currentTarget.value)}
            onKeyDown={(event) => {
              if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) event.currentTarget.form?.requestSubmit();
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
      {refusal !== null && <ErrorNotice error={refusal} onRetry={isReady ? () => void compare() : undefined} />}
      {busy && (
        <StopBar
          isOff={isStopping || !columns.some((column) => column.runId)}
          onStop={stop}
          note="What is written when you stop is kept and paid for."
          onGone={() => go.current?.focus({ preventScroll: true })}
        />
      )}
      <p role="status" class="compare-status">
        {said}
      </p>
      {columns.length > 0 && (
        <div class="compare-columns" data-count={columns.length} ref={answers}>
          {columns.map((column, place) => (
            <ColumnView key={place} column={column} name={title(asked[place] as Variant)} />
          ))}
        </div>
      )}
    </div>
  );
}

function Price({ quote, lacking }: { quote: Quote; lacking: string | null }) {
  if (lacking !== null) return <p class="compare-quote hint">{lacking}</p>;
  if (quote.error === null) {
    return (
      <p class={quote.isOld ? "compare-quote hint" : "compare-quote"} aria-live="polite">
        {quote.text}
      </p>
    );
  }
  const problem = problemOf(quote.error);
  return (
    <p class="compare-quote problem" role="alert">
      {problem.title}. {problem.text} {problem.steps.includes("plan") && <a href={links.subscription()}>See PRPM+</a>}
    </p>
  );
}

/** One run behind its last piece, until it has ended: bounded, and slower each time. */
async function readOn(column: Column, signal: AbortSignal, show: (column: Column) => void): Promise<void> {
  let current = column;
  for (let attempt = 0; attempt < MAX_RETRIES && !isOver(current) && !signal.aborted; attempt += 1) {
    await new Promise((resolve) => setTimeout(resolve, 500 * 2 ** attempt));
    try {
      const answer = await open("get", "/playground/runs/{run_id}/stream", {
        path: { run_id: current.runId ?? "" },
        headers: { "Last-Event-ID": current.lastId ?? "0" },
        signal,
      });
      await follow(answer, (event) => {
        const data = (typeof event.data === "object" && event.data !== null ? event.data : {}) as Partial<Failure>;
        if (event.event === "error" && data.error === "run_in_progress") return; // goes on: read on later
        current = next(current, event, data as Record<string, unknown>);
        show(current);
      });
    } catch (error) {
      const failure = failureOf(error);
      if (failure.run_id) {
        show((current = failed([current], failure)[0] as Column));
      }
    }
  }
  if (!isOver(current) && !signal.aborted) {
    const message = "The connection broke off. The run goes on; its answer will be among your conversations.";
    show(failed([current], { error: "cut", message })[0] as Column);
  }
}

/** The events of an answer, each with its data read. */
async function follow(answer: Response, each: (event: ServerEvent) => void): Promise<void> {
  if (!answer.body) return;
  for await (const { event, id, data } of events(answer.body, MAX_SILENCE_MS)) each({ event, id, data: parsed(data) });
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function ColumnView({ column, name }: { column: Column; name: string }) {
  const { answer, failure } = column;
  const isWriting = column.state === "writing" || column.state === "waiting" || column.state === "cut";
  return (
    <article aria-label={name} aria-busy={isWriting} class={`compare-column compare-${column.state}`}>
      <h2>{name}</h2>
      {column.text && <Markdown text={column.text} />}
      {column.state === "waiting" && <p>Waiting for the first words…</p>}
      {column.state === "cut" && <p>The connection broke off. Reading on…</p>}
      {failure !== null && <ErrorNotice error={errorOf(0, failure)} />}
      {answer && (
        <p class="facts">
          <span>{credits(answer.credits_spent)}</span>
          <span>{count(answer.tokens_used)} tokens</span>
          <span>{(answer.duration_ms / 1000).toFixed(1)} s</span>
          {answer.stop_reason === "max_tokens" && <span>cut at its limit</span>}
          {answer.stop_reason === "cancelled" && <span>stopped by you</span>}
        </p>
      )}
      {answer && (
        <p>
          <a href={links.conversations(answer.session_id)}>Continue this one</a>
        </p>
      )}
    </article>
  );
}
