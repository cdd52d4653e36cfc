/** A comparison as columns: what the events of its stream make of them. */

import { ApiError } from "../../api/client";
import { counted, credits } from "../../lib/format";

export interface Failure {
  error: string;
  message: string;
  [fact: string]: unknown;
}

export interface Answer {
  run_id: string;
  session_id: string;
  response: string;
  credits_spent: number;
  stop_reason: string;
  tokens_used: number;
  duration_ms: number;
  model: string;
}

export interface Column {
  /**
   * cut: the stream broke off before the end of this run, which goes on and is being read on. lost: it cannot be read at
   * present. Whether it has ended is not known then, so it is not to be asked anew, which would be charged again.
   */
  state: "waiting" | "writing" | "done" | "failed" | "cut" | "lost";
  text: string;
  ceiling: number | null;
  runId: string | null;
  sessionId: string | null;
  /** The id of the last piece: where to read on. */
  lastId: string | null;
  answer: Answer | null;
  failure: Failure | null;
}

/** What went wrong, as the body of an error. */
export function failureOf(error: unknown): Failure {
  if (error instanceof ApiError) return { ...error.facts, error: error.code, message: error.message };
  return { error: "unreachable", message: error instanceof Error ? error.message : "Something went wrong." };
}

export interface ServerEvent {
  event: string;
  id?: string | null;
  data: unknown;
}

export function newColumns(count: number): Column[] {
  return Array.from({ length: count }, () => ({
    state: "waiting",
    text: "",
    ceiling: null,
    runId: null,
    sessionId: null,
    lastId: null,
    answer: null,
    failure: null,
  }));
}

/** The columns after an event. One without the place of a column, and what is unknown, changes none; what is over stays. */
export function applied(columns: readonly Column[], event: ServerEvent): Column[] {
  const data = dataOf(event);
  return columns.map((column, place) => (place === data["index"] && !isOver(column) ? next(column, event, data) : column));
}

export function dataOf(event: ServerEvent): Record<string, unknown> {
  return isRecord(event.data) ? event.data : {};
}

/** One column after an event of its own stream, which names no place. */
export function next(column: Column, event: ServerEvent, data: Record<string, unknown>): Column {
  switch (event.event) {
    case "run":
      return {
        ...column,
        state: column.text ? "writing" : "waiting",
        runId: text(data.run_id),
        sessionId: text(data.session_id),
        ceiling: typeof data.ceiling === "number" ? data.ceiling : column.ceiling,
      };
    case "delta":
      return {
        ...column,
        state: "writing",
        text: column.text + (text(data.text) ?? ""),
        lastId: event.id ?? column.lastId,
      };
    case "done": {
      const answer = data as unknown as Answer;
      return { ...column, state: "done", text: answer.response, runId: answer.run_id, answer, failure: null };
    }
    case "error":
      // The run goes on elsewhere: it is read on later.
      if (data["error"] === "run_in_progress") return { ...column, state: "cut", runId: text(data["run_id"]) ?? column.runId };
      return { ...column, state: "failed", failure: data as unknown as Failure };
    default:
      return column;
  }
}

export function isOver(column: Column): boolean {
  return column.state === "done" || column.state === "failed";
}

/** The stream has ended: what has not is to be read on. */
export function brokenOff(columns: readonly Column[]): Column[] {
  return columns.map((column) => (isOver(column) ? column : { ...column, state: "cut" }));
}

/** All events come again, from the beginning. */
export function begunAnew(columns: readonly Column[]): Column[] {
  return columns.map((column) => (isOver(column) ? column : { ...column, text: "", lastId: null }));
}

/** It cannot be read on at present. */
export function lost(columns: readonly Column[]): Column[] {
  return columns.map((column) => (isOver(column) ? column : { ...column, state: "lost" }));
}

export function spent(columns: readonly Column[]): number {
  return columns.reduce((sum, column) => sum + (column.answer?.credits_spent ?? 0), 0);
}

/** What became of all of them, in a sentence. */
export function outcome(columns: readonly Column[]): string {
  const open = columns.filter((column) => column.state === "lost").length;
  const failures = columns.filter((column) => column.state === "failed").length;
  const total = `Together: ${credits(spent(columns))}${open > 0 ? " so far" : ""}.`;
  if (open > 0) return `${counted(open, "column")} could not be read to the end. ${total}`;
  if (failures > 0) return `${counted(failures, "column has", "columns have")} no answer. ${total}`;
  return `All answers are there. ${total}`;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function text(value: unknown): string | null {
  return typeof value === "string" ? value : null;
}
