import { signal } from "@preact/signals";

const said = signal("");
let turn = false;

/** Say it to people who use a screen reader, after what it is reading. The same text twice is said twice. */
export function announce(text: string): void {
  turn = !turn;
  said.value = text + (turn ? "\u00A0" : "");
}

export function Announcer() {
  return (
    <p class="unseen" role="status" aria-live="polite">
      {said}
    </p>
  );
}
