import { useEffect, useState } from "preact/hooks";
import { ErrorNotice } from "../../components/ErrorNotice";
import { Share } from "../../components/Share";
import { Thread } from "../../components/Thread";
import { getSession, promptName, titleOf, turnsOf, type Session, type Turn } from "../../lib/conversation";
import { counted, credits, day, modelName } from "../../lib/format";
import { links, navigate } from "../../router";
import { remove } from "./store";

export function Conversation({ id }: { id: string }) {
  const [session, setSession] = useState<Session | null>(null);
  const [turns, setTurns] = useState<readonly Turn[]>([]);
  const [error, setError] = useState<unknown>(null);
  const [attempt, setAttempt] = useState(0);
  useEffect(() => {
    let current = true;
    setError(null);
    getSession(id).then(
      (found) => {
        if (!current) return;
        setSession(found);
        setTurns(turnsOf(found.conversation));
      },
      (problem: unknown) => current && setError(problem),
    );
    return () => {
      current = false;
    };
  }, [id, attempt]);

  const back = (
    <p class="back">
      <a href={links.conversations()}>All conversations</a>
    </p>
  );
  if (error !== null) {
    return (
      <>
        {back}
        <h1>Conversation</h1>
        <ErrorNotice error={error} onRetry={() => setAttempt(attempt + 1)} onNew={() => navigate("/")} />
      </>
    );
  }
  if (session === null) {
    return (
      <>
        {back}
        <h1>Conversation</h1>
        <p class="loading">Loading…</p>
      </>
    );
  }
  const isWithoutPackage = session.use_no_prompt && session.comparison != null;
  const variables = Object.entries(session.variables ?? {});
  return (
    <div class="reading">
      {back}
      <h1 dir="auto">{titleOf(session)}</h1>
      <p class="facts">
        {session.package && !isWithoutPackage ? (
          <a href={links.try({ packageId: session.package })}>{promptName(session)}</a>
        ) : (
          <span>{promptName(session)}</span>
        )}
        {session.package_version && !isWithoutPackage && <span>version {session.package_version}</span>}
        <span>{modelName(session.model)}</span>
        <span>{counted(session.turns, "turn")}</span>
        <span>{credits(session.credits_spent)}</span>
        <time dateTime={session.created_at}>{day(session.created_at)}</time>
        {session.comparison && <span class="state">From a comparison</span>}
      </p>
      {variables.length > 0 && (
        <dl class="variables-given">
          {variables.map(([name, text]) => (
            <div key={name}>
              <dt>{name.replaceAll("_", " ")}</dt>
              <dd dir="auto">{text}</dd>
            </div>
          ))}
        </dl>
      )}
      <div class="actions">
        <a class="button button-main" href={links.try({ sessionId: session.session_id })}>
          Continue
        </a>
        <button
          type="button"
          class="button"
          onClick={() => {
            remove(session);
            navigate(links.conversations());
          }}
        >
          Delete
        </button>
      </div>
      <Share
        key={session.session_id}
        session={session}
        turns={turns}
        onChange={(changed) => setSession((now) => (now?.session_id === changed.session_id ? changed : now))}
      />
      <Thread turns={turns} />
    </div>
  );
}
