import { useEffect, useState } from "preact/hooks";
import { api, type Schemas } from "../../api/client";
import { ErrorNotice } from "../../components/ErrorNotice";
import { announce } from "../../components/announcer";
import { counted } from "../../lib/format";
import { arePromptsOffered } from "../../lib/prompts";
import { links } from "../../router";

type Listed = Schemas["PackageListed"];

const WAIT_MS = 200; // after the last key
const PAGE = 24;

/** Of all packages; what matches a text is shown best match first. */
type Sort = "name" | "runs";

interface Found {
  of: string;
  sort: Sort;
  packages: readonly Listed[];
  next: string | null;
}

// Kept while the page is open, so that the way back from a package leads to the same list.
let last: Found | null = null;

export function Picker() {
  const [text, setText] = useState(last?.of ?? "");
  const [sort, setSort] = useState<Sort>(last?.sort ?? "runs");
  const [found, setFound] = useState<Found | null>(last);
  const [error, setError] = useState<unknown>(null);
  const [attempt, setAttempt] = useState(0);
  const wanted = text.trim();

  useEffect(() => {
    if (found?.of === wanted && found.sort === sort) return;
    const abort = new AbortController();
    const timer = setTimeout(
      () => {
        api.get("/packages", { query: listing(wanted, sort), signal: abort.signal }).then(
          (page) => {
            last = { of: wanted, sort, packages: page.packages, next: page.next_cursor };
            setFound(last);
            setError(null);
            if (wanted !== "") announce(howMany(last));
          },
          (problem: unknown) => !abort.signal.aborted && setError(problem),
        );
      },
      found === null || found.of === wanted ? 0 : WAIT_MS,
    );
    return () => {
      clearTimeout(timer);
      abort.abort();
    };
  }, [wanted, sort, attempt]);

  const more = async () => {
    if (!found?.next) return;
    try {
      const page = await api.get("/packages", { query: { ...listing(found.of, found.sort), cursor: found.next } });
      // A package whose rank has changed meanwhile may come twice.
      const known = new Set(found.packages.map((each) => each.id));
      const others = page.packages.filter((each) => !known.has(each.id));
      last = { ...found, packages: [...found.packages, ...others], next: page.next_cursor };
      setFound(last);
    } catch (problem) {
      setError(problem);
    }
  };

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
        <label for="package-order" class="unseen">
          Order
        </label>
        {wanted === "" ? (
          <select id="package-order" value={sort} onChange={(event) => setSort(event.currentTarget.value as Sort)}>
            <option value="runs">most used first</option>
            <option value="name">by name</option>
          </select>
        ) : (
          <select id="package-order" disabled>
            <option>best match first</option>
          </select>
        )}
      </search>
      {arePromptsOffered() && (
        <p>
          Or <a href={links.try({ isOwn: true })}>write your own prompt</a> in place of a package.
        </p>
      )}
      {error !== null && <ErrorNotice error={error} onRetry={() => setAttempt(attempt + 1)} />}
      {found === null && error === null && <p class="loading">Loading…</p>}
      {found !== null && found.packages.length === 0 && (
        <p>
          No package matches “{found.of}”.{" "}
          <button type="button" class="link" onClick={() => setText("")}>
            Show all
          </button>
        </p>
      )}
      {found !== null && (
        <ul class="packages">
          {found.packages.map((each) => (
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
      {found?.next && (
        <button type="button" class="button" onClick={() => void more()}>
          Show more packages
        </button>
      )}
    </>
  );
}

const listing = (q: string, sort: Sort) => (q === "" ? { limit: PAGE, sort } : { q, limit: PAGE });

function howMany(found: Found): string {
  const number = found.packages.length;
  return found.next ? `${number} or more packages` : counted(number, "package");
}

/** "@playground/code-reviewer" is shown as "code-reviewer", beside its scope. */
export function shortName(name: string): string {
  return name.slice(name.indexOf("/") + 1);
}
