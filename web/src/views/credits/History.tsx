import { useEffect, useMemo, useState } from "preact/hooks";
import { api, type Schemas } from "../../api/client";
import { Choice } from "../../components/Choice";
import { ErrorNotice } from "../../components/ErrorNotice";
import { useAsked } from "../../lib/asked";
import { count, counted, moment, signed } from "../../lib/format";
import { Pages } from "../../lib/pages";
import { Chart } from "./Chart";
import type { EntryType } from "./csv";
import { Download } from "./Download";
import { explain, type ReceiptFacts } from "./explain";
import { runOf, TYPES, typeName } from "./history";

type Entry = Schemas["Transaction"];
const PAGE_SIZE = 50;

const newPages = () =>
  new Pages<Entry, EntryType | "">(
    async (type, cursor, signal) => {
      const query = { limit: PAGE_SIZE, ...(type && { type }), ...(cursor !== null && { cursor }) };
      const page = await api.get("/playground/credits/history", { query, signal });
      return { items: page.transactions, next: page.next_cursor, unreadable: page.unreadable.length };
    },
    (entry) => entry.id,
  );

/** Every change of the balance, newest first. `changes`: a new value means that there are new lines. */
export function History({ changes }: { changes: unknown }) {
  const [type, setType] = useState<EntryType | "">("");
  const pages = useMemo(newPages, []);
  useEffect(() => void pages.load(type), [type, changes]);
  useEffect(() => () => pages.stop(), []);
  // Lines of another choice are not shown under the name of this one.
  const entries = pages.key.value === type ? pages.items.value : null;
  const error = pages.error.value;
  const unreadable = pages.unreadable.value;

  return (
    <section aria-labelledby="history-title">
      <div class="credits-heading">
        <h2 id="history-title">History</h2>
        <Choice label="Show" value={type} options={{ "": "everything", ...TYPES }} onChange={setType} />
      </div>
      {error !== null && <ErrorNotice error={error} onRetry={() => void pages.again()} />}
      {entries !== null && unreadable > 0 && (
        <p class="notice">
          {counted(unreadable, "line is", "lines are")} damaged and cannot be shown. The balance is right all the same.
        </p>
      )}
      {entries === null ? (
        error === null && <p class="loading">Loading…</p>
      ) : entries.length === 0 ? (
        <p>There is nothing here yet.</p>
      ) : (
        <>
          {!type && <Chart entries={entries} now={Date.now()} />}
          <div class="credits-scroll" role="region" aria-label="Lines of the history" tabIndex={0}>
            <table class="credits-table">
              <thead>
                <tr>
                  <th scope="col" class="credits-wide">
                    When
                  </th>
                  <th scope="col">What</th>
                  <th scope="col" class="credits-number">
                    Credits
                  </th>
                  <th scope="col" class="credits-number">
                    Balance
                  </th>
                </tr>
              </thead>
              <tbody>
                {entries.map((entry) => (
                  <Row key={entry.id} entry={entry} />
                ))}
              </tbody>
            </table>
          </div>
        </>
      )}
      {entries !== null && pages.next.value !== null && (
        <button type="button" class="button" disabled={pages.isLoading.value} onClick={() => void pages.more()}>
          Show older lines
        </button>
      )}
      {entries !== null && entries.length > 0 && <Download type={type} />}
    </section>
  );
}

function Row({ entry }: { entry: Entry }) {
  const [isOpen, setOpen] = useState(false);
  const detail = `receipt-${entry.seq}`;
  const time = <time dateTime={entry.created_at}>{moment(entry.created_at)}</time>;
  return (
    <>
      <tr>
        <td class="credits-wide">{time}</td>
        <td>
          {typeName(entry.type)}
          <span class="credits-about credits-narrow">{time}</span>
          {runOf(entry) !== null ? (
            <span class="credits-about">{runOf(entry)}</span>
          ) : (
            entry.description &&
            entry.description !== typeName(entry.type) && <span class="credits-about">{entry.description}</span>
          )}
          {entry.type === "spend" && entry.run_id && (
            <button
              type="button"
              class="link credits-why"
              aria-expanded={isOpen}
              aria-controls={detail}
              aria-label={`Why? ${signed(entry.amount)}, receipt of ${moment(entry.created_at)}`}
              onClick={() => setOpen(!isOpen)}
            >
              Why?
            </button>
          )}
        </td>
        <td class="credits-number">{signed(entry.amount)}</td>
        <td class="credits-number">{count(entry.balance_after)}</td>
      </tr>
      {isOpen && entry.run_id && (
        <tr id={detail}>
          <td colSpan={4}>
            <Receipt runId={entry.run_id} />
          </td>
        </tr>
      )}
    </>
  );
}

function Receipt({ runId }: { runId: string }) {
  const asked = useAsked<ReceiptFacts & { price_version?: string | null }>(
    runId,
    (run_id, signal) => api.get("/playground/runs/{run_id}", { path: { run_id }, signal }),
    0,
  );
  const receipt = asked.value;
  if (asked.state === "failed") return <ErrorNotice error={asked.error} onRetry={asked.again} />;
  if (receipt === null) return <p class="loading">Loading…</p>;
  return (
    <div class="credits-receipt">
      <ul>
        {explain(receipt).map((sentence) => (
          <li key={sentence}>{sentence}</li>
        ))}
      </ul>
      <p class="credits-note">
        Run {runId}
        {receipt.price_version && `, prices of ${receipt.price_version}`}
      </p>
    </div>
  );
}
