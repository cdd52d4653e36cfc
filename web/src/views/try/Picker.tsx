import { useEffect, useState } from "preact/hooks";
import { api, type Schemas } from "../../api/client";
import { ErrorNotice } from "../../components/ErrorNotice";
import { announce } from "../../components/announcer";
import { counted } from "../../lib/format";
import { Pages } from "../../lib/pages";
import { arePromptsOffered } from "../../lib/prompts";
import { links } from "../../router";

type Listed = Schemas["PackageListed"];

const WAIT_MS = 200; // after the last key
const PAGE = 24;

/** Of all packages; what matches a text is shown best match first. */
type Sort = "name" | "runs";

interface Listing {
  q: string;
  sort: Sort;
}

/** Kept while the page is open, so that the way back from a package leads to the same list. */
const found = new Pages<Listed, Listing>(
  async ({ q, sort }, cursor, signal) => {
    const query = q === "" ? { limit: PAGE, sort } : { q, limit: PAGE };
    const page = await api.get("/packages", { query: { ...query, ...(cursor !== null && { cursor }) }, signal });
    if (q !== "" && cursor === null) announce(howMany(page.packages.length, page.next_cursor !== null));
    return { items: page.packages, next: page.next_cursor };
  },
  (each) => each.id,
);

export function Picker() {
  const [text, setText] = useState(found.key.peek()?.q ?? "");
  const [sort, setSort] = useState<Sort>(found.key.peek()?.sort ?? "runs");
  const q = text.trim();
  const key = found.key.value;
  const packages = found.items.value;
  const error = found.error.value;

  useEffect(() => {
    const shown = found.key.peek();
    if (shown?.q === q && shown.sort === sort) {
      found.stop(); // of another search, which is no longer wanted
      return undefined;
    }
    const isTyping = shown !== null && shown.q !== q;
    const timer = setTimeout(() => void found.load({ q, sort }), isTyping ? WAIT_MS : 0);
    return () => clearTimeout(timer);
  }, [q, sort]);

  return (
    <>
      <h1>Try a package</h1>
      <p class="lead">Prompt packages make Claude good at one job. Pick one, give it your text, and read what comes back.</p>
      <search class="picker-search">
        <label for="package-search">What do you want to do?</label>
        <input
          id="package-search"
          type="search"
          placeholder="review code, write a summary, …"
          value={text}
          autocomplete="off"
          maxLength={200}
          onInput={(event) => setText(event.currentTarget.value)}
        />
        <label class="picker-order">
          Order
          {q === "" ? (
            <select value={sort} onChange={(event) => setSort(event.currentTarget.value as Sort)}>
              <option value="runs">most used first</option>
              <option value="name">by name</option>
            </select>
          ) : (
            <select disabled>
              <option>best match first</option>
            </select>
          )}
        </label>
      </search>
      {arePromptsOffered() && (
        <p>
          Or <a href={links.try({ isOwn: true })}>write your own prompt</a> in place of a package.
        </p>
      )}
      {error !== null && <ErrorNotice error={error} onRetry={() => void found.again()} />}
      {packages === null && error === null && <p class="loading">Loading…</p>}
      {packages?.length === 0 && (
        <p>
          {key === null || key.q === "" ? "There are no packages yet." : `No package matches “${key.q}”. `}
          {key !== null && key.q !== "" && (
            <button type="button" class="link" onClick={() => setText("")}>
              Show all
            </button>
          )}
        </p>
      )}
      {packages !== null && packages.length > 0 && (
        <ul class="packages">
          {packages.map((each) => (
            <li key={each.id} class="package">
              <h2>
                <a href={links.try({ packageId: each.name })}>{shortName(each.name)}</a>
              </h2>
              <p dir="auto">{each.description}</p>
              <p class="facts">
                {each.name.includes("/") && <span>{each.name.split("/")[0]}</span>}
                <span>
                  {each.format} {each.subtype}
                </span>
                {each.tags.slice(0, 3).map((tag) => (
                  <span key={tag} class="tag">
                    {tag}
                  </span>
                ))}
              </p>
            </li>
          ))}
        </ul>
      )}
      {found.next.value !== null && (
        <button type="button" class="button" disabled={found.isLoading.value} onClick={() => void found.more()}>
          Show more packages
        </button>
      )}
    </>
  );
}

function howMany(number: number, hasMore: boolean): string {
  return hasMore ? `${number} or more packages` : counted(number, "package");
}

/** "@playground/code-reviewer" is shown as "code-reviewer", beside its scope. */
export function shortName(name: string): string {
  return name.slice(name.indexOf("/") + 1);
}
