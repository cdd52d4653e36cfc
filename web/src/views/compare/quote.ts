import { useEffect, useState } from "preact/hooks";
import { api, ApiError, errorOf, type Schemas } from "../../api/client";
import { count, credits } from "../../lib/format";
import type { VariantBody } from "./variants";

const DEBOUNCE_MS = 400;

export interface Estimate {
  estimated_credits: number;
  max_credits: number;
  available: number;
}

/** `isOld`: of what was written before, while the price of what is written now is being asked for. */
export interface Quote {
  text: string;
  error: unknown;
  isOld: boolean;
}

/** "3 credits, at most 5; you have 12": the price of all columns together. */
export function quoteText(estimates: readonly Estimate[]): string {
  const first = estimates[0];
  if (!first) return "";
  const expected = estimates.reduce((sum, each) => sum + each.estimated_credits, 0);
  const most = estimates.reduce((sum, each) => sum + each.max_credits, 0);
  const have = first.available;
  const price = most > expected ? `${credits(expected)}, at most ${count(most)}` : credits(expected);
  const more = most > have ? " Answers may have to be shorter, so that they can be paid." : "";
  return `All columns together: ${price}; you have ${count(have)}.${more}`;
}

/** The error of an estimate, with the place of its column, as a comparison has it. */
export function inColumn(error: unknown, place: number): unknown {
  if (!(error instanceof ApiError)) return error;
  return errorOf(error.status, { ...error.facts, error: error.code, message: error.message, variant: place }, error.retryAfter);
}

/** The quote of these columns, a moment after the last change; empty for none. Asked again when `round` changes. */
export function useQuote(variants: readonly VariantBody[], input: string, round: number): Quote {
  const [answer, setAnswer] = useState({ of: "", text: "", error: null as unknown });
  const wanted = variants.length > 0 ? JSON.stringify({ variants, input, round }) : "";
  useEffect(() => {
    if (wanted === "") return undefined;
    const abort = new AbortController();
    const timer = window.setTimeout(() => {
      const request = JSON.parse(wanted) as { variants: VariantBody[]; input: string };
      const asked = request.variants.map((variant, place) =>
        api
          .post("/playground/estimate", { body: { ...variant, input: request.input } as Schemas["RunBody"], signal: abort.signal })
          .catch((error: unknown) => Promise.reject(inColumn(error, place))),
      );
      Promise.all(asked).then(
        (estimates) => setAnswer({ of: wanted, text: quoteText(estimates), error: null }),
        (error: unknown) => !abort.signal.aborted && setAnswer({ of: wanted, text: "", error }),
      );
    }, DEBOUNCE_MS);
    return () => {
      abort.abort();
      window.clearTimeout(timer);
    };
  }, [wanted]);
  if (wanted === "") return { text: "", error: null, isOld: false };
  return { text: answer.text, error: answer.error, isOld: answer.of !== wanted };
}
