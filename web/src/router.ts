/** The address as state. The paths are those that the backend links to; docs/front-end.md lists them. */
import { computed, signal } from "@preact/signals";

export type Route =
  | { view: "try"; packageId: string | null; sessionId: string | null; isOwn: boolean }
  | { view: "compare"; packageId: string | null }
  | { view: "conversations"; sessionId: string | null }
  | { view: "credits"; section: "credits" | "subscription" }
  | { view: "shared"; token: string }
  | { view: "unknown" };

export function parse(path: string, search: string): Route {
  const parts = path.split("/").filter((part) => part !== "");
  const query = new URLSearchParams(search);
  const packageId = query.get("package");
  const [first, second, third] = parts;
  if (parts.length === 0) {
    return { view: "try", packageId, sessionId: query.get("session"), isOwn: query.get("prompt") === "own" };
  }
  if (first === "compare" && parts.length === 1) return { view: "compare", packageId };
  if (first === "conversations" && parts.length <= 2) return { view: "conversations", sessionId: decoded(second) };
  if (first === "playground" && parts.length === 2 && (second === "credits" || second === "subscription")) {
    return { view: "credits", section: second };
  }
  const token = first === "playground" && second === "shared" && parts.length === 3 ? decoded(third) : null;
  return token === null ? { view: "unknown" } : { view: "shared", token };
}

function decoded(part: string | undefined): string | null {
  if (part === undefined) return null;
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

export const links = {
  /** `isOwn`: a prompt of the reader's own in place of a package. */
  try: (of: { packageId?: string | null; sessionId?: string | null; isOwn?: boolean } = {}) => {
    const query = new URLSearchParams();
    if (of.packageId) query.set("package", of.packageId);
    if (of.sessionId) query.set("session", of.sessionId);
    if (of.isOwn) query.set("prompt", "own");
    return query.size > 0 ? `/?${query}` : "/";
  },
  compare: (packageId?: string | null) => (packageId ? `/compare?${new URLSearchParams({ package: packageId })}` : "/compare"),
  conversations: (sessionId?: string) => (sessionId ? `/conversations/${encodeURIComponent(sessionId)}` : "/conversations"),
  credits: () => "/playground/credits",
  subscription: () => "/playground/subscription",
};

const address = signal(location.pathname + location.search);

export const route = computed<Route>(() => {
  const [path = "/", search = ""] = address.value.split(/(?=\?)/, 2);
  return parse(path, search);
});
addEventListener("popstate", () => {
  address.value = location.pathname + location.search;
});

/** Whether the address has changed since the page was loaded: the focus is the page's business from then on. */
export let hasNavigated = false;

/** `replace`: the address changes without a step for the back button. */
export function navigate(to: string, { replace = false } = {}): void {
  if (to === address.peek()) return;
  hasNavigated = true;
  if (replace) history.replaceState(null, "", to);
  else history.pushState(null, "", to);
  address.value = location.pathname + location.search;
}

/** Lets links of the page change the address without loading it again. */
export function followLinks(root: HTMLElement): void {
  root.addEventListener("click", (event) => {
    if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const link = event.target instanceof Element ? event.target.closest("a") : null;
    if (!link || link.target || link.hasAttribute("download") || link.origin !== location.origin) return;
    if (link.hash !== "" && link.pathname === location.pathname) return;
    if (link.pathname.startsWith("/api/")) return;
    event.preventDefault();
    navigate(link.pathname + link.search);
  });
}
