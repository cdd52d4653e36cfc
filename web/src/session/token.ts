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

function claimsOf(token: string): Record<string, unknown> {
  try {
    const payload = (token.split(".")[1] ?? "").replace(/-/g, "+").replace(/_/g, "/");
    const bytes = Uint8Array.from(atob(payload), (character) => character.charCodeAt(0));
    return (JSON.parse(new TextDecoder().decode(bytes)) ?? {}) as Record<string, unknown>;
  } catch {
    return {};
  }
}

function text(value: unknown): string | null {
  return typeof value === "string" && value !== "" ? value : null;
}

/** Whose token it is, without proof: to keep what one person wrote from the next one in the same tab, and to show it. */
export function subject(token: string): string | null {
  const claims = claimsOf(token);
  return text(claims["sub"]) ?? text(claims["user_id"]);
}

/** What to call whoever the token is of: their e-mail address if it has one, otherwise their user id. */
export function nameIn(token: string): string | null {
  return text(claimsOf(token)["email"]) ?? subject(token);
}

function accept(token: string): { changed: boolean } {
  const owner = subject(token);
  const changed = readTab<string | null>(SUBJECT) !== null && readTab<string | null>(SUBJECT) !== owner;
  if (changed) forgetTab();
  writeTab(TOKEN, token);
  writeTab(SUBJECT, owner);
  return { changed };
}

function isOfSomebodyElse(token: string): boolean {
  const owner = readTab<string>(SUBJECT);
  return owner !== null && owner !== subject(token);
}

const current = signal<string | null>(readTab<string>(TOKEN));
const offered = signal<string | null>(null);

/** Set when the API did not accept the token: the person has to sign in again. */
export const isExpired = signal(false);
export const isSignedIn = computed(() => current.value !== null);

/** The user id of whoever is signed in, and what to call them. */
export const account = computed(() => (current.value === null ? null : subject(current.value)));
export const accountName = computed(() => (current.value === null ? null : nameIn(current.value)));

/** A link has brought the token of another person than this tab's: it is taken only if the reader says so. */
export const offer = computed(() => {
  if (offered.value === null) return null;
  return { name: nameIn(offered.value), present: accountName.value ?? readTab<string>(SUBJECT) };
});

function take(token: string): void {
  if (isOfSomebodyElse(token)) offered.value = token;
  else signIn(token);
}

const arrived = takeFromAddress();
if (arrived !== null) take(arrived);

addEventListener("hashchange", () => {
  const token = takeFromAddress();
  if (token !== null) take(token);
});

export function acceptOffer(): void {
  const token = offered.peek();
  if (token === null) return;
  accept(token);
  leave();
  location.reload(); // where the link leads to; nothing of somebody else stays in memory
}

export function declineOffer(): void {
  offered.value = null;
}

/** For the API client only: nothing else may see or show it. */
export function bearer(): string | null {
  return current.peek();
}

export function signIn(token: string): void {
  if (accept(token).changed) {
    leave();
    location.assign("/"); // nothing of somebody else stays in memory either
    return;
  }
  isExpired.value = false;
  current.value = token;
}

/** Forgets the token and what was written in this tab. */
export function signOut(): void {
  forgetTab();
  leave();
  location.assign("/");
}

/** The next page may take its time. Until it is there, nothing of whoever was here can be seen or used. */
function leave(): void {
  leaveTab();
  conceal();
}

function conceal(): void {
  document.body.hidden = true;
}

// A page that the browser has kept in memory would come back with the token and the texts of whoever has signed out.
addEventListener("pagehide", leave); // its requests break off, too, and say nothing of what they have asked for
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
