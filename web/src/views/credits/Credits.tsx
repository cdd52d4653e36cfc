import { useCallback, useEffect, useState } from "preact/hooks";
import { ErrorNotice } from "../../components/ErrorNotice";
import { SignIn } from "../../components/SignIn";
import { query } from "../../router";
import { balance, refreshBalance } from "../../session/balance";
import { isSignedIn } from "../../session/token";
import { BalanceParts } from "./Balance";
import { Buy } from "./Buy";
import { History } from "./History";
import { Plan } from "./Plan";
import { UsageView } from "./UsageView";
import "./credits.css";

const MAX_LOOKS = 20; // after a way back from Stripe's page: credits come with Stripe's event
const LOOK_MS = 1500;

/** What a page of Stripe leads back with. */
const RETURNED: Readonly<Record<string, string>> = {
  success: "Thank you. PRPM+ is active as soon as Stripe confirms the payment; this page shows it.",
  canceled: "You left Stripe's page without paying. Nothing was charged.",
  succeeded: "Thank you. Your credits are added as soon as Stripe confirms the payment; this page shows it.",
  processing: "Your bank is still working on the payment. Your credits are added when it is done.",
  failed: "The payment failed. Nothing was charged.",
};

export function Credits({ section }: { section: "credits" | "subscription" }) {
  const [failure, setFailure] = useState<unknown>(null);
  const [attempt, setAttempt] = useState(0);
  const onError = useCallback((error: unknown) => setFailure(error), []);
  const now = balance.value;
  const amount = now?.balance ?? null;
  const returned = query.value.get("checkout") ?? query.value.get("redirect_status");
  const signedIn = isSignedIn.value;

  useEffect(() => {
    if (signedIn) void refreshBalance();
  }, [signedIn]);

  // Who comes back from paying sees the credits as soon as they are there.
  useEffect(() => {
    if (!signedIn || (returned !== "success" && returned !== "succeeded")) return undefined;
    let looks = 0;
    const timer = window.setInterval(() => {
      looks += 1;
      if (looks >= MAX_LOOKS) window.clearInterval(timer);
      void refreshBalance();
    }, LOOK_MS);
    return () => window.clearInterval(timer);
  }, [signedIn, returned]);

  useEffect(() => {
    if (section === "subscription") document.getElementById("plan-title")?.scrollIntoView();
  }, [section, now === null]);

  const said = returned === null ? undefined : RETURNED[returned];
  return (
    <div class="credits">
      <h1>Credits</h1>
      {said && (
        <p role="status" class="notice">
          {said}
        </p>
      )}
      {failure !== null && (
        <ErrorNotice
          error={failure}
          onRetry={() => {
            setFailure(null);
            setAttempt(attempt + 1);
          }}
        />
      )}
      {!signedIn ? (
        <div class="notice">
          <p class="notice-title">Sign in to see your credits</p>
          <SignIn />
        </div>
      ) : (
        now && (
          <div key={attempt}>
            <BalanceParts balance={now} />
            <Buy onPaid={() => void refreshBalance()} onError={onError} />
            <Plan changes={amount} onError={onError} />
            <UsageView changes={amount} />
            <History changes={amount} />
          </div>
        )
      )}
    </div>
  );
}
