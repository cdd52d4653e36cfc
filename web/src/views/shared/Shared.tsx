import { useEffect, useRef, useState } from "preact/hooks";
import { api, ApiError, newKey, type Schemas } from "../../api/client";
import { announce } from "../../components/announcer";
import { ErrorNotice } from "../../components/ErrorNotice";
import { SignIn } from "../../components/SignIn";
import { Thread } from "../../components/Thread";
import { getShared, packageName, titleOf, turnsOf, type Turn } from "../../lib/conversation";
import { counted, day, modelName } from "../../lib/format";
import { links, navigate } from "../../router";
import { isSignedIn } from "../../session/token";
import "./shared.css";

type Conversation = Schemas["SharedAnswer"];

/** A conversation that somebody has shared. It can be read without signing in. */
export function Shared({ token }: { token: string }) {
  const [shared, setShared] = useState<Conversation | null>(null);
  const [turns, setTurns] = useState<readonly Turn[]>([]);
  const [error, setError] = useState<unknown>(null);
  const [attempt, setAttempt] = useState(0);
  useNotForSearchEngines();
  useEffect(() => {
    let current = true;
    setError(null);
    getShared(token).then(
      (found) => {
        if (!current) return;
        setShared(found);
        setTurns(turnsOf(found.conversation));
        document.title = `${titleOf(found)} · PRPM+ Playground`;
      },
      (problem: unknown) => current && setError(problem),
    );
    return () => {
      current = false;
    };
  }, [token, attempt]);

  if (error !== null) {
    return (
      <>
        <h1>Shared conversation</h1>
        <ErrorNotice error={error} onRetry={() => setAttempt(attempt + 1)} />
        <p>
          <a href="/">Try a package yourself</a>
        </p>
      </>
    );
  }
  if (shared === null) {
    return (
      <>
        <h1>Shared conversation</h1>
        <p class="loading">Loading…</p>
      </>
    );
  }
  return (
    <div class="reading">
      <p class="hint">Shared by somebody else. Neither they nor the playground vouch for what it says.</p>
      <h1 dir="auto">{titleOf(shared)}</h1>
      <p class="facts">
        {shared.package ? (
          <a href={links.try({ packageId: shared.package })}>{shared.package}</a>
        ) : (
          <span>{packageName(shared)}</span>
        )}
        {shared.package_version && <span>version {shared.package_version}</span>}
        <span>{modelName(shared.model)}</span>
        <span>{counted(shared.turns, "turn")}</span>
        <span>shared on {day(shared.shared_at)}</span>
      </p>
      {shared.custom_prompt && (
        <details class="prompt">
          <summary>Read its prompt</summary>
          <pre tabIndex={0} dir="auto">
            {shared.custom_prompt}
          </pre>
        </details>
      )}
      <Thread turns={turns} />
      <Respond token={token} />
    </div>
  );
}

type Wish = "fork" | "vote" | "report";

