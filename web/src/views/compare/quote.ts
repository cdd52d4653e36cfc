import { useEffect, useState } from "preact/hooks";
import { api } from "../../api/client";
import { credits } from "../../lib/format";
import { problemOf } from "../../lib/errors";
import { body, type Variant, type VariantBody } from "./variants";

const DEBOUNCE_MS = 400;

export interface Estimate {
  estimated_credits: number;
  max_credits: number;
  available: number;
}

/** "3 credits, at most 5; you have 12": the price of all columns together. */
export function quoteText(estimates: readonly Estimate[]): string {
  const first = estimates[0];
  if (!first) return "";
  const expected = estimates.reduce((sum, each) => sum + each.estimated_credits, 0);
  const most = estimates.reduce((sum, each) => sum + each.max_credits, 0);
  const have = first.available;
  const price = most > expected ? `${credits(expected)}, at most ${most}` : credits(expected);
  const more = most > have ? " Answers may have to be shorter, so that they can be paid." : "";
  return `All columns together: ${price}; you have ${have}.${more}`;
}

/** The quote of these columns, a moment after the last change; empty for none. */
export function useQuote(variants: readonly Variant[], input: string): { text: string } {
  const [text, setText] = useState("");
  const wanted = variants.length > 0 ? JSON.stringify({ variants: variants.map(body), input }) : "";
  useEffect(() => {
    if (wanted === "") {
      setText("");
      return undefined;
    }
    let isCurrent = true;
    const timer = window.setTimeout(() => {
      const request = JSON.parse(wanted) as { variants: VariantBody[]; input: string };
      Promise.all(
        request.variants.map((variant) =>
          api.post("/playground/estimate", { body: { ...variant, input: request.input } }),
        ),
      )
        .then((estimates) => isCurrent && setText(quoteText(estimates)))
        .catch((error: unknown) => isCurrent && setText(problemOf(error).text));
    }, DEBOUNCE_MS);
    return () => {
      isCurrent = false;
      window.clearTimeout(timer);
    };
  }, [wanted]);
  return { text };
}
