// Type-checked against what openapi-typescript makes of the description; never run.
import type { components, operations } from "./api";

type Body = operations["runPackage"]["requestBody"]["content"]["application/json"];
type Answer = operations["runPackage"]["responses"][200]["content"]["application/json"];
type Failures = operations["runPackage"]["responses"];
type Failure = {
  [Status in Exclude<keyof Failures, 200>]: Failures[Status]["content"]["application/json"];
}[Exclude<keyof Failures, 200>];

export const body: Body = { package_id: "@playground/code-reviewer", input: "x = 1", model: "opus", effort: null };

// @ts-expect-error -- no such model
export const wrong: Body = { ...body, model: "gpt" };

export function cost(answer: Answer): number {
  return answer.credits_spent;
}

export function advice(failure: Failure): string {
  switch (failure.error) {
    case "insufficient_credits":
      return `${failure.required_credits - failure.available_credits} more credits: ${failure.purchase_url}`;
    case "validation_error":
      return `${failure.field}: ${failure.expected}`;
    case "run_in_progress":
      return `again in ${failure.retry_after} s: ${failure.run_id}`;
    default:
      return failure.message;
  }
}

// @ts-expect-error -- an error that no run has
export const foreign: Failure["error"] = "share_blocked";

export function kinds(line: components["schemas"]["Transaction"]): boolean {
  return line.type === "purchase" && line.created_at < "2027";
}

type StreamEvent = operations["streamRun"]["responses"][200]["content"]["text/event-stream"];

export function text(event: StreamEvent): string {
  return event.event === "delta" ? `${event.id} ${event.data}` : event.event;
}
