/** Why a run cost what it did, in sentences, from its receipt. */
import { count as tokens, credits } from "../../lib/format";

export interface ReceiptFacts {
  status: string;
  model: string;
  custom_prompt?: boolean;
  ceiling: number;
  credits_spent?: number;
  overrun?: number;
  stop_reason?: string | null;
  buckets?: { monthly: number; rollover: number; purchased: number } | null;
  usage?: Record<string, number> | null;
  price?: Record<string, number> | null;
  error?: Record<string, unknown> | null;
}

export function explain(receipt: ReceiptFacts): string[] {
  if (receipt.status === "held") {
    return [`This run is still being made. ${credits(receipt.ceiling)} are held for it, the most it can cost.`];
  }
  const { usage, price } = receipt;
  if (receipt.status !== "settled" || !usage || !price) {
    const said = ["This run ended without an answer, so it cost nothing."];
    if (receipt.ceiling > 0) said.push(`The ${credits(receipt.ceiling)} that were held for it were given back.`);
    return said;
  }
  const said: string[] = [];
  const cached = (usage.cache_write_tokens ?? 0) + (usage.cache_read_tokens ?? 0);
  const prompt = (usage.input_tokens ?? 0) + cached;
  const output = usage.output_tokens ?? 0;
  said.push(
    `${tokens(prompt)} tokens were read and ${tokens(output)} were written: ${tokens(prompt + output)} together` +
      (cached > 0 ? `, ${tokens(cached)} of them through the prompt cache.` : "."),
  );
  const tier = price.tier ?? 0;
  const factor = price.factor ?? 1;
  const floor = price.floor ?? 0;
  said.push(
    factor === 1
      ? `A run of that size costs ${credits(tier)}.`
      : `A run of that size costs ${credits(tier)}, times ${factor} for ${factorOf(receipt)}: ${credits(tier * factor)}.`,
  );
  if (floor > tier * factor) {
    said.push(`Its tokens cost more than usual, so the floor applied: ${credits(floor)}.`);
  }
  const overrun = receipt.overrun ?? 0;
  if (overrun > 0) {
    said.push(`At most ${credits(receipt.ceiling)} were held, and never more than that is charged.`);
  }
  const spent = receipt.credits_spent ?? 0;
  const saved = receipt.ceiling - spent;
  said.push(
    `Charged: ${credits(spent)}` +
      (saved > 0 ? `. ${credits(saved)} of the ${tokens(receipt.ceiling)} held were given back.` : "."),
  );
  const from = paidFrom(receipt);
  if (from) said.push(from);
  if (receipt.stop_reason === "cancelled") said.push("You stopped it: what was written by then is kept and paid for.");
  return said;
}

/** What the factor is for. */
function factorOf({ model, custom_prompt }: ReceiptFacts): string {
  return custom_prompt ? `${model} with a prompt of your own` : model;
}

/** From which parts of the balance it was paid, if there were several or one is worth naming. */
function paidFrom({ buckets }: ReceiptFacts): string | null {
  if (!buckets) return null;
  const parts = (["monthly", "rollover", "purchased"] as const)
    .filter((name) => buckets[name] !== 0)
    .map((name) => `${Math.abs(buckets[name])} ${name === "rollover" ? "rolled over" : name}`);
  return parts.length === 0 ? null : `Paid from: ${parts.join(", ")}.`;
}
