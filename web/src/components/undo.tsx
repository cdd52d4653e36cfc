import { effect, signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { announce } from "./announcer";

/** Time to change one's mind about a deletion. */
export const UNDO_MS = 8_000;

interface Pending {
  id: string;
  name: string;
  /** `isLeaving`: the page is being left, and the request has to outlive it. */
  act: (isLeaving: boolean) => Promise<void>;
  undo: () => void;
  failed: (error: unknown) => void;
  left: number;
  isSent: boolean;
}

const pending = signal<readonly Pending[]>([]);
const isHeld = signal(false); // the pointer or the focus is on it: time stands still
const TICK_MS = 500;

/** What is about to be deleted is not shown any more. */
export function isPending(id: string): boolean {
  return pending.value.some((each) => each.id === id);
}

/** Does `act` after UNDO_MS unless it is undone before, or at once when the page is left. */
export function later(what: Omit<Pending, "left" | "isSent">): void {
  pending.value = [...pending.peek(), { ...what, left: UNDO_MS, isSent: false }];
  announce(`${what.name}. You can undo this for ${UNDO_MS / 1000} seconds, at the end of the page.`);
}

function undo(what: Pending): void {
  pending.value = pending.peek().filter((each) => each.id !== what.id);
  isHeld.value = false;
  what.undo();
  announce("Undone");
  // The button is gone; whoever pressed it goes on at what is there again, which its link leads to.
  requestAnimationFrame(() => {
    const links = Array.from(document.querySelectorAll<HTMLElement>("main a[href]"));
    links.find((each) => each.getAttribute("href")?.endsWith(encodeURIComponent(what.id)))?.focus();
  });
}

function commit(what: Pending, isLeaving: boolean): void {
  // Not shown again before it is done.
  pending.value = pending.peek().map((each) => (each.id === what.id ? { ...each, isSent: true } : each));
  const forget = () => {
    pending.value = pending.peek().filter((each) => each.id !== what.id);
  };
  what
    .act(isLeaving)
    .catch(what.failed)
    .finally(forget);
}

let timer: ReturnType<typeof setInterval> | null = null;
effect(() => {
  const isRunning = pending.value.some((each) => !each.isSent) && !isHeld.value;
  if (isRunning && timer === null) timer = setInterval(tick, TICK_MS);
  if (!isRunning && timer !== null) {
    clearInterval(timer);
    timer = null;
  }
});

function tick(): void {
  const next = pending.peek().map((each) => ({ ...each, left: each.left - TICK_MS }));
  pending.value = next;
  for (const each of next) if (each.left <= 0 && !each.isSent) commit(each, false);
}

addEventListener("pagehide", () => {
  for (const each of pending.peek()) if (!each.isSent) commit(each, true);
});

export function Undo() {
  const shown = pending.value.filter((each) => !each.isSent);
  useEffect(() => {
    if (shown.length === 0) isHeld.value = false; // what was under the pointer is gone
  }, [shown.length]);
  if (shown.length === 0) return null;
  const hold = (held: boolean) => () => {
    isHeld.value = held;
  };
  return (
    <div
      class="undo"
      role="region"
      aria-label="Undo"
      onMouseEnter={hold(true)}
      onMouseLeave={hold(false)}
      onFocusIn={hold(true)}
      onFocusOut={hold(false)}
    >
      {shown.map((each) => (
        <p key={each.id}>
          <span>{each.name}.</span>
          <button type="button" class="button" onClick={() => undo(each)}>
            Undo
          </button>
        </p>
      ))}
    </div>
  );
}
