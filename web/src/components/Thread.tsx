import type { Schemas } from "../api/client";
import { config } from "../config";
import { curl } from "../lib/copies";
import type { Turn } from "../lib/conversation";
import { counted, credits } from "../lib/format";
import { Copy, CopyAnswer } from "./Copy";
import { findings, Marked, type Finding } from "./findings";
import { Markdown } from "./Markdown";
import { Question } from "./Question";
import { Rate } from "./Rate";

/** The turns of a conversation. Where the secret scan has found something, the text is shown as it is, with marks. */
export function Thread({ turns }: { turns: readonly Turn[] }) {
  const found = findings.value;
  return (
    <>
      {turns.map((turn, index) => {
        const here = found.filter((each) => each.turn === index + 1);
        return <TurnView key={turn.id} turn={turn} number={index + 1} found={here} />;
      })}
    </>
  );
}

function TurnView({ turn, number, found }: { turn: Turn; number: number; found: readonly Finding[] }) {
  const asked = found.filter((each) => each.role === "user");
  const answered = found.filter((each) => each.role === "assistant");
  return (
    <article class="turn" id={`turn-${number}`} aria-label={`Turn ${number}`} tabIndex={-1}>
      <Question text={turn.question}>{asked.length > 0 && <Marked text={turn.question} found={asked} />}</Question>
      <div class="answer">
        <h2 class="unseen">Claude answered</h2>
        {turn.unreadable ? (
          <p class="problem">This turn is damaged and cannot be shown.</p>
        ) : answered.length > 0 ? (
          <p class="markdown-plain">
            <Marked text={turn.answer} found={answered} />
          </p>
        ) : (
          <Markdown text={turn.answer} />
        )}
        {turn.run ? <Outcome answer={turn.run.answer} /> : turn.earlier && <EarlierOutcome run={turn.earlier} />}
        {!turn.unreadable && (
          <div class="actions">
            <CopyAnswer text={turn.answer} />
            {turn.run && (
              <Copy
                name="Copy as curl"
                text={async () => curl(new URL((await config()).api, location.href).href, turn.run?.body ?? { package_id: "", input: "" })}
              />
            )}
          </div>
        )}
        {turn.earlier ? (
          <Rate key={turn.earlier.run_id} runId={turn.earlier.run_id} given={turn.earlier.feedback} />
        ) : (
          turn.run && <Rate key={turn.run.id} runId={turn.run.id} />
        )}
      </div>
    </article>
  );
}

const ENDS: Readonly<Record<string, string>> = {
  cancelled: "You stopped it. What was written by then is kept and paid for.",
  max_tokens: "It ended at its maximum of tokens. Ask to go on, or raise the maximum.",
  refusal: "Claude declined to go on here.",
  model_context_window_exceeded: "It ended because the conversation is as long as Claude can read.",
};

function EarlierOutcome({ run }: { run: Schemas["ExchangeRun"] }) {
  const end = run.stop_reason !== null && ENDS[run.stop_reason];
  return (
    <>
      {end && <p class="notice">{end}</p>}
      {run.credits_spent !== null && (
        <p class="facts">
          <span>{credits(run.credits_spent)}</span>
        </p>
      )}
    </>
  );
}

function Outcome({ answer }: { answer: Schemas["RunAnswer"] }) {
  const end = ENDS[answer.stop_reason];
  return (
    <>
      {end && <p class="notice">{end}</p>}
      {answer.max_tokens_reduced && (
        <p class="notice">Your credits covered an answer of at most {counted(answer.max_tokens, "token")}, so that was the maximum.</p>
      )}
      {answer.turns_omitted > 0 && (
        <p class="notice">{answer.turns_omitted === 1 ? "The first turn no longer fits and" : `The first ${counted(answer.turns_omitted, "turn")} no longer fit and`} {answer.turns_omitted === 1 ? "was" : "were"} not sent.</p>
      )}
      <p class="facts">
        <span>{credits(answer.credits_spent)}</span>
        <span>{counted(answer.tokens_used, "token")}</span>
        <span>{(answer.duration_ms / 1000).toFixed(1)} s</span>
        <span>{answer.model}</span>
      </p>
    </>
  );
}
