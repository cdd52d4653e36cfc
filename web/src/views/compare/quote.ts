import { api, ApiError, errorOf, type Schemas } from "../../api/client";
import { useAsked, type Asked } from "../../lib/asked";
import { count, credits } from "../../lib/format";
import type { VariantBody } from "./variants";

const DEBOUNCE_MS = 400;

export interface Estimate {
  estimated_credits: number;
  max_credits: number;
  available: number;
}

export interface Quote {
  text: string;
  /** No shorter answer makes it payable. */
  isTooDear: boolean;
}

/** "3 credits, at most 5; you have 12": the price of all columns together. */
export function quoteOf(estimates: readonly Estimate[]): Quote {
  const first = estimates[0];
  if (!first) return { text: "", isTooDear: false };
  const expected = estimates.reduce((sum, each) => sum + each.estimated_credits, 0);
  const most = estimates.reduce((sum, each) => sum + each.max_credits, 0);
  const have = first.available;
  const price = most > expected ? `${credits(expected)}, at most ${count(most)}` : credits(expected);
  const least = estimates.length; // no run costs less than a credit
  const isTooDear = have < least;
  const more =
    isTooDear
      ? ` That is too few: each column costs 1 credit at least.${have > 1 ? " Remove a column, or buy more." : ""}`
      : most > have
        ? " Answers may have to be shorter, so that they can be paid."
        : "";
  return { text: `All columns together: ${price}; you have ${count(have)}.${more}`, isTooDear };
}

/** The error of an estimate, with the place of its column, as a comparison has it. */
export function inColumn(error: unknown, place: number): unknown {
  if (!(error instanceof ApiError)) return error;
  return errorOf(error.status, { ...error.facts, error: error.code, message: error.message, variant: place }, error.retryAfter);
}

interface Wanted {
  variants: VariantBody[];
  input: string;
}

/** The estimates of all columns; as soon as one fails, the others are no longer waited for. */
async function ask(wanted: string, signal: AbortSignal): Promise<Quote> {
  const { variants, input } = JSON.parse(wanted) as Wanted;
  const others = new AbortController();
  const drop = () => others.abort();
  signal.addEventListener("abort", drop);
  try {
    const asked = variants.map((variant, place) =>
      api
        .post("/playground/estimate", { body: { ...variant, input } as Schemas["RunBody"], signal: others.signal })
        .catch((error: unknown) => Promise.reject(inColumn(error, place))),
    );
    return quoteOf(await Promise.all(asked));
  } finally {
    signal.removeEventListener("abort", drop);
    others.abort();
  }
}

/** The quote of these columns, a moment after the last change. Asked again when what one has changes (`available`). */
export function useQuote(variants: readonly VariantBody[], input: string, available: number | undefined): Asked<Quote> {
  return useAsked(variants.length > 0 ? JSON.stringify({ variants, input, available }) : null, ask, DEBOUNCE_MS);
}
