/** A comparison as columns: what the events of its stream make of them. */

import { ApiError } from "../../api/client";

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
  /** cut: the stream broke off before the end of this run, which goes on. */
  state: "waiting" | "writing" | "done" | "failed" | "cut";
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

/** The columns after an event. One without the place of a column, and what is unknown, changes none. */
export function applied(columns: readonly Column[], event: ServerEvent): Column[] {
  const data = isRecord(event.data) ? event.data : {};
  const index = data.index;
  return columns.map((column, place) => (place === index ? next(column, event, data) : column));
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
      return { ...column, state: "done", text: answer.response, answer, failure: null };
    }
    case "error":
      return { ...column, state: "failed", failure: data as unknown as Failure };
    default:
      return column;
  }
}

export function isOver(column: Column): boolean {
  return column.state === "done" || column.state === "failed";
}

/** The stream has ended: what has not is to be read on by itself, or was never begun. */
export function brokenOff(columns: readonly Column[]): Column[] {
  return columns.map((column) => (isOver(column) ? column : { ...column, state: "cut" }));
}

export function failed(columns: readonly Column[], failure: Failure): Column[] {
  return columns.map((column) => (isOver(column) ? column : { ...column, state: "failed", failure }));
}

export function spent(columns: readonly Column[]): number {
  return columns.reduce((sum, column) => sum + (column.answer?.credits_spent ?? 0), 0);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function text(value: unknown): string | null {
  return typeof value === "string" ? value : null;
}
