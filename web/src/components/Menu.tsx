import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { route } from "../router";

/** A part of the page's head to open; what it has is there while it is open. Escape and another view close it. */
export function Menu({ name, children }: { name: ComponentChildren; children: ComponentChildren }) {
  const place = useRef<HTMLDetailsElement>(null);
  const [isOpen, setOpen] = useState(false);
  const current = route.value;
  useEffect(() => {
    if (place.current) place.current.open = false;
  }, [current]);
  return (
    <details
      class="badge"
      ref={place}
      onToggle={(event) => setOpen(event.currentTarget.open)}
      onKeyDown={(event) => {
        if (event.key !== "Escape" || !place.current?.open) return;
        place.current.open = false;
        place.current.querySelector("summary")?.focus();
      }}
    >
      <summary>{name}</summary>
      <div class="badge-parts">{isOpen && children}</div>
    </details>
  );
}
