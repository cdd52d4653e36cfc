import { signal } from "@preact/signals";

export const said = signal("");
const TOGETHER_MS = 1_000;
const FORGET_MS = 15_000;
let last = 0;
let turn = false;
let timer: ReturnType<typeof setTimeout> | undefined;

/** Say it to people who use a screen reader, after what it is reading. The same text twice is said twice. */
export function announce(text: string): void {
  const now = Date.now();
  const before = now - last < TOGETHER_MS ? `${said.peek()} ` : "";
  last = now;
  turn = !turn;
  said.value = before + text + (turn ? "\u00A0" : "");
  clearTimeout(timer);
  timer = setTimeout(() => (said.value = ""), FORGET_MS);
}

export function Announcer() {
  return (
    <p class="unseen" role="status" aria-live="polite">
      {said}
    </p>
  );
}
