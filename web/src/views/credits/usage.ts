/** What one's runs came to, by day and by model and package. */
import { api, type Schemas } from "../../api/client";

export type Row = Pick<Schemas["UsageDay"], "date" | "model" | "package" | "runs" | "failed_runs" | "credits" | "tokens">;
export type Measure = "credits" | "runs" | "tokens";
export type Counted = Record<Measure, number> & { failed: number };

export const SPANS = [7, 30, 90] as const; // days
const MAX_PAGES = 20; // of 5,000 rows
const DAY_MS = 86_400_000;

export interface Usage {
  total: Counted;
  /** Every day (UTC) from the first to the last, also those without runs. */
  days: (Counted & { date: string })[];
  /** Those that cost most first. */
  kinds: (Counted & { model: string; package: string | null })[];
  /** Rows are missing: there were too many pages. */
  isCut: boolean;
}

export async function readUsage(days: number, signal: AbortSignal): Promise<Usage> {
  const rows: Row[] = [];
  let cursor: string | null = null;
  let from = "";
  let to = "";
  for (let page = 0; page < MAX_PAGES; page += 1) {
    const query: { days: number; cursor?: string } = { days, ...(cursor !== null && { cursor }) };
    const answer: Schemas["UsageAnswer"] = await api.get("/playground/analytics/usage", { query, signal });
    rows.push(...answer.days);
    from ||= answer.from_date;
    to = answer.to_date;
    cursor = answer.next_cursor;
    if (cursor === null) break;
  }
  return usageOf(rows, from, to, cursor !== null);
}

export function usageOf(rows: readonly Row[], from: string, to: string, isCut = false): Usage {
  const total = none();
  const days = new Map(datesFrom(from, to).map((date) => [date, { date, ...none() }]));
  const kinds = new Map<string, Usage["kinds"][number]>();
  for (const row of rows) {
    const kind = JSON.stringify([row.model, row.package]);
    const day = days.get(row.date) ?? { date: row.date, ...none() };
    const ofKind = kinds.get(kind) ?? { model: row.model, package: row.package, ...none() };
    days.set(row.date, day);
    kinds.set(kind, ofKind);
    for (const sum of [total, day, ofKind]) {
      sum.credits += row.credits;
      sum.runs += row.runs;
      sum.tokens += row.tokens;
      sum.failed += row.failed_runs;
    }
  }
  return {
    total,
    days: [...days.values()].sort((one, other) => (one.date < other.date ? -1 : 1)),
    kinds: [...kinds.values()].sort((one, other) => other.credits - one.credits || other.runs - one.runs),
    isCut,
  };
}

const none = (): Counted => ({ credits: 0, runs: 0, tokens: 0, failed: 0 });

function datesFrom(from: string, to: string): string[] {
  const first = Date.parse(from);
  const last = Date.parse(to);
  const dates: string[] = [];
  for (let at = first; at <= last && dates.length < 400; at += DAY_MS) dates.push(new Date(at).toISOString().slice(0, 10));
  return dates;
}

export interface Bar {
  x: number;
  y: number;
  width: number;
  height: number;
}

/** A bar for each day. One that is not zero can be seen, however small. */
export function bars(days: readonly Record<Measure, number>[], measure: Measure, width: number, height: number): Bar[] {
  const top = days.reduce((most, each) => Math.max(most, each[measure]), 1);
  const step = width / Math.max(1, days.length);
  return days.map((each, at) => {
    const tall = each[measure] === 0 ? 0 : Math.max(2, (each[measure] / top) * height);
    return { x: tenth(at * step + step * 0.1), y: tenth(height - tall), width: tenth(step * 0.8), height: tenth(tall) };
  });
}

const tenth = (value: number): number => Math.round(value * 10) / 10;
