import { api, ApiError, type Schemas } from "../../api/client";
import { useAsked } from "../../lib/asked";
import { count, credits } from "../../lib/format";
import { problemOf } from "../../lib/errors";
import { links } from "../../router";
import { balance } from "../../session/balance";
import { isSignedIn } from "../../session/token";
import * as store from "./store";

const WAIT_MS = 400; // after the last key

const ask = (wanted: string, signal: AbortSignal): Promise<Schemas["EstimateAnswer"]> =>
  api.post("/playground/estimate", { body: (JSON.parse(wanted) as { body: Schemas["RunBody"] }).body, signal });

/** "1 credit, at most 2; you have 5": of what is written and chosen now, or that it is being worked out. */
export function Price() {
  const body = store.request.value;
  const canBeAsked =
    body !== null &&
    body.input.trim() !== "" &&
    store.inputLength.value <= store.MAX_INPUT_CHARACTERS &&
    store.missingVariables.value.length === 0 &&
    store.promptLack.value === null &&
    isSignedIn.value;
  const isRunning = store.live.value !== null;
  // Also what is not in the body decides: earlier turns are sent along, and what one has says what one can afford.
  const wanted = { body, turns: store.turns.value.length, available: balance.value?.available };
  const price = useAsked(canBeAsked && !isRunning ? JSON.stringify(wanted) : null, ask, WAIT_MS);

  if (price.state === "none") return <p class="price hint">{isRunning ? "" : "The price is shown here before you run it."}</p>;
  if (price.state === "failed") {
    const { error } = price;
    // What the run would be refused for is said now; what only the estimate has met is not worth a word.
    const isRefused = error instanceof ApiError && error.status < 429;
    if (!isRefused) {
      return (
        <p class="price problem">
          The price is not known at present.{" "}
          <button type="button" class="link" onClick={price.again}>
            Ask again
          </button>
        </p>
      );
    }
    const problem = problemOf(error);
    return (
      <p class="price problem">
        {problem.title}. {problem.text} {problem.steps.includes("plan") && <a href={links.subscription()}>See PRPM+</a>}
      </p>
    );
  }
  const answer = price.value;
  if (answer === null) return <p class="price hint">Working out the price…</p>;
  return (
    <p class="price" aria-live="polite">
      {sentence(answer)}
      {!answer.can_afford && (
        <>
          {" "}
          <a href={links.credits()}>Buy credits</a>
        </>
      )}
      {answer.can_afford && answer.affordable_max_tokens < answer.max_tokens && (
        <span class="hint"> Your credits cover an answer of at most {count(answer.affordable_max_tokens)} tokens.</span>
      )}
      {answer.can_afford && answer.turns_omitted > 0 && (
        <span class="hint"> The first {count(answer.turns_omitted)} turns of this conversation no longer fit.</span>
      )}
    </p>
  );
}

export function sentence(answer: Pick<Schemas["EstimateAnswer"], "estimated_credits" | "max_credits" | "available" | "approximate">): string {
  const { estimated_credits: usual, max_credits: most, available, approximate } = answer;
  const price = `${approximate ? "About " : ""}${credits(usual)}${most > usual ? `, at most ${count(most)}` : ""}`;
  return `${price}; you have ${count(available)}.`;
}
