/**
 * The paid requests that this tab has made and has not seen the end of. A request that is made again with its key is the
 * same run or comparison, and is charged once; after its outcome the same request is a new one.
 */
import { newKey } from "../api/client";
import { readTab, writeTab } from "./tab";

export interface Attempt {
  request: string;
  key: string;
  /** It was sent, and no answer told what came of it. */
  mayHaveBegun: boolean;
}

const MAX_UNSENT = 20; // that were refused, or left: nothing is lost with their keys
const MAX_BEGUN = 200;

export class Attempts {
  /** `name`: of their place in the tab. */
  constructor(private readonly name: string) {}

  /** The attempt at this request: the one before, if its outcome is not known, otherwise a new one. */
  at(body: unknown): Attempt {
    const request = JSON.stringify(body);
    const before = this.all().find((each) => each.request === request);
    if (before !== undefined) return before;
    const attempt = { request, key: newKey(), mayHaveBegun: false };
    this.save([...this.all(), attempt]);
    return attempt;
  }

  noteBegun(key: string): void {
    this.save(this.all().map((each) => (each.key === key ? { ...each, mayHaveBegun: true } : each)));
  }

  /** The API has said what came of it. */
  noteOutcome(key: string): void {
    this.save(this.all().filter((each) => each.key !== key));
  }

  private all(): Attempt[] {
    return readTab<Attempt[]>(this.name) ?? [];
  }

  private save(attempts: Attempt[]): void {
    const unsent = attempts.filter((each) => !each.mayHaveBegun).slice(-MAX_UNSENT);
    const begun = attempts.filter((each) => each.mayHaveBegun).slice(-MAX_BEGUN);
    writeTab(this.name, attempts.length === 0 ? null : [...begun, ...unsent]);
  }
}
