import { useLayoutEffect, useRef } from "preact/hooks";

interface Props {
  /** There is nothing to stop yet, or it is being stopped. The button keeps the focus meanwhile. */
  isOff: boolean;
  onStop: () => void;
  note: string;
  /** Called if the focus was here when the bar goes away with what it stops. */
  onGone?: () => void;
}

/** Stops what is being written: in view wherever the reader is. */
export function StopBar({ isOff, onStop, note, onGone }: Props) {
  const bar = useRef<HTMLDivElement>(null);
  useLayoutEffect(
    () => () => {
      if (bar.current?.contains(document.activeElement)) onGone?.();
    },
    [],
  );
  return (
    <div class="stop-bar" ref={bar}>
      <button type="button" class="button" aria-disabled={isOff} onClick={() => !isOff && onStop()}>
        Stop
      </button>
      <span class="hint">{note}</span>
    </div>
  );
}
