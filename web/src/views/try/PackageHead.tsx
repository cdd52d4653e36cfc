import type { RefObject } from "preact";
import { useEffect, useState } from "preact/hooks";
import { api, type Schemas } from "../../api/client";
import { shortName } from "./Picker";
import { packageName } from "../../lib/conversation";
import { characters, count, day } from "../../lib/format";
import { promptInfo } from "../../lib/prompts";
import { links } from "../../router";
import { Share } from "../../components/Share";
import * as store from "./store";

/** What is being tried: its name, what it does, and its prompt to read. */
export function PackageHead({ heading }: { heading: RefObject<HTMLHeadingElement | null> }) {
  const chosen = store.details.value;
  const current = store.session.value;
  const name = chosen?.name ?? current?.package ?? store.packageId.value ?? (current ? packageName(current) : "");
  const isOwn = store.runsOwnPrompt.value;
  const hidden = Object.values(chosen?.hidden_characters ?? {}).reduce((sum, each) => sum + each, 0);
  return (
    <aside class="about" aria-label={isOwn ? "Prompt" : "Package"}>
      <p class="back">
        <a href="/">All packages</a>
      </p>
      <h1 ref={heading} tabIndex={-1}>
        {isOwn ? "Your own prompt" : shortName(name)}
      </h1>
      {isOwn && <OwnHead of={current} />}
      {chosen ? (
        <>
          <p class="lead" dir="auto">
            {chosen.description}
          </p>
          <p class="facts">
            <span>{chosen.name.split("/")[0]}</span>
            <span>
              {chosen.format} {chosen.subtype}
            </span>
            <span>version {current?.package_version ?? store.setup.value.version ?? chosen.latest_version}</span>
          </p>
          <Usage of={chosen} />
          {hidden > 0 && (
            <p class="notice">
              Its text has {hidden} characters that cannot be seen. They may tell Claude what a reader does not notice.
            </p>
          )}
          <Preview text={chosen.preview} of={chosen.prompt_characters} />
          <p>
            <a href={links.compare(chosen.id)}>Compare it with others, or with none</a>
          </p>
          {!current && chosen.versions.length > 1 && <Versions of={chosen} />}
        </>
      ) : (
        current === null && !isOwn && <p class="loading">Loading…</p>
      )}
      {current && (
        <div class="conversation-head">
          <h2>This conversation</h2>
          <p class="hint">
            {current.turns} {current.turns === 1 ? "turn" : "turns"} since {day(current.created_at)}
            {current.forked && ", copied from a shared one"}
            {current.use_no_prompt && ", without the package's prompt"}
          </p>
          <p class="actions">
            <a
              class="button"
              href={links.try(isOwn ? { isOwn } : { packageId: chosen?.name ?? current.package })}
              onClick={() => document.getElementById("input")?.focus({ preventScroll: true })} // the link goes away
            >
              New conversation
            </a>
          </p>
          <Share
            key={current.session_id}
            session={current}
            turns={store.turns.value}
            onChange={({ session_id, shared, is_public, share }) => {
              // Another conversation may be shown by now, and this one may have been read again.
              const now = store.session.peek();
              if (now?.session_id === session_id) store.session.value = { ...now, shared, is_public, share };
            }}
          />
        </div>
      )}
    </aside>
  );
}

/** The API gives the beginning of a package's text, which ends in an ellipsis if there is more; `of`: how much there is. */
function Preview({ text, of }: { text: string; of: number | null }) {
  const isCut = text.endsWith("…");
  return (
    <details class="prompt">
      <summary>{isCut ? "Read how its prompt begins" : "Read its prompt"}</summary>
      <pre tabIndex={0} dir="auto">
        {text}
      </pre>
      {isCut && (
        <p class="hint">
          A preview: the first {count(characters(text) - 1)}
          {of !== null && ` of ${count(of)}`} characters. All of its text is sent to Claude.
        </p>
      )}
    </details>
  );
}

/** A prompt of one's own: what it is, and once a conversation has it, its text. */
function OwnHead({ of }: { of: store.Session | null }) {
  const tips = promptInfo.value?.tips ?? [];
  return (
    <>
      <p class="lead">It is sent to Claude before your text, as a package's prompt would be.</p>
      {of?.custom_prompt ? (
        <details class="prompt">
          <summary>Read it</summary>
          <pre tabIndex={0} dir="auto">
            {of.custom_prompt}
          </pre>
        </details>
      ) : (
        tips.length > 0 && (
          <ul class="hint">
            {tips.map((each) => (
              <li key={each}>{each}</li>
            ))}
          </ul>
        )
      )}
    </>
  );
}

/** How much others use it. Nothing is shown while that is not known. */
function Usage({ of }: { of: store.Package }) {
  const [usage, setUsage] = useState<Schemas["PackageUsageAnswer"] | null>(null);
  useEffect(() => {
    const abort = new AbortController();
    setUsage(null);
    api
      .get("/playground/analytics/packages/{package_id}", { path: { package_id: of.id }, query: { days: 1 }, signal: abort.signal })
      .then(setUsage, () => undefined);
    return () => abort.abort();
  }, [of.id]);
  if (usage === null || usage.runs === 0) return null;
  const { ratings } = usage;
  return (
    <p class="facts">
      <span>
        run {count(usage.runs)} {usage.runs === 1 ? "time" : "times"}
      </span>
      {ratings?.average != null && (
        <span>
          rated {ratings.average.toFixed(1)} of 5 by {count(ratings.count)}
        </span>
      )}
    </p>
  );
}

function Versions({ of }: { of: store.Package }) {
  return (
    <label class="field">
      Version
      <select
        value={store.setup.value.version ?? of.latest_version}
        onChange={(event) => {
          const wanted = event.currentTarget.value;
          store.changeSetup({ version: wanted === of.latest_version ? null : wanted });
        }}
      >
        {of.versions.map((version) => (
          <option key={version} value={version}>
            {version === of.latest_version ? `${version} (newest)` : version}
          </option>
        ))}
      </select>
    </label>
  );
}
