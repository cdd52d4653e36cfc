import { useEffect, useState } from "preact/hooks";
import { api, ApiError, type Schemas } from "../../api/client";
import { count, credits } from "../../lib/format";
import { problemOf } from "../../lib/errors";
import { links } from "../../router";
import { isSignedIn } from "../../session/token";
import * as store from "./store";

const WAIT_MS = 400; // after the last key

/** "1 credit, at most 2; you have 5", asked again while something changes. */
export function Price() {
  const body = store.request.value;
  const asked = body === null || body.input.trim() === "" ? null : JSON.stringify(body);
  const canBeAsked =
    asked !== null && store.inputLength.value <= store.MAX_INPUT_CHARACTERS && store.missingVariables.value.length === 0 && store.promptLack.value === null;
  const [price, setPrice] = useState<{ of: string; answer: Schemas["EstimateAnswer"] } | null>(null);
  const [error, setError] = useState<unknown>(null);
  const isRunning = store.live.value !== null;

  useEffect(() => {
    setError(null);
    if (!canBeAsked || asked === null || isRunning || !isSignedIn.peek()) return;
    const abort = new AbortController();
    const timer = setTimeout(() => {
      api.post("/playground/estimate", { body: JSON.parse(asked), signal: abort.signal }).then(
        (answer) => setPrice({ of: asked, answer }),
        (problem: unknown) => !abort.signal.aborted && setError(problem),
      );
    }, WAIT_MS);
    return () => {
      clearTimeout(timer);
      abort.abort();
    };
  }, [asked, canBeAsked, isRunning]);

  if (isRunning || !canBeAsked) return <p class="price hint">{isRunning ? "" : "The price is shown here before you run it."}</p>;
  if (error !== null) {
    // What the run would be refused for is said now; what only the estimate has met is not worth a word.
    const isRefused = error instanceof ApiError && error.status < 429;
    if (!isRefused) return <p class="price problem">The price is not known at present.</p>;
    const problem = problemOf(error);
    return (
      <p class="price problem">
        {problem.title}. {problem.text} {problem.steps.includes("plan") && <a href={links.subscription()}>See PRPM+</a>}
      </p>
    );
  }
  if (price === null) return <p class="price hint">Working out the price…</p>;
  const { answer } = price;
  return (
    <p class={price.of === asked ? "price" : "price price-old"} aria-live="polite">
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
