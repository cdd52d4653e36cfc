import { batch, signal } from "@preact/signals";
import { api, ApiError, type Schemas } from "../../api/client";
import { later } from "../../components/undo";
import { packageName, titleOf } from "../../lib/conversation";
import { cut } from "../../lib/format";

export type Listed = Schemas["SessionListed"];

const PAGE = 50;
const MAX_SEARCH_PAGES = 40; // a search reads the titles of this many pages, 2,000 conversations

export const sessions = signal<readonly Listed[] | null>(null);
export const next = signal<string | null>(null);
export const unreadable = signal(0);
export const error = signal<unknown>(null);
export const isLoading = signal(false);
export const deleteError = signal<{ error: unknown; retry: () => void } | null>(null);

let reading = 0;

/** The first page anew: other windows and runs have changed the list. */
export async function load(): Promise<void> {
  const number = ++reading;
  isLoading.value = true;
  try {
    const page = await api.get("/playground/sessions", { query: { limit: PAGE } });
    if (number !== reading) return;
    batch(() => {
      sessions.value = page.sessions;
      next.value = page.next_cursor;
      unreadable.value = page.unreadable.length;
      error.value = null;
    });
  } catch (problem) {
    if (number === reading) error.value = problem;
  } finally {
    if (number === reading) isLoading.value = false;
  }
}

export async function loadMore(): Promise<void> {
  const cursor = next.peek();
  if (cursor === null || isLoading.peek()) return;
  const number = reading;
  isLoading.value = true;
  try {
    const page = await api.get("/playground/sessions", { query: { limit: PAGE, cursor } });
    if (number !== reading) return;
    batch(() => {
      const known = new Set((sessions.peek() ?? []).map((each) => each.session_id));
      sessions.value = [...(sessions.peek() ?? []), ...page.sessions.filter((each) => !known.has(each.session_id))];
      next.value = page.next_cursor;
      unreadable.value += page.unreadable.length;
      error.value = null;
    });
  } catch (problem) {
    if (number === reading) error.value = problem;
  } finally {
    if (number === reading) isLoading.value = false;
  }
}

/** All pages, as far as a search goes. `isWanted` says whether somebody still searches. */
export async function loadAll(isWanted: () => boolean): Promise<void> {
  for (let page = 0; page < MAX_SEARCH_PAGES && next.peek() !== null && isWanted(); page += 1) {
    await loadMore();
    if (error.peek() !== null) return;
  }
}

/** Words of the search in any order, in the title or the package's name. */
export function matches(about: { title: string; package: string | null }, search: string): boolean {
  const text = `${about.title} ${packageName(about)}`.toLocaleLowerCase();
  return search.toLocaleLowerCase().split(/\s+/).every((word) => text.includes(word));
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
    sessions.value = sessions.peek()?.filter((each) => each.session_id !== about.session_id) ?? null;
  };
  const failed = (problem: unknown) => {
    deleteError.value = {
      error: problem,
      retry: () => {
        deleteError.value = null;
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
