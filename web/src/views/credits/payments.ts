/**
 * The payments that this tab has begun. One of them may be paid after its form was closed, by another tab or by a bank that
 * takes its time, so each is watched until the API says that it is paid, or can be no more. What a form needs (Stripe's
 * client secret) is kept in memory only.
 */
import { computed, effect, signal } from "@preact/signals";
import { api, type Schemas } from "../../api/client";
import { refreshBalance } from "../../session/balance";
import { returned, returnedIntent } from "../../session/returned";
import { readTab, writeTab } from "../../session/tab";

type State = Schemas["PurchaseSummary"]["state"];
type Form = Pick<Schemas["PurchaseAnswer"], "client_secret" | "pay_url">;

export interface Payment {
  id: string;
  /** Stripe's id of it; earlier versions of the page did not keep it. */
  intent?: string | undefined;
  pack: string;
  credits: number;
  /** Cents. */
  price: number;
  state: State;
  /** Stripe has it, and has not said yet what came of it. */
  isSent: boolean;
  /** null: the page was loaded again, and it can be watched only. */
  form: Form | null;
}

const PAYMENTS = "payments";
const MAX_PAYMENTS = 10; // as many as are asked for

function restored(): Payment[] {
  const found = (readTab<Payment[]>(PAYMENTS) ?? []).map((each) => ({ ...each, form: null }));
  if (returned.peek() !== "failed") return found;
  // Stripe's page has led back: the payment that was sent has ended there. Others may still be under way.
  return found.map((each) => (each.intent !== undefined && each.intent === returnedIntent ? { ...each, isSent: false } : each));
}

export const payments = signal<readonly Payment[]>(restored());
/** Whose form is shown. */
export const shownPayment = signal<string | null>(null);
/** It is with Stripe this moment: nothing else is to be paid meanwhile. */
export const isPaying = signal(false);

effect(() => writeTab(PAYMENTS, payments.value.length === 0 ? null : payments.value.map((each) => ({ ...each, form: null }))));

const isUndecided = (each: Payment) => each.state === "open" || each.state === "declined";

export const undecided = computed(() => payments.value.filter(isUndecided));

export function beginPayment(pack: string, purchase: Schemas["PurchaseAnswer"]): void {
  const { purchase_id: id, credits, price, client_secret, pay_url } = purchase;
  const others = payments.peek().filter((each) => each.id !== id && isUndecided(each));
  const intent = /^(pi_\w+?)_secret_/.exec(client_secret)?.[1];
  const begun = { id, intent, pack, credits, price, state: "open", isSent: false, form: { client_secret, pay_url } } as const;
  payments.value = [...others, begun].slice(-MAX_PAYMENTS);
  shownPayment.value = id;
}

/** One for the same pack whose form can still be used: a second one for it would be paid beside it. */
export function unfinished(pack: string): Payment | null {
  return undecided.peek().find((each) => each.pack === pack && each.form !== null && !each.isSent) ?? null;
}

export function changePayment(id: string, part: Partial<Payment>): void {
  payments.value = payments.peek().map((each) => (each.id === id ? { ...each, ...part } : each));
}

/** Ask what has become of them. */
export async function lookAtPayments(): Promise<void> {
  const page = await api.get("/playground/credits/purchases", { query: { limit: MAX_PAYMENTS } });
  const states = new Map(page.purchases.map((each) => [each.purchase_id, each.state]));
  let isNewlyPaid = false;
  payments.value = payments.peek().map((each) => {
    const state = states.get(each.id) ?? each.state;
    if (state === each.state) return each;
    isNewlyPaid ||= state === "paid";
    return { ...each, state, isSent: false };
  });
  const shown = payments.peek().find((each) => each.id === shownPayment.peek());
  if (shown !== undefined && !isUndecided(shown)) shownPayment.value = null;
  if (isNewlyPaid) void refreshBalance();
}
