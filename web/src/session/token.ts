/**
 * The token of the person in this tab. It comes in the fragment of a link (`/#token=…`), is taken out of the address
 * before anything else runs, and is kept in sessionStorage: other tabs do not have it, and closing the tab forgets it.
 */
import { computed, signal } from "@preact/signals";

const KEY = "playground.token";
const NAME = "token=";

function stored(): string | null {
  try {
    return sessionStorage.getItem(KEY);
  } catch {
    return null; // storage is switched off: the token lives as long as the page
  }
}

function store(token: string | null): void {
  try {
    if (token === null) sessionStorage.removeItem(KEY);
    else sessionStorage.setItem(KEY, token);
  } catch {
    /* as above */
  }
}

/** What the fragment has as a token, and the fragment without it. */
export function readFragment(fragment: string): { token: string | null; rest: string } {
  const parts = fragment.replace(/^#/, "").split("&");
  const found = parts.find((part) => part.startsWith(NAME));
  const rest = parts.filter((part) => part !== "" && !part.startsWith(NAME)).join("&");
  const token = found === undefined ? null : found.slice(NAME.length).trim();
  return { token: token || null, rest: rest && `#${rest}` };
}

function takeFromAddress(): string | null {
  if (!location.hash.includes(NAME)) return null;
  const { token, rest } = readFragment(location.hash);
  history.replaceState(history.state, "", location.pathname + location.search + rest);
  return token;
}

const arrived = takeFromAddress();
if (arrived !== null) store(arrived);

const current = signal<string | null>(arrived ?? stored());
/** Set when the API did not accept the token: the person has to sign in again. */
export const isExpired = signal(false);
export const isSignedIn = computed(() => current.value !== null);

addEventListener("hashchange", () => {
  const token = takeFromAddress();
  if (token !== null) signIn(token);
});

/** For the API client only: nothing else may see or show it. */
export function bearer(): string | null {
  return current.peek();
}

export function signIn(token: string): void {
  store(token);
  isExpired.value = false;
  current.value = token;
}

export function signOut(): void {
  store(null);
  isExpired.value = false;
  current.value = null;
}

/** The API refused `token`. A newer one that has come in the meantime stays. */
export function refuse(token: string): void {
  if (current.peek() !== token) return;
  signOut();
  isExpired.value = true;
}
