/** Prompts of somebody's own, in place of a package. */
import { signal } from "@preact/signals";
import { api, type Schemas } from "../api/client";
import { characters, count } from "./format";

export type PromptInfo = Schemas["CustomPromptInfo"];

/** Who may run them, their limits and what they cost; null while that is not known. */
export const promptInfo = signal<PromptInfo | null>(null);

/** If it cannot be had, nothing is offered; the next view asks again. */
export async function loadPromptInfo(): Promise<void> {
  if (promptInfo.peek() !== null) return;
  try {
    promptInfo.value = await api.get("/custom-prompt/info");
  } catch {
    /* packages can be run all the same */
  }
}

export const arePromptsOffered = () => promptInfo.value?.available === true;

type Limits = Pick<PromptInfo["limits"], "min_prompt_length" | "max_prompt_length">;

/** What is wrong with the text of a prompt; null if nothing is. */
export function promptProblem(text: string, limits: Limits): string | null {
  const length = characters(text);
  if (length < limits.min_prompt_length) return `Write a prompt of at least ${count(limits.min_prompt_length)} characters.`;
  const over = length - limits.max_prompt_length;
  return over > 0 ? `Shorten the prompt by ${count(over)} ${over === 1 ? "character" : "characters"}.` : null;
}

/** "For PRPM+ and for verified authors. Costs 2 times the credits of a package." */
export function promptTerms(info: Pick<PromptInfo, "available" | "requirements" | "pricing">): string {
  if (!info.available) return "They are switched off here and cannot be run.";
  return `${info.requirements.description} Costs ${count(info.pricing.credit_multiplier)} times the credits of a package.`;
}

/** The longest answer: of a prompt of somebody's own it is shorter. */
export function mostTokens(ofModel: number, isOwn: boolean, info: Pick<PromptInfo, "limits"> | null): number {
  return isOwn && info !== null ? Math.min(ofModel, info.limits.max_tokens_output) : ofModel;
}
