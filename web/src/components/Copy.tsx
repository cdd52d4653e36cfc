import { useState } from "preact/hooks";
import { plainText } from "../lib/copies";
import { announce } from "./announcer";
import { loadMarkdown } from "./Markdown";

/** Copies what `text` gives, and says that it has. */
export function Copy({ name, text }: { name: string; text: () => string | Promise<string> }) {
  const [state, setState] = useState<"ready" | "done" | "failed">("ready");
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(await text());
      setState("done");
      announce("Copied");
    } catch {
      setState("failed");
      announce("Your browser does not allow copying");
    }
    setTimeout(() => setState("ready"), 2500);
  };
  return (
    <button type="button" class="button button-quiet" onClick={() => void copy()}>
      {state === "done" ? "Copied" : state === "failed" ? "Not allowed" : name}
    </button>
  );
}

/** An answer as it is read, and as it was written. */
export function CopyAnswer({ text }: { text: string }) {
  return (
    <>
      <Copy name="Copy text" text={async () => plainText((await loadMarkdown()).markdown(text))} />
      <Copy name="Copy Markdown" text={() => text} />
    </>
  );
}
