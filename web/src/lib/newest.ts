/** Saves what somebody has chosen. While a request is on its way, only the newest choice waits: it is saved last. */
export interface Saver<T> {
  /** Resolves when this choice, or a later one, is saved; rejects if the last one could not be. */
  save(value: T): Promise<void>;
}

export function saver<T>(send: (value: T) => Promise<unknown>): Saver<T> {
  let waiting: { value: T } | null = null;
  let working: Promise<void> | null = null;
  const work = async () => {
    try {
      let last: unknown = null;
      while (waiting !== null) {
        const { value } = waiting;
        waiting = null;
        last = null;
        try {
          await send(value);
        } catch (error) {
          last = error ?? new Error("It was not saved.");
        }
      }
      if (last !== null) throw last;
    } finally {
      working = null;
    }
  };
  return {
    save(value) {
      waiting = { value };
      return (working ??= work());
    },
  };
}
