import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { route } from "../router";

/** A part of the page's head to open. Escape and another view close it. */
export function Menu({ name, children }: { name: ComponentChildren; children: ComponentChildren }) {
  const place = useRef<HTMLDetailsElement>(null);
  const current = route.value;
  useEffect(() => {
    if (place.current) place.current.open = false;
  }, [current]);
  return (
    <details
      class="badge"
      ref={place}
      onKeyDown={(event) => {
        if (event.key !== "Escape" || !place.current?.open) return;
        place.current.open = false;
        place.current.querySelector("summary")?.focus();
      }}
    >
      <summary>{name}</summary>
      <div class="badge-parts">{children}</div>
    </details>
  );
}
