import { useCallback, useEffect, useState } from "preact/hooks";
import { api, type Schemas } from "../../api/client";
import { Chart } from "./Chart";
import { explain, type ReceiptFacts } from "./explain";
import { moment, signed } from "../../lib/format";
import { runOf, TYPES, typeName } from "./history";

type Entry = Schemas["Transaction"];
type EntryType = "spend" | "purchase" | "monthly" | "signup" | "rollover" | "expire" | "refund" | "dispute" | "bonus" | "admin" | "debt";
const PAGE_SIZE = 50;

/** Every change of the balance, newest first. `changes`: what a new value of means that there are new lines. */
export function History({ changes, onError }: { changes: unknown; onError: (error: unknown) => void }) {
  const [type, setType] = useState<EntryType | "">("");
  const [entries, setEntries] = useState<Entry[] | null>(null);
  const [cursor, setCursor] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);

  const load = useCallback(
    async (from: string | null, isWanted: () => boolean) => {
      setBusy(true);
      try {
        const page = await api.get("/playground/credits/history", {
          query: { limit: PAGE_SIZE, ...(type && { type }), ...(from && { cursor: from }) },
        });
        if (!isWanted()) return;
        setEntries((before) => [...(from ? (before ?? []) : []), ...page.transactions]);
        setCursor(page.next_cursor);
      } catch (error) {
        if (isWanted()) onError(error);
      } finally {
        setBusy(false);
      }
    },
    [type, onError],
  );

  useEffect(() => {
    let wanted = true;
    void load(null, () => wanted);
    return () => {
      wanted = false;
    };
  }, [load, changes]);

  return (
    <section aria-labelledby="history-title">
      <div class="credits-heading">
        <h2 id="history-title">History</h2>
        <label>
          Show{" "}
          <select value={type} onChange={(event) => setType(event.currentTarget.value as EntryType | "")}>
            <option value="">everything</option>
            {Object.entries(TYPES).map(([value, name]) => (
              <option key={value} value={value}>
                {name}
              </option>
            ))}
          </select>
        </label>
      </div>
      {entries === null ? (
        <p aria-busy="true">Loading…</p>
      ) : entries.length === 0 ? (
        <p>There is nothing here yet.</p>
      ) : (
        <>
          {!type && <Chart entries={entries} now={Date.now()} />}
          <div class="credits-scroll" role="region" aria-label="Lines of the history" tabIndex={0}>
            <table class="credits-table">
              <thead>
                <tr>
                  <th scope="col">When</th>
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
      {cursor && (
        <button type="button" class="button" disabled={busy} onClick={() => void load(cursor, () => true)}>
          Show older lines
        </button>
      )}
    </section>
  );
}

function Row({ entry }: { entry: Entry }) {
  const [isOpen, setOpen] = useState(false);
  const detail = `receipt-${entry.seq}`;
  return (
    <>
      <tr>
        <td>
          <time dateTime={entry.created_at}>{moment(entry.created_at)}</time>
        </td>
        <td>
          {typeName(entry.type)}
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
              aria-label={`Why ${signed(entry.amount)}? Receipt of ${moment(entry.created_at)}`}
              onClick={() => setOpen(!isOpen)}
            >
              Why?
            </button>
          )}
        </td>
        <td class="credits-number">{signed(entry.amount)}</td>
        <td class="credits-number">{entry.balance_after}</td>
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
  const [receipt, setReceipt] = useState<(ReceiptFacts & { price_version?: string | null }) | null>(null);
  const [failure, setFailure] = useState<string | null>(null);
  useEffect(() => {
    let wanted = true;
    api
      .get("/playground/runs/{run_id}", { path: { run_id: runId } })
      .then((found) => wanted && setReceipt(found))
      .catch((error: Error) => wanted && setFailure(error.message));
    return () => {
      wanted = false;
    };
  }, [runId]);
  if (failure) return <p role="alert">{failure}</p>;
  if (!receipt) return <p aria-busy="true">Loading…</p>;
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
