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

async function read(): Promise<Config> {
  try {
    const answer = await fetch("/config.json");
    return answer.ok ? { ...DEFAULTS, ...((await answer.json()) as Partial<Config>) } : DEFAULTS;
  } catch {
    return DEFAULTS;
  }
}

let reading: Promise<Config> | null = null;

/** For views: the defaults until it has been read. */
export const site = signal<Config>(DEFAULTS);

export function config(): Promise<Config> {
  return (reading ??= read().then((found) => (site.value = found)));
}
