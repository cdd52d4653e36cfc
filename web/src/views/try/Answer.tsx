import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { ErrorNotice } from "../../components/ErrorNotice";
import { Markdown } from "../../components/Markdown";
import { Question } from "../../components/Question";
import { StopBar } from "../../components/StopBar";
import { useFollowedEnd } from "../../lib/follow";
import { credits } from "../../lib/format";
import { readOut } from "./readOut";
import * as store from "./store";

const SHOW_EVERY_MS = 80;
const READ_OUT_EVERY_MS = 4_000;

/** A run that is being made: what is written so far, and a way to stop it. */
export function Answer({ run }: { run: store.LiveRun }) {
  const text = useThrottled(run.text, SHOW_EVERY_MS);
  useReadOut(run.key, run.text);
  const article = useRef<HTMLElement>(null);
  useFollowedEnd(article);
  useLayoutEffect(() => {
    article.current?.scrollIntoView({ block: "nearest" });
    return () => {
      // The stop button goes away with the run; whoever was on it goes on at the input.
      if (article.current?.contains(document.activeElement)) document.getElementById("input")?.focus({ preventScroll: true });
    };
  }, []);
  return (
    <article class="turn" ref={article} aria-busy={run.state !== "lost"}>
      <Question text={run.body.input} />
      <div class="answer">
        <h2 class="unseen">Claude is answering</h2>
        {text !== "" && <Markdown text={text} />}
        <p class="progress">
          {run.state !== "lost" && <span class="pulse" aria-hidden="true" />}
          {said(run)}
        </p>
        {run.state === "lost" ? (
          <>
            <ErrorNotice ofRun error={run.error} onRetry={store.readOn} />
            <p class="hint">
              <button type="button" class="link" onClick={store.drop}>
                Leave it
              </button>
              : if it has begun, its answer will be among your conversations.
            </p>
          </>
        ) : (
          <StopBar
            isOff={run.runId === null || run.state === "stopping"}
            onStop={() => void store.stop()}
            note={`${run.ceiling === null ? "" : `At most ${credits(run.ceiling)}. `}What is written when you stop is kept and paid for.`}
          />
        )}
        {run.error !== null && run.state !== "lost" && <p class="problem" role="alert">It could not be stopped. Try again.</p>}
      </div>
    </article>
  );
}

function said(run: store.LiveRun): string {
  switch (run.state) {
    case "starting":
      return run.runId === null ? "Asking Claude…" : "Claude is thinking…";
    case "writing":
      return "Claude is writing…";
    case "broken":
      return `The connection broke. ${run.runId === null ? "Trying again" : "Reading on"}…`;
    case "stopping":
      return "Stopping…";
    case "lost":
      return "The connection was lost.";
  }
}

/** The value as it was at most `every` milliseconds ago: text comes faster than it need be shown. */
function useThrottled(value: string, every: number): string {
  const [shown, show] = useState(value);
  const latest = useRef(value);
  const timer = useRef<ReturnType<typeof setTimeout> | null>(null);
  latest.current = value;
  useEffect(() => {
    timer.current ??= setTimeout(() => {
      timer.current = null;
      show(latest.current);
    }, every);
  }, [value]);
  useEffect(() => () => clearTimeout(timer.current ?? undefined), []);
  return shown;
}

/** Whole paragraphs are read out now and then, not every piece as it comes. */
function useReadOut(key: string, text: string): void {
  const latest = useRef(text);
  latest.current = text;
  useEffect(() => {
    const timer = setInterval(() => readOut(key, latest.current), READ_OUT_EVERY_MS);
    return () => clearInterval(timer);
  }, [key]);
}
