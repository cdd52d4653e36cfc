/** Why a run cost what it did, in sentences, from its receipt. */
import { count, counted, credits, modelName } from "../../lib/format";

export interface ReceiptFacts {
  status: string;
  model: string;
  custom_prompt?: boolean;
  use_no_prompt?: boolean;
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
    return [`This run is still being made. ${counted(receipt.ceiling, "credit is", "credits are")} held for it, the most it can cost.`];
  }
  const { usage, price } = receipt;
  if (receipt.status !== "settled" || !usage || !price) {
    const said = ["This run ended without an answer, so it cost nothing."];
    if (receipt.ceiling > 0) said.push(`The ${counted(receipt.ceiling, "credit that was held for it was", "credits that were held for it were")} given back.`);
    return said;
  }
  const said: string[] = [];
  const cached = (usage.cache_write_tokens ?? 0) + (usage.cache_read_tokens ?? 0);
  const prompt = (usage.input_tokens ?? 0) + cached;
  const output = usage.output_tokens ?? 0;
  said.push(
    `${counted(prompt, "token was", "tokens were")} read and ${counted(output, "was", "were")} written: ${count(prompt + output)} together` +
      (cached > 0 ? `, ${count(cached)} of them through the prompt cache.` : "."),
  );
  if (receipt.use_no_prompt) said.push("It ran without the package's prompt.");
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
    said.push(`At most ${counted(receipt.ceiling, "credit was", "credits were")} held, and never more than that is charged.`);
  }
  const spent = receipt.credits_spent ?? 0;
  const saved = receipt.ceiling - spent;
  said.push(
    `Charged: ${credits(spent)}` +
      (saved > 0 ? `. ${counted(saved, "credit")} of the ${count(receipt.ceiling)} held ${saved === 1 ? "was" : "were"} given back.` : "."),
  );
  const from = paidFrom(receipt);
  if (from) said.push(from);
  if (receipt.stop_reason === "cancelled") said.push("You stopped it: what was written by then is kept and paid for.");
  return said;
}

/** Welcome credits and bonuses are in the part that the API calls purchased. */
const PARTS = { monthly: "monthly", rollover: "rolled over", purchased: "of those that never expire" } as const;

/** What the factor is for. */
function factorOf({ model, custom_prompt }: ReceiptFacts): string {
  return custom_prompt ? `${modelName(model)} with a prompt of your own` : modelName(model);
}

/** From which parts of the balance it was paid, if there were several or one is worth naming. */
function paidFrom({ buckets }: ReceiptFacts): string | null {
  if (!buckets) return null;
  const parts = (["monthly", "rollover", "purchased"] as const)
    .filter((name) => buckets[name] !== 0)
    .map((name) => `${count(Math.abs(buckets[name]))} ${PARTS[name]}`);
  return parts.length === 0 ? null : `Paid from: ${parts.join(", ")}.`;
}
