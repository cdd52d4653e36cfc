/** An answer, read out to people who use a screen reader: paragraph by paragraph, and each of them once. */
import { announce } from "../../components/announcer";
import { readTab, writeTab } from "../../session/tab";

const READ_OUT = "read-out";

interface Place {
  key: string;
  /** Characters of the answer's text that have been read out. */
  end: number;
}

function begin(key: string): Place {
  const before = readTab<Place>(READ_OUT);
  return before?.key === key ? before : { key, end: 0 };
}

/** What is new of a run's text: whole paragraphs while it is written, `isWhole`: all of the rest. */
export function readOut(key: string, text: string, isWhole = false): void {
  const place = begin(key);
  const end = isWhole ? text.length : text.lastIndexOf("\n\n");
  if (end > place.end) {
    const said = spoken(text.slice(place.end, end));
    if (said !== "") announce(said);
    writeTab(READ_OUT, { key, end } satisfies Place);
  }
  if (isWhole) writeTab(READ_OUT, null);
}

/** Markdown without most of its marks. */
function spoken(text: string): string {
  return text.replace(/[#*`>_|]+/g, " ").trim();
}
