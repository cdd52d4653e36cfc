import { useEffect, useState } from "preact/hooks";
import { api, ApiError, type Schemas } from "../api/client";
import type { Session, Turn } from "../lib/conversation";
import { count, counted, day } from "../lib/format";
import { announce } from "./announcer";
import { Copy } from "./Copy";
import { ErrorNotice } from "./ErrorNotice";
import { findings, kindName, readFindings, type Finding } from "./findings";

const EXPIRIES = [
  { days: null, name: "does not expire" },
  { days: 1, name: "expires in a day" },
  { days: 7, name: "expires in a week" },
  { days: 30, name: "expires in a month" },
] as const;

interface Props {
  session: Session;
  turns: readonly Turn[];
  onChange: (session: Session) => void;
}

/** The link of a conversation: make it, renew it, end it. What the secret scan has found is listed before. */
export function Share({ session, turns, onChange }: Props) {
  const [days, setDays] = useState<number | null>(null);
  const [failed, setFailed] = useState<{ error: unknown; retry: () => void } | null>(null);
  const [includePrompt, setIncludePrompt] = useState(session.share?.prompt_included ?? false);
  const [isBusy, setBusy] = useState(false);
  const found = findings.value;
  const share = session.share;
  const path = { session_id: session.session_id };

  useEffect(() => {
    findings.value = [];
    setFailed(null);
    return () => {
      findings.value = [];
    };
  }, [session.session_id]);

  const act = async (what: () => Promise<void>): Promise<void> => {
    setBusy(true);
    setFailed(null);
    try {
      await what();
    } catch (problem) {
      if (problem instanceof ApiError && problem.code === "share_blocked" && readFindings(problem.facts).length > 0) {
        findings.value = readFindings(problem.facts);
        announce(`Not shared yet: ${counted(findings.value.length, "place may be a secret", "places may be secrets")}.`);
      } else setFailed({ error: problem, retry: () => void act(what) });
    } finally {
      setBusy(false);
    }
  };
  const make = (acknowledge: boolean) =>
    act(async () => {
      const made = await api.post("/playground/sessions/{session_id}/share", {
        path,
        body: { acknowledge_findings: acknowledge, include_prompt: includePrompt, expires_in_days: days },
      });
      findings.value = [];
      onChange({ ...session, shared: true, is_public: true, share: { ...newStatus(share), prompt_included: includePrompt, ...made } });
      announce("Shared. The link is ready to copy.");
    });
  const end = () =>
    act(async () => {
      await api.delete("/playground/sessions/{session_id}/share", { path });
      onChange({ ...session, shared: false, is_public: false, share: null });
      announce("The link is dead.");
    });

  return (
    <div class="share">
      {session.package === null && (
        <label class="choice">
          <input
            type="checkbox"
            checked={includePrompt}
            onChange={(event) => setIncludePrompt(event.currentTarget.checked)}
          />
          <span>Show your prompt, too</span>
        </label>
      )}
      {share === null || share.expired ? (
        <div class="actions">
          <button type="button" class="button" disabled={isBusy} onClick={() => void make(false)}>
            Share by a link
          </button>
          <label>
            <span class="unseen">The link</span>
            <select
              value={String(days)}
              onChange={(event) => setDays(event.currentTarget.value === "null" ? null : Number(event.currentTarget.value))}
            >
              {EXPIRIES.map((each) => (
                <option key={each.name} value={String(each.days)}>
                  {each.name}
                </option>
              ))}
            </select>
          </label>
        </div>
      ) : (
        <>
          <p>
            {share.hidden ? "Hidden: others have reported it." : "Anybody with the link can read it."}
            <span class="hint">
              {" "}
              {share.turns < session.turns ? `The first ${count(share.turns)} of ${counted(session.turns, "turn")}. ` : ""}
              {share.expires_at ? `Until ${day(share.expires_at)}. ` : ""}
              {counted(share.views, "view")}, {count(share.helpful)} found it helpful, {count(share.not_helpful)} did not.
            </span>
          </p>
          {share.share_url && (
            <p class="share-url">
              <a href={share.share_url} target="_blank" rel="noopener">
                {share.share_url}
              </a>
            </p>
          )}
          <div class="actions">
            {share.share_url && <Copy name="Copy the link" text={() => share.share_url ?? ""} />}
            {(share.turns < session.turns || share.prompt_included !== includePrompt) && (
              <button type="button" class="button" disabled={isBusy} onClick={() => void make(false)}>
                {share.turns < session.turns ? "Share the new turns, too" : "Share it like this"}
              </button>
            )}
            <button type="button" class="button" disabled={isBusy} onClick={() => void end()}>
              End the link
            </button>
          </div>
        </>
      )}
      {found.length > 0 && (
        <div class="notice" role="group" aria-label="What may be a secret">
          <p class="notice-title">Look at this before you share it</p>
          <p>
            {found.length === 1 ? "One place looks" : `${count(found.length)} places look`} like a secret or somebody's data.
            They are marked in the conversation.
          </p>
          <ul>
            {found.map((each) => (
              <li key={`${each.turn} ${each.role} ${each.start}`}>
                <button type="button" class="link" onClick={() => show(each)}>
                  {each.turn === 0
                    ? "Your prompt"
                    : `Turn ${each.turn}, ${each.role === "user" ? "what you wrote" : "the answer"}`}
                </button>
                : {kindName(each.kind)}, “{excerpt(each, textOf(each, session, turns))}”
              </li>
            ))}
          </ul>
          <div class="actions">
            <button type="button" class="button" onClick={() => (findings.value = [])}>
              Do not share
            </button>
            <button type="button" class="button button-danger" disabled={isBusy} onClick={() => void make(true)}>
              They are no secrets: share
            </button>
          </div>
        </div>
      )}
      {failed && <ErrorNotice error={failed.error} onRetry={failed.retry} />}
    </div>
  );
}

function newStatus(before: Schemas["ShareStatus"] | null) {
  return { ...(before ?? { views: 0, helpful: 0, not_helpful: 0, hidden: false }), expired: false };
}

function show(finding: Finding): void {
  const turn = document.getElementById(`turn-${finding.turn}`);
  const place = turn?.querySelector(`${finding.role === "user" ? ".question" : ".answer"} mark`) ?? turn;
  place?.scrollIntoView({ block: "center" });
  turn?.focus({ preventScroll: true });
}

function textOf(finding: Finding, session: Session, turns: readonly Turn[]): string {
  if (finding.turn === 0) return session.custom_prompt ?? ""; // the prompt of the conversation
  const turn = turns[finding.turn - 1];
  return (finding.role === "user" ? turn?.question : turn?.answer) ?? "";
}

/** The first characters of a finding: enough to know it again. */
function excerpt(finding: Finding, text: string): string {
  const found = Array.from(text).slice(finding.start, finding.end);
  return found.length > 12 ? `${found.slice(0, 8).join("")}…` : found.join("");
}
