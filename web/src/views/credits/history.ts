/** What the lines of a history are called, and the line that their balance draws. */
import { modelName } from "../../lib/format";

export const TYPES: Readonly<Record<string, string>> = {
  spend: "Runs",
  purchase: "Purchases",
  monthly: "Monthly credits",
  signup: "Welcome credits",
  rollover: "Rolled over",
  expire: "Expired",
  refund: "Refunds",
  dispute: "Disputes",
  bonus: "Bonuses",
  admin: "Corrections",
  debt: "Debt",
};

/** One line: what it is about is its description, if that says more. */
export function typeName(type: string): string {
  return SINGULAR[type] ?? TYPES[type] ?? type;
}

const SINGULAR: Readonly<Record<string, string>> = {
  spend: "Run",
  purchase: "Purchase",
  refund: "Refund",
  dispute: "Dispute",
  bonus: "Bonus",
  admin: "Correction",
};

/** What was run: its package or prompt, and the model. null for lines of other things. */
export function runOf(line: {
  package: string | null;
  model: string | null;
  custom_prompt: boolean;
  use_no_prompt: boolean;
}): string | null {
  const what = line.custom_prompt ? "your own prompt" : line.package;
  if (what === null) return null;
  return [what, ...(line.use_no_prompt ? ["without its prompt"] : []), ...(line.model === null ? [] : [modelName(line.model)])].join(", ");
}

export interface Point {
  at: number; // ms since 1970
  balance: number;
}

export interface Balanced {
  seq: number;
  amount: number;
  balance_after: number;
  created_at: string;
}

/** The balance over time, oldest first, ending now. `entries`: newest first, as the API lists them. */
export function balanceOverTime(entries: readonly Balanced[], now: number): Point[] {
  const oldest = entries[entries.length - 1];
  if (!oldest) return [];
  const points = [{ at: Date.parse(oldest.created_at), balance: oldest.balance_after - oldest.amount }];
  let at = Number.NEGATIVE_INFINITY;
  for (const entry of [...entries].reverse()) {
    at = Math.max(at, Date.parse(entry.created_at)); // clocks of several servers differ; the order of entries is certain
    points.push({ at, balance: entry.balance_after });
  }
  const last = points[points.length - 1] as Point;
  points.push({ at: Math.max(now, last.at), balance: last.balance });
  return points;
}

/** At least 1: what the picture is as high as. Histories may be too long for the arguments of a call. */
export function highest(points: readonly Point[]): number {
  return points.reduce((most, point) => Math.max(most, point.balance), 1);
}

/** An SVG path of steps: a balance holds until it changes. */
export function stepPath(points: readonly Point[], width: number, height: number): string {
  const first = points[0];
  const last = points[points.length - 1];
  if (!first || !last) return "";
  const span = last.at - first.at || 1;
  const top = highest(points);
  const x = (point: Point) => round(((point.at - first.at) / span) * width);
  const y = (point: Point) => round(height - (Math.max(0, point.balance) / top) * height);
  let path = `M${x(first)} ${y(first)}`;
  for (const point of points.slice(1)) path += `H${x(point)}V${y(point)}`;
  return path;
}

const round = (value: number): number => Math.round(value * 10) / 10;
