import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { api, type Schemas } from "../../api/client";
import { credits, day } from "../../lib/format";
import { Confirm } from "../../components/Confirm";

type Subscription = Schemas["SubscriptionAnswer"];
type Pricing = Schemas["PricingAnswer"];

/**
 * PRPM+: subscribe, cancel at the end of the period, resume, and Stripe's portal for cards and invoices. `changes`: a new
 * value means that the subscription may have begun; `onState` gets whether it is active whenever that has been read.
 */
export function Plan({
  changes,
  onState,
  onError,
}: {
  changes: unknown;
  onState: (isActive: boolean) => void;
  onError: (error: unknown) => void;
}) {
  const [pricing, setPricing] = useState<Pricing | null>(null);
  const [state, setState] = useState<Subscription | null>(null);
  const [busy, setBusy] = useState(false);
  const [isAsking, setAsking] = useState(false);
  const status = useRef<HTMLParagraphElement>(null);

  const isKnown = useRef(false);
  const acts = useRef(0); // what was read before one of them is older than its answer
  const [looks, setLooks] = useState(0);

  // Another window may have changed it meanwhile, or its period has ended.
  useEffect(() => {
    const look = () => document.visibilityState === "visible" && setLooks((before) => before + 1);
    addEventListener("visibilitychange", look);
    return () => removeEventListener("visibilitychange", look);
  }, []);

  useEffect(() => {
    let current = true;
    const begun = acts.current;
    Promise.all([
      api.get("/playground/pricing"),
      api.get("/playground/subscription"),
    ])
      .then(([price, subscription]) => {
        if (!current || acts.current !== begun) return;
        isKnown.current = true;
        setPricing(price);
        setState(subscription);
        onState(subscription.is_active);
      })
      .catch((error: unknown) => current && !isKnown.current && onError(error)); // what is shown stays
    return () => {
      current = false;
    };
  }, [onError, onState, changes, looks]);

  const isBusy = useRef(false);
  const doing = useCallback(
    (work: () => Promise<void>) => {
      if (isBusy.current) return;
      isBusy.current = true;
      acts.current += 1;
      setBusy(true);
      work()
        .catch(onError)
        .finally(() => {
          isBusy.current = false;
          acts.current += 1;
          setBusy(false);
        });
    },
    [onError],
  );

  const leave = (path: "/playground/subscribe" | "/playground/subscription/portal") =>
    doing(async () => {
      const { url } = await api.post(path, { body: {} });
      location.assign(url);
    });
  const change = (path: "/playground/subscription/cancel" | "/playground/subscription/resume") =>
    doing(async () => {
      setState(await api.post(path));
      setState(await api.get("/playground/subscription"));
      status.current?.focus(); // the button is another one now
    });

  if (!pricing || !state) return null;
  const until = state.current_period_end ? day(state.current_period_end) : null;
  const isGranted = state.status === "granted";
  return (
    <section aria-labelledby="plan-title">
      <h2 id="plan-title">{pricing.name}</h2>
      <p>
        {credits(pricing.credits)} every {pricing.interval} for {pricing.price_formatted}. What is left at the end of a
        month stays one month longer.
      </p>
      <p role="status" ref={status} tabIndex={-1}>
        {!state.is_active && "You are not subscribed."}
        {state.is_active && isGranted && `You have it through your organisation${until ? `, until ${until}` : ""}.`}
        {state.is_active &&
          !isGranted &&
          (state.cancel_at_period_end
            ? `Canceled. It ends ${until ?? "with its period"}; until then nothing changes.`
            : `Active${until ? `, renews ${until}` : ""}.`)}
      </p>
      <p class="actions">
        {!state.is_active && (
          <button type="button" class="button" disabled={busy} onClick={() => leave("/playground/subscribe")}>
            Subscribe for {pricing.price_formatted} a {pricing.interval}
          </button>
        )}
        {state.is_active && !isGranted && (
          <>
            {state.cancel_at_period_end ? (
              <button type="button" class="button" disabled={busy} onClick={() => change("/playground/subscription/resume")}>
                Keep {pricing.name}
              </button>
            ) : (
              <button
                type="button"
                class="button button-quiet"
                disabled={busy}
                aria-haspopup="dialog"
                onClick={() => setAsking(true)}
              >
                Cancel {pricing.name}
              </button>
            )}
            <button
              type="button"
              class="button button-quiet"
              disabled={busy}
              onClick={() => leave("/playground/subscription/portal")}
            >
              Cards and invoices
            </button>
          </>
        )}
      </p>
      {isAsking && (
        <Confirm
          title={`Cancel ${pricing.name}?`}
          yes={`Cancel ${pricing.name}`}
          no={`Keep ${pricing.name}`}
          onYes={() => {
            setAsking(false);
            change("/playground/subscription/cancel");
          }}
          onNo={() => setAsking(false)}
        >
          <p>
            It lasts until {until ?? "its period ends"}, and until then nothing changes. It is not renewed. What is left of
            the month stays one month longer, and purchased credits never expire. You can take it back until then.
          </p>
        </Confirm>
      )}
    </section>
  );
}
