import { useEffect, useState } from "preact/hooks";
import { ErrorNotice } from "../../components/ErrorNotice";
import { isPending } from "../../components/undo";
import { packageName, titleOf } from "../../lib/conversation";
import { count, counted, credits, moment } from "../../lib/format";
import { links } from "../../router";
import * as store from "./store";

export function List() {
  const [search, setSearch] = useState("");
  const wanted = search.trim();
  useEffect(() => void store.load(), []);
  useEffect(() => {
    let isWanted = wanted !== "";
    if (isWanted) void store.loadAll(() => isWanted);
    return () => {
      isWanted = false;
    };
  }, [wanted, store.sessions.value === null]);

  const sessions = store.sessions.value;
  const kept = sessions?.filter((each) => !isPending(each.session_id)) ?? [];
  const shown = wanted === "" ? kept : kept.filter((each) => store.matches(each, wanted));
  return (
    <>
      <h1>Conversations</h1>
      <search class="picker-search">
        <label for="conversation-search">Search in titles</label>
        <input
          id="conversation-search"
          type="search"
          value={search}
          autocomplete="off"
          onInput={(event) => setSearch(event.currentTarget.value)}
        />
      </search>
      {store.error.value !== null && <ErrorNotice error={store.error.value} onRetry={() => void store.load()} />}
      {store.unreadable.value > 0 && (
        <p class="notice">{count(store.unreadable.value)} of your conversations {store.unreadable.value === 1 ? "is" : "are"} damaged and cannot be shown.</p>
      )}
      {sessions === null && store.error.value === null && <p class="loading">Loading…</p>}
      {sessions !== null && kept.length === 0 && store.next.value === null && (
        <p>
          You have no conversations yet. <a href="/">Try a package</a> and the answer is kept here.
        </p>
      )}
      {wanted !== "" && sessions !== null && (
        <p class="hint" role="status">
          {store.isLoading.value ? "Searching…" : `${count(shown.length)} found`}
          {!store.isLoading.value && store.next.value !== null && ` in the last ${count(kept.length)}`}
        </p>
      )}
      <ul class="conversations">
        {shown.map((each) => (
          <li key={each.session_id}>
            <Row of={each} />
          </li>
        ))}
      </ul>
      {wanted === "" && store.next.value !== null && (
        <button type="button" class="button" disabled={store.isLoading.value} onClick={() => void store.loadMore()}>
          Show earlier ones
        </button>
      )}
    </>
  );
}

function Row({ of }: { of: store.Listed }) {
  const title = titleOf(of);
  return (
    <article class="conversation">
      <h2 dir="auto">
        <a href={links.conversations(of.session_id)}>{title}</a>
      </h2>
      <p class="facts">
        <span>{packageName(of)}</span>
        <span>{counted(of.turns, "turn")}</span>
        <span>{credits(of.credits_spent)}</span>
        <time dateTime={of.updated_at}>{moment(of.updated_at)}</time>
        {of.shared && <span class="state">Shared</span>}
        {of.forked && <span class="state">Copy</span>}
        {of.comparison && <span class="state">From a comparison</span>}
        {of.use_no_prompt && <span class="state">Without the prompt</span>}
      </p>
      <div class="actions">
        <a class="button button-quiet" href={links.try({ sessionId: of.session_id })}>
          Continue<span class="unseen"> “{title}”</span>
        </a>
        <button type="button" class="button button-quiet" onClick={() => store.remove(of)}>
          Delete<span class="unseen"> “{title}”</span>
        </button>
      </div>
    </article>
  );
}
