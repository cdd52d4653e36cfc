/**
 * The token of the person in this tab. It comes in the fragment of a link (`/#token=…`), is taken out of the address
 * before anything else runs, and is kept in sessionStorage: other tabs do not have it, and closing the tab forgets it.
 */
import { computed, signal } from "@preact/signals";
import { forgetTab, leaveTab, readTab, writeTab } from "./tab";

const TOKEN = "token";
const SUBJECT = "subject";
const NAME = "token=";

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

/** Whose token it is, without proof: only to keep what one person wrote from the next one in the same tab. */
export function subject(token: string): string | null {
  try {
    const payload = (token.split(".")[1] ?? "").replace(/-/g, "+").replace(/_/g, "/");
    const claims = JSON.parse(atob(payload)) as Record<string, unknown>;
    const name = claims["sub"] ?? claims["user_id"];
    return typeof name === "string" ? name : null;
  } catch {
    return null;
  }
}

function accept(token: string): { changed: boolean } {
  const owner = subject(token);
  const changed = readTab<string | null>(SUBJECT) !== null && readTab<string | null>(SUBJECT) !== owner;
  if (changed) forgetTab();
  writeTab(TOKEN, token);
  writeTab(SUBJECT, owner);
  return { changed };
}

const arrived = takeFromAddress();
if (arrived !== null) accept(arrived);

const current = signal<string | null>(arrived ?? readTab<string>(TOKEN));
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
  if (accept(token).changed) {
    leaveTab();
    location.assign("/"); // nothing of somebody else stays in memory either
    return;
  }
  isExpired.value = false;
  current.value = token;
}

/** Forgets the token and what was written in this tab. */
export function signOut(): void {
  forgetTab();
  leaveTab();
  location.assign("/");
}

// A page that the browser has kept in memory would come back with the token and the texts of whoever has signed out.
addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});

/** The API refused `token`. What was written stays, for the same person to go on. A newer token stays, too. */
export function refuse(token: string): void {
  if (current.peek() !== token) return;
  writeTab(TOKEN, null);
  current.value = null;
  isExpired.value = true;
}
