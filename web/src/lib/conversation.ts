/** Conversations as the page shows them. */
import { api, type Schemas } from "../api/client";
import type { RunBody } from "../api/stream";

export type Session = Schemas["SessionAnswer"];

export interface Turn {
  id: string;
  question: string;
  answer: string;
  unreadable: boolean;
  /** Known for runs that this page has seen. */
  run: { id: string; body: RunBody; answer: Schemas["RunAnswer"] } | null;
  /** What the API knows of an earlier run; null in copies and shared conversations. */
  earlier?: Schemas["ExchangeRun"] | null;
}

type Said = Pick<Schemas["SharedMessage"], "content" | "unreadable"> & { run?: Schemas["ExchangeRun"] | null };

type Page<M> = { conversation: M[]; next_cursor: string | null };

async function all<M, P extends Page<M>>(get: (cursor: string | undefined) => Promise<P>): Promise<P> {
  const first = await get(undefined);
  const conversation = [...first.conversation];
  for (let cursor = first.next_cursor; cursor !== null; ) {
    const next = await get(cursor);
    conversation.push(...next.conversation);
    cursor = next.next_cursor;
  }
  return { ...first, conversation, next_cursor: null };
}

/** All of a conversation: its turns come in pages. */
export function getSession(id: string): Promise<Session> {
  return all((cursor) =>
    api.get("/playground/sessions/{session_id}", { path: { session_id: id }, query: cursor === undefined ? {} : { cursor } }),
  );
}

export function getShared(token: string): Promise<Schemas["SharedAnswer"]> {
  return all((cursor) =>
    api.get("/playground/shared/{token}", { path: { token }, query: cursor === undefined ? {} : { cursor } }),
  );
}

/** Question and answer together. */
export function turnsOf(conversation: readonly Said[]): Turn[] {
  const found: Turn[] = [];
  for (let at = 0; at + 1 < conversation.length; at += 2) {
    const question = conversation[at];
    const answer = conversation[at + 1];
    if (!question || !answer) break;
    found.push({
      id: answer.run?.run_id ?? `turn-${at / 2 + 1}`,
      question: question.content,
      answer: answer.content,
      unreadable: question.unreadable || answer.unreadable,
      run: null,
      earlier: answer.run ?? null,
    });
  }
  return found;
}

/** What a conversation is with: a package, or somebody's own prompt. */
export function packageName(about: { package: string | null }): string {
  return about.package ?? "a prompt of its own";
}

type Prompted = { package: string | null; use_no_prompt: boolean; comparison?: unknown };

/**
 * What was sent before the input. A column of a comparison without a prompt names a package all the same, because the API
 * needs one; who has compared has chosen none.
 */
export function promptName(about: Prompted): string {
  if (about.package === null) return "Your own prompt";
  if (!about.use_no_prompt) return about.package;
  return about.comparison ? "Without a package" : `${about.package}, without its prompt`;
}

/** Characters that turn the direction of what follows them. */
const TURNS = /[\u202A-\u202E\u2066-\u2069]/g;

/**
 * A title may be of one's own words, with lines in it; without words it is named after its package. It stands among other
 * words, which it must not turn around.
 */
export function titleOf(about: { title: string; package: string | null }): string {
  return about.title.replace(TURNS, "").replace(/\s+/g, " ").trim() || packageName(about);
}
