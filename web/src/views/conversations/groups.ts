/** Conversations of one comparison, together. */
import type { Listed } from "./store";

export type Entry = { kind: "one"; of: Listed } | { kind: "comparison"; id: string; columns: Listed[] };

/**
 * In the order of the list. A comparison stands where its newest conversation does, its columns in their own order; of one
 * column alone, as when the others are deleted or not found, there is nothing to put together.
 */
export function grouped(sessions: readonly Listed[]): Entry[] {
  const columns = new Map<string, Listed[]>();
  for (const each of sessions) {
    if (each.comparison) columns.set(each.comparison.id, [...(columns.get(each.comparison.id) ?? []), each]);
  }
  const entries: Entry[] = [];
  for (const each of sessions) {
    const id = each.comparison?.id;
    const together = id === undefined ? undefined : columns.get(id);
    if (id === undefined || together === undefined || together.length < 2) entries.push({ kind: "one", of: each });
    else if (together[0] === each) {
      const placed = [...together].sort((one, other) => (one.comparison?.index ?? 0) - (other.comparison?.index ?? 0));
      entries.push({ kind: "comparison", id, columns: placed });
    }
  }
  return entries;
}
