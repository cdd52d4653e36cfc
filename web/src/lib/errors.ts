/** What went wrong, in the words of the person who reads it, and the next step. */
import { ApiError, NetworkError } from "../api/client";
import { count, credits, day, duration } from "./format";

export type Step = "buy" | "plan" | "sign-in" | "shorten" | "retry" | "new" | "reload";

export interface Problem {
  title: string;
  text: string;
  /** What can be done about it, the best first. */
  steps: readonly Step[];
  /** Seconds until a retry makes sense. */
  waitSeconds: number | null;
}

const NOT_CHARGED = "You were not charged.";

const REASONS: Readonly<Record<string, string>> = {
  refused: "Claude declined to answer this.",
  empty: "Claude answered with nothing.",
  no_text: "Claude used all its tokens for thinking and wrote no text. A larger maximum, or a lower effort, leaves room for an answer.",
  cut_off: "Claude's answer broke off.",
  invalid_usage: "Claude's answer came with numbers that cannot be right.",
};

/** `ofRun`: what failed may have begun a run. */
export function problemOf(error: unknown, ofRun = false): Problem {
  if (error instanceof ApiError) return problemOfApi(error);
  if (error instanceof NetworkError) {
    return {
      title: "The playground cannot be reached",
      text: `Check your connection, then try again.${ofRun ? " A run that has begun goes on without you, and is charged once." : ""}`,
      steps: ["retry"],
      waitSeconds: null,
    };
  }
  return { title: "The page has a fault", text: "Load it again. What you have written is kept.", steps: ["reload"], waitSeconds: null };
}

function problemOfApi(error: ApiError): Problem {
  const { facts, retryAfter: waitSeconds, message } = error;
  const column = typeof facts["variant"] === "number" ? `Column ${facts["variant"] + 1}: ` : "";
  const problem = (title: string, text: string, ...steps: Step[]): Problem => ({ title: column + title, text, steps, waitSeconds });
  switch (error.code) {
    case "insufficient_credits": {
      const required = Number(facts["required_credits"]);
      const available = Number(facts["available_credits"]);
      const reset = typeof facts["reset_at"] === "string" ? ` Your monthly credits come back on ${day(facts["reset_at"])}.` : "";
      const shorter = required > 1 ? " A smaller model, or a lower maximum of tokens, costs less." : "";
      return problem("Not enough credits", `This needs at least ${credits(required)}; you have ${count(available)}.${shorter}${reset}`, "buy");
    }
    case "unauthorized":
      return problem("You are signed out", "Sign in again to go on. What you have written is kept.", "sign-in");
    case "not_entitled":
    case "verified_author_required":
      if (facts["login_required"] === true) return problem("Sign in to do this", message, "sign-in");
      return problem("Your account cannot run prompts of its own", "They are for PRPM+ and for verified authors. With PRPM+ you can run this at once.", "plan");
    case "context_too_long":
    case "request_too_large":
      return problem("This is too long", "Shorten your text, or start a new conversation: earlier turns are sent along.", "shorten", "new");
    case "too_many_runs":
      return problem("Too many runs at the same time", `${count(Number(facts["limit"]))} of your runs are being made. Wait until one of them has ended.`, "retry");
    case "rate_limited":
      if (facts["login_required"] === true) {
        return problem("You have had today's try without an account", "Sign in to go on, or come back tomorrow (UTC).", "sign-in");
      }
      return problem("That was a bit fast", `${facts["limit"] ? `You can start ${count(Number(facts["limit"]))} a minute.` : "Many people are here at the moment."} ${whenAgain(waitSeconds)}`, "retry");
    case "too_many_failures":
      return problem("Many of your runs have failed lately", `They cost you nothing, but they cost us. ${whenAgain(waitSeconds)}`, "retry");
    case "model_overloaded":
      return problem("Claude is busy", `${NOT_CHARGED} ${whenAgain(waitSeconds)}`, "retry");
    case "model_timed_out":
      return problem("Claude took too long", `${NOT_CHARGED} A lower effort, or a lower maximum of tokens, is faster.`, "retry");
    case "model_failed":
      return problem("There is no answer", `${REASONS[String(facts["reason"])] ?? "Claude could not answer."} ${NOT_CHARGED}`, "retry", "shorten");
    case "run_cancelled":
      return problem("Stopped", `Nothing had been written yet. ${NOT_CHARGED}`);
    case "run_in_progress":
      return problem("Your run is still being made", `It goes on, and is charged once. ${whenAgain(waitSeconds)}`, "retry");
    case "session_conflict":
      return error.runId === null
        ? problem("This conversation has changed", `${message} It was used in another window, or deleted.`, "reload", "new")
        : problem("This conversation has changed", `It was used in another window, or deleted, while this was being answered. ${NOT_CHARGED}`, "reload", "new");
    case "session_not_found":
      return problem("This conversation is gone", "It was deleted, or it is somebody else's.", "new");
    case "package_not_found":
      return problem("There is no such package", "It may have been withdrawn. Choose another one.", "new");
    case "share_not_found":
      return problem("There is nothing at this link", "It was withdrawn, has expired, or was not copied completely.");
    case "account_paused":
      return problem("Your account is paused", "No new runs can be started. Please contact support.");
    case "runs_paused":
      return problem("Runs are paused", `We are working on it. ${whenAgain(waitSeconds)}`, "retry");
    case "paused":
      if (facts["login_required"] === true) {
        return problem("Today's tries without an account are used up", "Sign in to go on, or come back tomorrow (UTC).", "sign-in");
      }
      return problem("Free runs are used up for today", `They are back at midnight UTC. With credits that you buy you can go on now.`, "buy", "retry");
    case "idempotency_conflict":
      return problem("This was sent before in another form", "Try again: it becomes a new run.", "retry");
    case "store_unavailable":
    case "gateway_timed_out":
    case "internal_error":
      return problem("The playground has a problem", `It is ours, not yours. ${whenAgain(waitSeconds)}`, "retry");
    default:
      if (error.status >= 500) return problem("The playground has a problem", `It is ours, not yours. ${whenAgain(waitSeconds)}`, "retry");
      return problem("That did not work", message, ...(error.status === 429 ? (["retry"] as const) : []));
  }
}

function whenAgain(seconds: number | null): string {
  return seconds === null || seconds < 2 ? "Try again." : `Try again in ${duration(seconds)}.`;
}
