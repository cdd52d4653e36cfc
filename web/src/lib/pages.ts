/** Lists that come in pages. */
import { batch, signal } from "@preact/signals";

export interface Page<T> {
  items: readonly T[];
  next: string | null;
  /** Records of this page that are damaged and left out. */
  unreadable?: number;
}

/** Pages of the list that `K` names: a filter, an order, a search. */
type Read<T, K> = (key: K, cursor: string | null, signal: AbortSignal) => Promise<Page<T>>;

/**
 * One list at a time. `load` begins with the first page of another one, and nothing that was asked for before gets into it,
 * however late it comes. An item that comes twice, because the list has changed between two pages, is listed once.
 */
export class Pages<T, K> {
  /** The list that `items` are of; null before the first answer. */
  readonly key = signal<K | null>(null);
  readonly items = signal<readonly T[] | null>(null);
  readonly next = signal<string | null>(null);
  readonly unreadable = signal(0);
  readonly isLoading = signal(false);
  /** Why the page that was asked for last could not be had. */
  readonly error = signal<unknown>(null);
  private asking: AbortController | null = null;
  private reading: Promise<void> = Promise.resolve();
  private wanted: K | null = null;

  constructor(
    private readonly read: Read<T, K>,
    private readonly idOf: (item: T) => string,
  ) {}

  /** The first page of this list, anew. What is shown stays until it is there. */
  load(key: K): Promise<void> {
    this.wanted = key;
    return this.ask(key, null);
  }

  /** The next page. While a page is being read, that one. */
  more(): Promise<void> {
    if (this.isLoading.peek()) return this.reading;
    const key = this.key.peek();
    const cursor = this.next.peek();
    return key === null || cursor === null ? Promise.resolve() : this.ask(key, cursor);
  }

  /** What could not be had, again. */
  again(): Promise<void> {
    const isOther = this.wanted !== null && this.wanted !== this.key.peek();
    if (this.wanted !== null && (isOther || this.next.peek() === null)) return this.load(this.wanted);
    return this.more();
  }

  /** Drops what is being asked for, and why it could not be had: what is shown is wanted again. */
  stop(): void {
    this.asking?.abort();
    this.asking = null;
    this.wanted = this.key.peek();
    this.isLoading.value = false;
    this.error.value = null;
  }

  change(items: (now: readonly T[]) => readonly T[]): void {
    const now = this.items.peek();
    if (now !== null) this.items.value = items(now);
  }

  private ask(key: K, cursor: string | null): Promise<void> {
    this.asking?.abort();
    const asking = new AbortController();
    this.asking = asking;
    this.isLoading.value = true;
    this.reading = this.take(key, cursor, asking);
    return this.reading;
  }

  private async take(key: K, cursor: string | null, asking: AbortController): Promise<void> {
    try {
      const page = await this.read(key, cursor, asking.signal);
      if (this.asking !== asking) return;
      batch(() => {
        const before = cursor === null ? [] : (this.items.peek() ?? []);
        const known = new Set(before.map(this.idOf));
        this.items.value = [...before, ...page.items.filter((each) => !known.has(this.idOf(each)))];
        this.key.value = key;
        this.next.value = page.next;
        this.unreadable.value = (cursor === null ? 0 : this.unreadable.peek()) + (page.unreadable ?? 0);
        this.error.value = null;
      });
    } catch (problem) {
      if (this.asking === asking) this.error.value = problem;
    } finally {
      if (this.asking === asking) {
        this.asking = null;
        this.isLoading.value = false;
      }
    }
  }
}
