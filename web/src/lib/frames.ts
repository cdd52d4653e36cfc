/** Draws the newest value once in a frame, however many come between two. */
export interface Frames<T> {
  show(value: T): void;
  /** Draws now what is waiting for a frame. */
  flush(): void;
  /** What is waiting is not drawn any more. */
  stop(): void;
}

/** A window that is not seen has no frames: what came meanwhile is drawn when it is seen again, or flushed. */
export function perFrame<T>(draw: (value: T) => void): Frames<T> {
  let waiting: { value: T } | null = null;
  let frame: number | null = null;
  const stop = () => {
    if (frame !== null) cancelAnimationFrame(frame);
    frame = null;
    waiting = null;
  };
  const flush = () => {
    const now = waiting;
    stop();
    if (now !== null) draw(now.value);
  };
  return {
    show(value) {
      waiting = { value };
      frame ??= requestAnimationFrame(flush);
    },
    flush,
    stop,
  };
}
