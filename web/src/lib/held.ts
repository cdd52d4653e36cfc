/**
 * Enter acts once, however long it is held down: the browser repeats it, and what it starts may be over before it is let
 * go, so that the next repeat would start, and pay for, the same again. In a field of text it goes on writing lines.
 */
export function ignoreHeldEnter(): void {
  addEventListener(
    "keydown",
    (event) => {
      if (!event.repeat || event.key !== "Enter") return;
      const isWriting = event.target instanceof HTMLTextAreaElement && !event.ctrlKey && !event.metaKey;
      if (isWriting) return;
      event.preventDefault();
      event.stopPropagation();
    },
    { capture: true },
  );
}
