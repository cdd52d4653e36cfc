/**
 * Keeps the focus on the page. When the element that has it is taken away (a row that is deleted, a button that is done
 * with), the browser gives the focus to the body, and keyboards and screen readers begin at the top again. It moves to the
 * nearest element that is left: behind the one that is gone, else before it, else what took its place, else farther out; at
 * last to `main`.
 *
 * A view that knows better moves the focus by itself: that comes first, as this waits for WAIT_MS.
 */
const WAIT_MS = 100;
const CONTROLS = "a[href], button, input, select, textarea, summary, [tabindex='0']";

interface Level {
  parent: Element | null;
  after: readonly Element[];
  before: readonly Element[];
}

interface Place {
  element: Element;
  /** The neighbours of the element, then of its parent, and so on outward. */
  levels: readonly Level[];
  wasDisabled: boolean;
}

function placeOf(element: Element): Place {
  const levels: Level[] = [];
  for (let each: Element | null = element; each !== null && each !== document.body && each.id !== "main"; each = each.parentElement) {
    const siblings = Array.from(each.parentElement?.children ?? []);
    const at = siblings.indexOf(each);
    levels.push({ parent: each.parentElement, after: siblings.slice(at + 1), before: siblings.slice(0, at).reverse() });
  }
  return { element, levels, wasDisabled: false };
}

function canHaveFocus(element: Element): element is HTMLElement {
  return (
    element instanceof HTMLElement &&
    element.matches(CONTROLS) &&
    !element.matches(":disabled") &&
    (element.checkVisibility?.() ?? true) // jsdom has none
  );
}

function firstIn(element: Element): HTMLElement | null {
  if (!element.isConnected) return null;
  const main = document.getElementById("main");
  if (element.contains(main)) return main;
  if (canHaveFocus(element)) return element;
  return Array.from(element.querySelectorAll(CONTROLS)).find(canHaveFocus) ?? null;
}

function nearest(levels: readonly Level[]): HTMLElement | null {
  for (const { parent, after, before } of levels) {
    for (const each of [...after, ...before, parent]) {
      const found = each && firstIn(each);
      if (found) return found;
    }
  }
  return document.getElementById("main");
}

/** Until the returned function is called. */
export function keepFocus(): () => void {
  let last: Place | null = null;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const isLost = () => document.activeElement === null || document.activeElement === document.body;

  const onFocus = (event: FocusEvent) => {
    if (event.target instanceof Element) last = placeOf(event.target);
  };
  const onPointer = () => {
    last = null; // a click beside everything takes the focus away on purpose; one on a control sets it again
  };
  const look = () => {
    timer = undefined;
    if (last === null || !isLost()) return;
    const { element } = last;
    if (!element.isConnected) nearest(last.levels)?.focus({ preventScroll: true });
    else if (last.wasDisabled && !element.matches(":disabled")) (element as HTMLElement).focus({ preventScroll: true });
  };
  const observer = new MutationObserver((records) => {
    if (last === null) return;
    const { element } = last;
    // It gets the focus back when it can be used again.
    if (records.some((each) => each.type === "attributes" && each.target.contains(element))) last.wasDisabled = true;
    if (isLost()) timer ??= setTimeout(look, WAIT_MS);
  });

  document.addEventListener("focusin", onFocus);
  document.addEventListener("pointerdown", onPointer, true);
  observer.observe(document.body, { childList: true, subtree: true, attributes: true, attributeFilter: ["disabled"] });
  return () => {
    observer.disconnect();
    document.removeEventListener("focusin", onFocus);
    document.removeEventListener("pointerdown", onPointer, true);
    clearTimeout(timer);
  };
}
