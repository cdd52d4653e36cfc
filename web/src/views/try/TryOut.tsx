import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { announce } from "../../components/announcer";
import { ErrorNotice } from "../../components/ErrorNotice";
import { Markdown } from "../../components/Markdown";
import { Question } from "../../components/Question";
import { api, errorOf, NetworkError, type Schemas } from "../../api/client";
import { site } from "../../config";
import { problemOf } from "../../lib/errors";
import { isExpired, isSignedIn } from "../../session/token";
import * as store from "./store";

interface Tried {
  packageId: string;
  question: string;
  answer: Schemas["AnonymousRunAnswer"] | null;
  error: unknown;
}

/** The run without a login that this page has asked for. It is stored nowhere. */
const tried = signal<Tried | null>(null);

const isAsking = () => tried.value !== null && tried.value.answer === null && tried.value.error === null;

/** A package's own text can be tried without a login; what its variables are for would stay in it as it is. */
export function isTryOutOffered(): boolean {
  const chosen = store.details.value;
  if (!site.value.anonymous_runs || isSignedIn.value || isExpired.value || tried.value?.answer) return false;
  return store.session.value === null && chosen !== null && chosen.variables.length === 0;
}

/** Whether what is shown says already that one has to sign in. */
export function asksToSignIn(): boolean {
  const now = tried.value;
  if (now === null || now.packageId !== store.details.value?.id) return false;
  return now.answer === null && now.error !== null && problemOf(now.error).steps.includes("sign-in");
}

async function tryOut(): Promise<void> {
  const chosen = store.details.peek();
  if (chosen === null || isAsking()) return;
  const asked = { packageId: chosen.id, question: store.draft.peek().input };
  tried.value = { ...asked, answer: null, error: null };
  try {
    const body = { package_id: chosen.id, input: asked.question };
    const answer = await api.post("/playground/anonymous-run", { body });
    tried.value = { ...asked, answer, error: null };
    announce("The answer is complete.");
  } catch (error) {
    tried.value = { ...asked, answer: null, error: error instanceof NetworkError ? lost() : error };
  }
}

/** There is no key to repeat it with. */
export function lost(): unknown {
  return errorOf(0, { message: "The connection broke. If your text had arrived by then, this was today's try without an account." });
}

/** `check` says whether there is something to run, and complains otherwise. */
export function TryOut({ check }: { check: () => boolean }) {
  return (
    <div class="notice">
      <p class="notice-title">Try it without an account</p>
      <p>
        Once a day: a short answer by Claude Haiku. It costs nothing, is not stored, and can be neither continued nor shared.
      </p>
      <div class="actions">
        <button type="button" class="button button-main" aria-disabled={isAsking()} onClick={() => !isAsking() && check() && void tryOut()}>
          {isAsking() ? "Asking Claude…" : "Try it"}
        </button>
      </div>
    </div>
  );
}

/** What came of it, above the text that was sent. */
export function TriedOut({ check }: { check: () => boolean }) {
  const now = tried.value;
  const article = useRef<HTMLElement>(null);
  const isDone = now?.answer != null;
  useEffect(() => {
    if (!isDone) return;
    article.current?.focus({ preventScroll: true }); // the button is gone
    article.current?.scrollIntoView({ block: "nearest" });
  }, [isDone]);
  if (now === null || now.packageId !== store.details.value?.id) return null;
  if (now.error !== null) return <ErrorNotice ofRun error={now.error} onRetry={() => check() && void tryOut()} />;
  return (
    <article class="turn" ref={article} tabIndex={-1} aria-busy={!isDone} aria-label="A try without an account">
      <Question text={now.question} />
      <div class="answer">
        <h2 class="unseen">{isDone ? "Claude answered" : "Claude is answering"}</h2>
        {now.answer ? (
          <>
            <Markdown text={now.answer.response} />
            <p class="notice">
              This was today's try without an account; it is not stored. With an account you can go on, compare and share.
            </p>
          </>
        ) : (
          <p class="progress">
            <span class="pulse" aria-hidden="true" />
            Claude is answering…
          </p>
        )}
      </div>
    </article>
  );
}
