import type { ComponentChildren } from "preact";

const MANY_CHARACTERS = 250;
const MANY_LINES = 8;

/** What somebody has asked. A long text scrolls, so it can be reached by the keyboard. `children`: the text with marks. */
export function Question({ text, children }: { text: string; children?: ComponentChildren }) {
  const mayScroll = text.length > MANY_CHARACTERS || text.split("\n", MANY_LINES + 1).length > MANY_LINES;
  return (
    <div class="question">
      <h2 class="unseen">You wrote</h2>
      <p dir="auto" tabIndex={mayScroll ? 0 : undefined}>
        {children || text}
      </p>
    </div>
  );
}