function Respond({ token }: { token: string }) {
  const [key] = useState(newKey); // a second press of the button is the same copy
  const [wish, setWish] = useState<Wish | null>(null);
  const [vote, setVote] = useState<boolean | null>(null);
  const [comment, setComment] = useState("");
  const [sent, setSent] = useState(""); // the comment that the vote has
  const [reason, setReason] = useState("");
  const [done, setDone] = useState<string | null>(null);
  const [failed, setFailed] = useState<{ error: unknown; retry: () => void } | null>(null);
  const [isBusy, setBusy] = useState(false);
  const isActing = useRef(false);
  const isShown = useRef(true);
  const reportButton = useRef<HTMLButtonElement>(null);
  const reportText = useRef<HTMLTextAreaElement>(null);
  const signedIn = isSignedIn.value;
  useEffect(
    () => () => {
      isShown.current = false;
    },
    [],
  );

  /** One at a time: what is pressed while another one is on its way is not done. */
  const act = async (what: () => Promise<string | null>): Promise<void> => {
    if (isActing.current) return;
    isActing.current = true;
    setBusy(true);
    setFailed(null);
    setDone(null);
    try {
      const said = await what();
      setDone(said);
      if (said) announce(said);
    } catch (error) {
      setFailed({ error, retry: () => void act(what) });
    } finally {
      isActing.current = false;
      setBusy(false);
    }
  };
  const path = { token };
  const fork = () =>
    act(async () => {
      const copy = await api.post("/playground/shared/{token}/fork", { path, key });
      // Who has gone elsewhere meanwhile stays there; the copy is among their conversations.
      if (isShown.current) navigate(links.try({ sessionId: copy.session_id }));
      return null;
    });
  const say = (isHelpful: boolean, text: string) =>
    act(async () => {
      await api.post("/playground/shared/{token}/feedback", { path, body: { is_helpful: isHelpful, comment: text } });
      setVote(isHelpful);
      setSent(text);
      return text === "" ? "Your vote is counted." : "Your vote is counted, with your comment.";
    });
  const report = () =>
    act(async () => {
      await api.post("/playground/shared/{token}/report", { path, body: { reason: reason.trim() } });
      closeReport();
      setReason("");
      return "Reported. Somebody will look at it.";
    });
  const closeReport = () => {
    setWish(null);
    reportButton.current?.focus(); // the form is gone
  };
  const want = (next: Wish, then?: () => void) => {
    setWish(next);
    setFailed(null);
    setDone(null);
    if (signedIn || next === "vote") then?.();
  };

  // Who had to sign in first has pressed the button already.
  const wasSignedIn = useRef(signedIn);
  useEffect(() => {
    const isNew = signedIn && !wasSignedIn.current;
    wasSignedIn.current = signedIn;
    if (isNew && wish === "fork") void fork();
  }, [signedIn]);
  const isReporting = signedIn && wish === "report";
  useEffect(() => {
    if (isReporting) reportText.current?.focus();
  }, [isReporting]);

  return (
    <section class="respond" aria-label="What you can do with it">
      <div class="actions">
        <button type="button" class="button button-main" disabled={isBusy} onClick={() => want("fork", () => void fork())}>
          Continue in a copy of your own
        </button>
        <span class="votes" role="group" aria-label="Was it helpful?">
          <button type="button" class="button" aria-pressed={vote === true} disabled={isBusy} onClick={() => want("vote", () => void say(true, sent))}>
            Helpful
          </button>
          <button type="button" class="button" aria-pressed={vote === false} disabled={isBusy} onClick={() => want("vote", () => void say(false, sent))}>
            Not helpful
          </button>
        </span>
        <button type="button" class="button button-quiet" aria-expanded={wish === "report"} ref={reportButton} onClick={() => (wish === "report" ? setWish(null) : want("report"))}>
          Report it
        </button>
      </div>
      {wish !== null && wish !== "vote" && !signedIn && (
        <div class="notice">
          <p class="notice-title">{wish === "fork" ? "Sign in to continue in a copy" : "Sign in to report it"}</p>
          <SignIn />
        </div>
      )}
      {wish === "vote" && vote !== null && (
        <form
          class="comment"
          onSubmit={(event) => {
            event.preventDefault();
            if (comment.trim() !== sent) void say(vote, comment.trim());
          }}
        >
          <label>
            <span class="unseen">Comment</span>
            <input
              type="text"
              dir="auto"
              maxLength={1000}
              placeholder="Why? (if you like)"
              value={comment}
              onInput={(event) => setComment(event.currentTarget.value)}
            />
          </label>
          <button type="submit" class="button" disabled={isBusy}>
            Send
          </button>
        </form>
      )}
      {isReporting && (
        <form
          class="report"
          onSubmit={(event) => {
            event.preventDefault();
            if (reason.trim() !== "") void report();
          }}
        >
          <label class="field">
            What is wrong with it?
            <textarea ref={reportText} dir="auto" rows={3} maxLength={1000} required value={reason} onInput={(event) => setReason(event.currentTarget.value)} />
          </label>
          <div class="actions">
            <button type="submit" class="button button-danger" disabled={isBusy || reason.trim() === ""}>
              Report
            </button>
            <button type="button" class="button" onClick={closeReport}>
              Do not report
            </button>
          </div>
        </form>
      )}
      {done && <p class="notice">{done}</p>}
      {failed && (isOwn(failed.error) ? <p class="notice">This conversation is your own.</p> : <ErrorNotice error={failed.error} onRetry={failed.retry} />)}
    </section>
  );
}

function isOwn(error: unknown): boolean {
  return error instanceof ApiError && error.code === "own_share";
}

/** The header of the answer says so, too; this is for copies of the page. */
function useNotForSearchEngines(): void {
  useEffect(() => {
    const robots = document.createElement("meta");
    robots.name = "robots";
    robots.content = "noindex, nofollow";
    document.head.append(robots);
    return () => robots.remove();
  }, []);
}
