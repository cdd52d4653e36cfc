import type { ComponentType } from "preact";
import { useEffect, useState } from "preact/hooks";

/** A view that is loaded when it is shown. If it cannot be loaded, it says so and offers to try again. */
export function lazy<P extends object>(load: () => Promise<ComponentType<P>>): ComponentType<P> {
  let loaded: ComponentType<P> | null = null;
  return function Lazy(props: P) {
    const [, show] = useState(0);
    const [attempt, setAttempt] = useState(0);
    const [failed, setFailed] = useState(false);
    useEffect(() => {
      if (loaded) return;
      let current = true;
      setFailed(false);
      load().then(
        (view) => {
          loaded = view;
          if (current) show((count) => count + 1);
        },
        () => current && setFailed(true),
      );
      return () => {
        current = false;
      };
    }, [attempt]);
    if (loaded) {
      const View = loaded;
      return <View {...props} />;
    }
    if (!failed) return <p class="loading">Loading…</p>;
    return (
      <div role="alert" class="notice notice-bad">
        <p>This part of the page could not be loaded. Check your connection.</p>
        <button type="button" class="button" onClick={() => setAttempt(attempt + 1)}>
          Try again
        </button>
      </div>
    );
  };
}
