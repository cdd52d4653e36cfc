/**
 * How a payment on a page of Stripe has ended, as its way back says it. Taken out of the address before anything else runs:
 * the client secret of a payment is nobody's business, and a page that is loaded again has nothing to say about it.
 */
import { signal } from "@preact/signals";

const OUTCOMES = ["checkout", "redirect_status"];
const OTHERS = [
  ...["payment_intent", "payment_intent_client_secret", "setup_intent", "setup_intent_client_secret"],
  ...["source_type", "source_redirect_slug"],
];

interface Returned {
  outcome: string | null;
  /** Stripe's id of the payment. */
  intent: string | null;
}

function takeFromAddress(): Returned {
  const query = new URLSearchParams(location.search);
  const names = [...OUTCOMES, ...OTHERS].filter((name) => query.has(name));
  if (names.length === 0) return { outcome: null, intent: null };
  const outcome = OUTCOMES.map((name) => query.get(name)).find((each) => each !== null) ?? null;
  const intent = query.get("payment_intent");
  for (const name of names) query.delete(name);
  const rest = query.toString();
  history.replaceState(history.state, "", location.pathname + (rest && `?${rest}`) + location.hash);
  return { outcome, intent };
}

const taken = takeFromAddress();

export const returned = signal(taken.outcome);
export const returnedIntent = taken.intent;
