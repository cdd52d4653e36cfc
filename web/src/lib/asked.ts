/** Answers of the API about what is written at the moment. */
import { useEffect, useState } from "preact/hooks";

/** `value` and `error` are of what is wanted now; both are absent while that is being asked for. */
export interface Asked<T> {
  state: "none" | "asking" | "known" | "failed";
  value: T | null;
  error: unknown;
  again: () => void;
}

/**
 * Asks for `wanted` a moment after it has changed for the last time; null asks for nothing. An answer to what was wanted
 * before is never shown, however late it comes. `ask` may be another function each time; it is called with what it is for.
 */
export function useAsked<T>(wanted: string | null, ask: (wanted: string, signal: AbortSignal) => Promise<T>, waitMs: number): Asked<T> {
  const [answer, setAnswer] = useState<{ of: string; value: T | null; error: unknown } | null>(null);
  const [attempt, setAttempt] = useState(0);
  const again = () => {
    setAnswer(null);
    setAttempt(attempt + 1);
  };
  useEffect(() => {
    if (wanted === null) return undefined;
    const abort = new AbortController();
    const take = (value: T | null, error: unknown) => {
      if (!abort.signal.aborted) setAnswer({ of: wanted, value, error });
    };
    const timer = setTimeout(() => {
      ask(wanted, abort.signal).then(
        (value) => take(value, null),
        (error: unknown) => take(null, error),
      );
    }, waitMs);
    return () => {
      clearTimeout(timer);
      abort.abort();
    };
  }, [wanted, attempt]);
  if (wanted === null) return { state: "none", value: null, error: null, again };
  if (answer === null || answer.of !== wanted) return { state: "asking", value: null, error: null, again };
  return { state: answer.error === null ? "known" : "failed", value: answer.value, error: answer.error, again };
}
