/** What is written and chosen before a run. It outlives the page, in the tab's storage. */
import { effect, signal } from "@preact/signals";
import { readTab, writeTab } from "../../session/tab";

const MAX_SETUPS = 30; // the oldest are forgotten

/** What is written and chosen. One text for all packages: whoever looks at another one has not written it for nothing. */
export interface Draft {
  input: string;
  /** Of one's own, in place of a package. */
  prompt: string;
  model: string | null;
  /** The model of one conversation; any other goes on with its own. */
  sessionModel: { sessionId: string; model: string } | null;
  effort: string | null;
  /** As they are typed; empty: the usual. */
  maxTokens: string;
  temperature: string;
  /** By the package's id. */
  setups: Record<string, Setup>;
}

/** What belongs to one package. */
export interface Setup {
  variables: Record<string, string>;
  version: string | null;
  withoutPrompt: boolean;
}

const EMPTY_SETUP: Setup = { variables: {}, version: null, withoutPrompt: false };

const EMPTY: Draft = {
  input: "",
  prompt: "",
  model: null,
  sessionModel: null,
  effort: null,
  maxTokens: "",
  temperature: "",
  setups: {},
};

/** As this page, or an earlier version of it, has kept it. */
export function readDraft(found: unknown): Draft {
  const { maxTokens, temperature, ...rest } = { ...EMPTY, ...(found as Partial<Draft> | undefined) };
  return { ...rest, maxTokens: String(maxTokens ?? ""), temperature: String(temperature ?? "") };
}

export const draft = signal<Draft>(readDraft(readTab<{ draft?: unknown }>("draft")?.draft));

effect(() => writeTab("draft", { draft: draft.value }));

export function change(part: Partial<Draft>): void {
  draft.value = { ...draft.peek(), ...part };
}

/** Of a package; null: of none. */
export function setupOf(packageId: string | null): Setup {
  return { ...EMPTY_SETUP, ...(packageId === null ? undefined : draft.value.setups[packageId]) };
}

export function changeSetupOf(packageId: string, part: Partial<Setup>): void {
  const { [packageId]: before, ...others } = draft.peek().setups;
  const newest = Object.entries(others).slice(1 - MAX_SETUPS);
  change({ setups: { ...Object.fromEntries(newest), [packageId]: { ...EMPTY_SETUP, ...before, ...part } } });
}

/** A number as it is typed: null is empty, undefined is none that may be sent. */
export function numberIn(text: string, least: number, most: number, isWhole: boolean): number | null | undefined {
  if (text.trim() === "") return null;
  const found = Number(text);
  return Number.isFinite(found) && found >= least && found <= most && (!isWhole || Number.isInteger(found)) ? found : undefined;
}
