import { useEffect, useState } from "preact/hooks";
import { ErrorNotice } from "../../components/ErrorNotice";
import { isPending } from "../../components/undo";
import { promptName, titleOf } from "../../lib/conversation";
import { count, counted, credits, modelName, recently } from "../../lib/format";
import { links } from "../../router";
import { grouped } from "./groups";
import * as store from "./store";

export function List() {
  const [search, setSearch] = useState("");
  const wanted = search.trim();
  const { items, next, error, isLoading, unreadable } = store.list;
  const isSearching = wanted !== "";
  const canSearch = items.value !== null && error.value === null;
  useEffect(() => void store.load(), []);
  useEffect(() => {
    if (!isSearching || !canSearch) return undefined;
    let isWanted = true;
    void store.loadAll(() => isWanted);
    return () => {
      isWanted = false;
    };
  }, [isSearching, canSearch]);

  const sessions = items.value;
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
      {error.value !== null && <ErrorNotice error={error.value} onRetry={() => void store.list.again()} />}
      {unreadable.value > 0 && (
        <p class="notice">{count(unreadable.value)} of your conversations {unreadable.value === 1 ? "is" : "are"} damaged and cannot be shown.</p>
      )}
      {sessions === null && error.value === null && <p class="loading">Loading…</p>}
      {sessions !== null && kept.length === 0 && next.value === null && (
        <p>
          You have no conversations yet. <a href="/">Try a package</a> and the answer is kept here.
        </p>
      )}
      {wanted !== "" && sessions !== null && (
        <p class="hint" role="status">
          {isLoading.value ? "Searching…" : `${count(shown.length)} found`}
          {!isLoading.value && next.value !== null && ` in the last ${count(kept.length)}`}
        </p>
      )}
      <ul class="conversations">
        {grouped(shown).map((each) =>
          each.kind === "one" ? (
            <li key={each.of.session_id}>
              <Row of={each.of} />
            </li>
          ) : (
            <li key={each.id}>
              <Comparison columns={each.columns} />
            </li>
          ),
        )}
      </ul>
      {wanted === "" && next.value !== null && (
        <button type="button" class="button" disabled={isLoading.value} onClick={() => void store.list.more()}>
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
        <span class="name">{promptName(of)}</span>
        <span>{modelName(of.model)}</span>
        <Facts of={of} />
        {of.comparison && <span class="state">From a comparison</span>}
      </p>
      <Actions of={of} name={title} />
    </article>
  );
}

/** The conversations of one comparison: what was asked, and a line for each column. */
function Comparison({ columns }: { columns: store.Listed[] }) {
  const first = columns[0] as store.Listed;
  const title = titleOf(first);
  return (
    // A group and no landmark: the same may be compared twice, and landmarks have names of their own.
    <div class="comparison" role="group" aria-label={`Comparison: ${title}`}>
      <h2 dir="auto">{title}</h2>
      <p class="facts">
        <span class="state">Comparison</span>
        <span>{counted(columns.length, "column")}</span>
        <span>{credits(columns.reduce((sum, each) => sum + each.credits_spent, 0))}</span>
      </p>
      <ul>
        {columns.map((each) => {
          const name = `${promptName(each)}, ${modelName(each.model)}`;
          return (
            <li key={each.session_id}>
              <article class="conversation">
                <h3>
                  <a href={links.conversations(each.session_id)}>{name}</a>
                </h3>
                <p class="facts">
                  <Facts of={each} />
                </p>
                <Actions of={each} name={`${name}: ${title}`} />
              </article>
            </li>
          );
        })}
      </ul>
    </div>
  );
}

function Facts({ of }: { of: store.Listed }) {
  return (
    <>
      <span>{counted(of.turns, "turn")}</span>
      <span>{credits(of.credits_spent)}</span>
      <time dateTime={of.updated_at}>{recently(of.updated_at)}</time>
      {of.shared && <span class="state">Shared</span>}
      {of.forked && <span class="state">Copy</span>}
    </>
  );
}

function Actions({ of, name }: { of: store.Listed; name: string }) {
  return (
    <div class="actions">
      <a class="button button-quiet" href={links.try({ sessionId: of.session_id })}>
        Continue<span class="unseen"> “{name}”</span>
      </a>
      <button type="button" class="button button-quiet" onClick={() => store.remove(of)}>
        Delete<span class="unseen"> “{name}”</span>
      </button>
    </div>
  );
}
