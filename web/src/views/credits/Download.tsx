import { useEffect, useRef, useState } from "preact/hooks";
import { announce } from "../../components/announcer";
import { ErrorNotice } from "../../components/ErrorNotice";
import { count, counted } from "../../lib/format";
import { historyPages, readCsv, type EntryType } from "./csv";

const KEPT_MS = 60_000; // the browser has read the file by then

/** The history, or what of it is shown, as CSV. It is read page by page: a plain link would not send the token. */
export function Download({ type }: { type: EntryType | "" }) {
  const [lines, setLines] = useState<number | null>(null);
  const [said, setSaid] = useState("");
  const [failure, setFailure] = useState<unknown>(null);
  const reading = useRef<AbortController | null>(null);
  useEffect(() => () => reading.current?.abort(), []);

  async function download() {
    if (reading.current !== null) return;
    const control = new AbortController();
    reading.current = control;
    setLines(0);
    setSaid("");
    setFailure(null);
    try {
      const csv = await readCsv(historyPages(type, control.signal), { signal: control.signal, onProgress: setLines });
      save(csv.parts, `credits${type && `-${type}`}-${new Date().toISOString().slice(0, 10)}.csv`);
      const text = csv.isCut ? `The newest ${counted(csv.lines, "line")} are in the file; older ones are not.` : `${counted(csv.lines, "line")} in the file.`;
      setSaid(text);
      announce(text);
    } catch (error) {
      if (!control.signal.aborted) setFailure(error);
    } finally {
      if (reading.current === control) reading.current = null;
      setLines(null);
    }
  }

  const isReading = lines !== null;
  return (
    <>
      <p class="actions">
        <button type="button" class="button button-quiet" aria-disabled={isReading} onClick={() => void download()}>
          {isReading ? `Reading, ${count(lines)} lines` : "Download CSV"}
        </button>
        {isReading && (
          <button type="button" class="button button-quiet" onClick={() => reading.current?.abort()}>
            Stop reading
          </button>
        )}
        {said && <span class="hint">{said}</span>}
      </p>
      {failure !== null && <ErrorNotice error={failure} onRetry={() => void download()} />}
    </>
  );
}

function save(parts: string[], name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(parts, { type: "text/csv;charset=utf-8" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), KEPT_MS);
}
