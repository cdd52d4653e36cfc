import { effect, signal } from "@preact/signals";
import { api, ApiError, type Schemas } from "../../api/client";
import { later } from "../../components/undo";
import { promptName, titleOf } from "../../lib/conversation";
import { cut } from "../../lib/format";
import { Pages } from "../../lib/pages";
import { isSignedIn } from "../../session/token";

export type Listed = Schemas["SessionListed"];

const PAGE = 50;
const MAX_SEARCH_PAGES = 40; // a search reads the titles of this many pages, 2,000 conversations

export const list = new Pages<Listed, "all">(
  async (_, cursor, signal) => {
    const page = await api.get("/playground/sessions", { query: { limit: PAGE, ...(cursor !== null && { cursor }) }, signal });
    return { items: page.sessions, next: page.next_cursor, unreadable: page.unreadable.length };
  },
  (each) => each.session_id,
);
export const deleteError = signal<{ error: unknown; retry: () => void } | null>(null);

/** The first page anew: other windows and runs have changed the list. */
export const load = () => list.load("all");

/** All pages, as far as a search goes. `isWanted` says whether somebody still searches. */
export async function loadAll(isWanted: () => boolean): Promise<void> {
  for (let page = 0; page < MAX_SEARCH_PAGES && list.next.peek() !== null && isWanted(); page += 1) {
    await list.more();
    if (list.error.peek() !== null) return;
  }
}

/** Words of the search in any order, in the title, the names of the prompt and the model. */
export function matches(about: Pick<Listed, "title" | "package" | "use_no_prompt" | "model" | "comparison">, search: string): boolean {
  const text = `${about.title} ${promptName(about)} ${about.model}`.toLowerCase();
  return search.toLowerCase().split(/\s+/).every((word) => text.includes(word));
}

/** Deleted after a time to undo it; the list does not show it meanwhile. */
export function remove(about: { session_id: string; title: string; package: string | null }): void {
  const title = titleOf(about);
  const act = async (isLeaving: boolean) => {
    try {
      await api.delete("/playground/sessions/{session_id}", { path: { session_id: about.session_id }, keepalive: isLeaving });
    } catch (problem) {
      if (!(problem instanceof ApiError && problem.status === 404)) throw problem; // 404: another window was faster
    }
    list.change((now) => now.filter((each) => each.session_id !== about.session_id));
  };
  const failed = (problem: unknown) => {
    const others = deleteError.peek();
    deleteError.value = {
      error: problem,
      retry: () => {
        deleteError.value = null;
        others?.retry();
        act(false).catch(failed);
      },
    };
  };
  deleteError.value = null;
  later({
    id: about.session_id,
    name: `Deleted “${cut(title, 40)}”`,
    act,
    undo: () => undefined,
    failed,
  });
}

// Whoever was signed out before it was deleted, and is signed in again, has asked for it already.
effect(() => {
  const failed = deleteError.value;
  if (isSignedIn.value && failed?.error instanceof ApiError && failed.error.status === 401) failed.retry();
});
