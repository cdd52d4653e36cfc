import { useCallback, useEffect, useState } from "preact/hooks";
import { ErrorNotice } from "../../components/ErrorNotice";
import { SignIn } from "../../components/SignIn";
import { balance, refreshBalance } from "../../session/balance";
import { returned } from "../../session/returned";
import { isSignedIn } from "../../session/token";
import { BalanceParts } from "./Balance";
import { Buy } from "./Buy";
import { History } from "./History";
import { payments } from "./payments";
import { Plan } from "./Plan";
import { UsageView } from "./UsageView";
import "./credits.css";

const MAX_LOOKS = 20; // after a way back from Stripe's page: credits come with Stripe's event
const LOOK_MS = 1500;

/** What a page of Stripe leads back with; `isDone`: what was paid for is there. */
export function saidOf(outcome: string, isDone: boolean): string | null {
  if (isDone && outcome === "success") return "Thank you. PRPM+ is active.";
  if (isDone && outcome === "succeeded") return null; // the purchase says it
  return (Object.hasOwn(RETURNED, outcome) && RETURNED[outcome]) || null;
}

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
  const [looks, setLooks] = useState(0);
  const [isActive, setActive] = useState(false);
  const outcome = returned.value;
  const isDone = outcome === "success" ? isActive : payments.value.some((each) => each.state === "paid");
  const signedIn = isSignedIn.value;

  useEffect(() => {
    if (signedIn) void refreshBalance();
  }, [signedIn]);

  // Who comes back from paying sees the credits as soon as they are there.
  useEffect(() => {
    if (!signedIn || (outcome !== "success" && outcome !== "succeeded")) return undefined;
    let count = 0;
    const timer = window.setInterval(() => {
      count += 1;
      if (count >= MAX_LOOKS) window.clearInterval(timer);
      setLooks(count);
      void refreshBalance();
    }, LOOK_MS);
    return () => window.clearInterval(timer);
  }, [signedIn, outcome]);

  // Said once: who comes to the view again has not come from Stripe's page.
  useEffect(
    () => () => {
      returned.value = null;
      payments.value = payments.peek().filter((each) => each.state !== "paid");
    },
    [],
  );

  useEffect(() => {
    if (section === "subscription") document.getElementById("plan-title")?.scrollIntoView();
  }, [section, now === null]);

  const said = outcome === null ? null : saidOf(outcome, isDone);
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
            <Buy onError={onError} />
            <Plan changes={outcome === "success" && !isActive ? `${amount} ${looks}` : amount} onState={setActive} onError={onError} />
            <UsageView changes={amount} />
            <History changes={amount} />
          </div>
        )
      )}
    </div>
  );
}
