import { useEffect, useRef, useState } from "preact/hooks";
import { api, newKey, type Schemas } from "../../api/client";
import { config, type Config } from "../../config";
import { credits, dollars } from "../../lib/format";
import { tryLink } from "../try/store";
import { StripeForm } from "./StripeForm";

type Pack = Schemas["PackAnswer"];
type Purchase = Schemas["PurchaseAnswer"];

const POLL_MS = 1500;
const MAX_POLLS = 400; // ten minutes on the payment page

/** Packs, and the payment of the one that was chosen. Credits are there when the purchase says that it is paid. */
export function Buy({ onPaid, onError }: { onPaid: () => void; onError: (error: unknown) => void }) {
  const [packs, setPacks] = useState<Pack[] | null>(null);
  const [chosen, setChosen] = useState<{ pack: Pack; purchase: Purchase } | null>(null);
  const [busy, setBusy] = useState<string | null>(null);
  const [paid, setPaid] = useState<number | null>(null);

  useEffect(() => {
    api
      .get("/playground/credits/packages")
      .then((found) => setPacks(found.packages))
      .catch(onError);
  }, [onError]);

  async function buy(pack: Pack) {
    setBusy(pack.id);
    setPaid(null);
    try {
      const purchase = await api.post("/playground/credits/purchase", { body: { package: pack.id as Schemas["PurchaseBody"]["package"] }, key: newKey() });
      setChosen({ pack, purchase });
    } catch (error) {
      onError(error);
    } finally {
      setBusy(null);
    }
  }

  return (
    <section aria-labelledby="buy-title" id="buy">
      <h2 id="buy-title">Buy credits</h2>
      <p class="credits-note">Paid once. Purchased credits never expire.</p>
      <ul class="credits-packs">
        {(packs ?? []).map((pack) => (
          <li key={pack.id} class={pack.popular ? "credits-popular" : undefined}>
            <h3>{credits(pack.credits)}</h3>
            <p>
              {pack.price_formatted}
              <small>
                {" "}
                {pack.per_credit_cost.toFixed(1)}¢ each{pack.bonus > 0 && `, ${pack.bonus}% more for the money`}
              </small>
            </p>
            {pack.popular && <p class="credits-badge">Popular</p>}
            <button
              type="button"
              class="button"
              disabled={busy !== null}
              aria-label={`Buy ${credits(pack.credits)} for ${pack.price_formatted}`}
              onClick={() => void buy(pack)}
            >
              {busy === pack.id ? "One moment…" : "Buy"}
            </button>
          </li>
        ))}
      </ul>
      {chosen && (
        <Payment
          key={chosen.purchase.purchase_id}
          pack={chosen.pack}
          purchase={chosen.purchase}
          onCancel={() => setChosen(null)}
          onPaid={() => {
            setPaid(chosen.pack.credits);
            setChosen(null);
            onPaid();
          }}
        />
      )}
      <div role="status">
        {paid !== null && (
          <p class="credits-paid">
            Paid. {credits(paid)} have been added. <a href={tryLink.value}>Back to what you were doing</a>
          </p>
        )}
      </div>
    </section>
  );
}

function Payment({
  pack,
  purchase,
  onPaid,
  onCancel,
}: {
  pack: Pack;
  purchase: Purchase;
  onPaid: () => void;
  onCancel: () => void;
}) {
  const [state, setState] = useState("open");
  const heading = useRef<HTMLHeadingElement>(null);
  const [about, setAbout] = useState<Config | null>(null);
  useEffect(() => {
    heading.current?.focus();
    void config().then(setAbout);
  }, []);
  usePurchaseState(purchase.purchase_id, (now) => {
    setState(now);
    if (now === "paid") onPaid();
  });

  return (
    <div class="credits-payment" role="group" aria-labelledby="pay-title">
      <h3 id="pay-title" tabIndex={-1} ref={heading}>
        Pay {dollars(purchase.price)} for {credits(pack.credits)}
      </h3>
      {state === "declined" && (
        <p role="alert">The card was declined. Nothing was charged; you can try again with another one.</p>
      )}
      {purchase.pay_url ? (
        <>
          <p>
            <a class="button button-main" href={purchase.pay_url} target="_blank" rel="noopener noreferrer">
              Open the payment page
            </a>{" "}
            <small>It opens in a new tab. This page notices when you have paid.</small>
          </p>
        </>
      ) : about === null ? null : about.stripe_publishable_key ? (
        <StripeForm publishableKey={about.stripe_publishable_key} clientSecret={purchase.client_secret} />
      ) : (
        <p role="alert">Payments are not set up here: there is no publishable key. Nothing was charged.</p>
      )}
      <p aria-live="polite">{state === "open" && purchase.pay_url ? "Waiting for your payment…" : ""}</p>
      <button type="button" class="button button-quiet" onClick={onCancel}>
        Not now
      </button>
    </div>
  );
}

/** Asks for the state of a purchase until it is paid or can be no more, while the page is visible. */
function usePurchaseState(purchaseId: string, onState: (state: string) => void) {
  const latest = useRef(onState);
  latest.current = onState;
  useEffect(() => {
    let polls = 0;
    let timer = 0;
    let wanted = true;
    async function look() {
      if (document.visibilityState === "visible") {
        polls += 1;
        try {
          const page = await api.get("/playground/credits/purchases", { query: { limit: 10 } });
          const mine = page.purchases.find((each) => each.purchase_id === purchaseId);
          if (!wanted) return;
          if (mine) latest.current(mine.state);
          if (mine && (mine.state === "paid" || mine.state === "canceled")) return;
        } catch {
          // The next look says it again, or the balance does.
        }
      }
      if (wanted && polls < MAX_POLLS) timer = window.setTimeout(() => void look(), POLL_MS);
    }
    timer = window.setTimeout(() => void look(), POLL_MS);
    return () => {
      wanted = false;
      window.clearTimeout(timer);
    };
  }, [purchaseId]);
}
