/** The balance, as the API last said it. */
import { effect, signal } from "@preact/signals";
import { api, type Schemas } from "../api/client";
import { isSignedIn } from "./token";

export type Balance = Schemas["CreditsAnswer"];

export const balance = signal<Balance | null>(null);
let asking = 0;

/** Ask again, for example after a run or a purchase. If it cannot be had, the last one stays. */
export async function refreshBalance(): Promise<void> {
  const number = ++asking;
  try {
    const answer = await api.get("/playground/credits");
    if (number === asking) balance.value = answer;
  } catch {
    /* shown by whatever the person does next */
  }
}

effect(() => {
  if (isSignedIn.value) void refreshBalance();
  else {
    asking += 1;
    balance.value = null;
  }
});

// Another window may have spent or bought in the meantime.
addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible" && isSignedIn.peek()) void refreshBalance();
});
