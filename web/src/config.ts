import { signal } from "@preact/signals";

/** Where the page is served: /config.json, with defaults for what it lacks. */
export interface Config {
  api: string;
  stripe_publishable_key: string | null;
  /** The address of a page to pay on without Stripe's form; on a laptop only. */
  pay_page: string | null;
  /** A package can be run once a day without a login. */
  anonymous_runs: boolean;
  /** The page is served by `make run`, and commands of the project make tokens. */
  laptop: boolean;
}

const DEFAULTS: Config = { api: "/api/v1", stripe_publishable_key: null, pay_page: null, anonymous_runs: false, laptop: false };
const PATIENCE_MS = 4_000; // for one answer; the page goes on with the defaults meanwhile
const FIRST_WAIT_MS = 1_000;
const MAX_WAIT_MS = 60_000;

/** What the file has of the right type. */
function accepted(found: unknown): Config {
  if (typeof found !== "object" || found === null || Array.isArray(found)) throw new TypeError("/config.json is no object.");
  const of = found as Readonly<Record<string, unknown>>;
  const text = (name: string) => (typeof of[name] === "string" && of[name] !== "" ? (of[name] as string) : null);
  return {
    api: text("api") ?? DEFAULTS.api,
    stripe_publishable_key: text("stripe_publishable_key"),
    pay_page: text("pay_page"),
    anonymous_runs: of["anonymous_runs"] === true,
    laptop: of["laptop"] === true,
  };
}

async function read(): Promise<Config> {
  const answer = await fetch("/config.json", { signal: AbortSignal.timeout(PATIENCE_MS) });
  if (!answer.ok) throw new Error(`/config.json: ${answer.status}`);
  return accepted(await answer.json());
}

let reading: Promise<Config> | null = null;

/** For views: the defaults until it has been read. */
export const site = signal<Config>(DEFAULTS);

/**
 * What was read; the defaults if it cannot be at present. A failure does not last: it is read again after a time, or when
 * there is a connection again. Nobody waits for that.
 */
export function config(): Promise<Config> {
  return (reading ??= attempt(0));
}

async function attempt(failures: number): Promise<Config> {
  try {
    return (site.value = await read());
  } catch {
    readAgain(failures);
    return site.peek();
  }
}

function readAgain(failures: number): void {
  const again = () => {
    clearTimeout(timer);
    removeEventListener("online", again);
    void attempt(failures + 1).then((found) => (reading = Promise.resolve(found)));
  };
  const timer = setTimeout(again, Math.min(MAX_WAIT_MS, FIRST_WAIT_MS * 2 ** failures));
  addEventListener("online", again);
}
