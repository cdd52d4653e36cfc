import { useEffect, useRef, useState } from "preact/hooks";
import { api, ApiError, newKey, type Schemas } from "../../api/client";
import { shownName } from "../../components/Account";
import { config, type Config } from "../../config";
import { credits, dollars } from "../../lib/format";
import { accountName } from "../../session/token";
import { tryLink } from "../try/store";
import * as paying from "./payments";
import { StripeForm } from "./StripeForm";

type Pack = Schemas["PackAnswer"];

const POLL_MS = 1500;
const IDLE_POLL_MS = 15_000; // while nobody is about to pay
const MAX_POLLS = 400; // ten minutes on the payment page

/** Packs, and the payment of the one that was chosen. Credits are there when the purchase says that it is paid. */
export function Buy({ onError }: { onError: (error: unknown) => void }) {
  const [packs, setPacks] = useState<Pack[] | null>(null);
  const [busy, setBusy] = useState<string | null>(null);
  const isBusy = useRef(false);
  const keys = useRef(new Map<string, string>());
  const shown = paying.undecided.value.find((each) => each.id === paying.shownPayment.value && each.form !== null);
  const isLocked = busy !== null || paying.isPaying.value;

  useEffect(() => {
    api
      .get("/playground/credits/packages")
      .then((found) => setPacks(found.packages))
      .catch(onError);
  }, [onError]);
  useWatchedPayments();

  async function buy(pack: Pack) {
    if (isBusy.current || isLocked) return;
    const before = paying.unfinished(pack.id);
    if (before !== null) {
      paying.shownPayment.value = before.id;
      return;
    }
    isBusy.current = true;
    setBusy(pack.id);
    const key = keys.current.get(pack.id) ?? newKey();
    keys.current.set(pack.id, key);
    try {
      const body = { package: pack.id as Schemas["PurchaseBody"]["package"] };
      paying.beginPayment(pack.id, await api.post("/playground/credits/purchase", { body, key }));
      keys.current.delete(pack.id);
    } catch (error) {
      // Without an answer it may have been made: the same press again is the same purchase.
      if (error instanceof ApiError && error.status < 500) keys.current.delete(pack.id);
      onError(error);
    } finally {
      isBusy.current = false;
      setBusy(null);
    }
  }

  return (
    <section aria-labelledby="buy-title" id="buy">
      <h2 id="buy-title">Buy credits</h2>
      <p class="credits-note">
        Paid once. Purchased credits never expire.
        {accountName.value !== null && (
          <>
            {" "}
            They are added to the account of <bdi class="account-name">{shownName(accountName.value)}</bdi>.
          </>
        )}
      </p>
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
              disabled={isLocked}
              aria-label={`Buy ${credits(pack.credits)} for ${pack.price_formatted}`}
              onClick={() => void buy(pack)}
            >
              {busy === pack.id ? "One moment…" : "Buy"}
            </button>
          </li>
        ))}
      </ul>
      {shown && shown.form && <Pay key={shown.id} payment={shown} form={shown.form} />}
      <Begun />
      <div role="status">
        {paying.payments.value
          .filter((each) => each.state === "paid")
          .map((each) => (
            <p class="credits-paid" key={each.id}>
              Paid. {credits(each.credits)} have been added. <a href={tryLink.value}>Back to what you were doing</a>
            </p>
          ))}
      </div>
    </section>
  );
}

/** Payments without a form on the page that may still be paid. */
function Begun() {
  const others = paying.undecided.value.filter((each) => each.id !== paying.shownPayment.value || each.form === null);
  const said = others.filter((each) => each.isSent || each.form !== null);
  if (said.length === 0) return null;
  return (
    <ul class="credits-begun">
      {said.map((each) => (
        <li key={each.id}>
          {each.isSent
            ? `Your payment of ${dollars(each.price)} for ${credits(each.credits)} was sent. The credits are added as soon as Stripe confirms it.`
            : `You have begun to pay ${dollars(each.price)} for ${credits(each.credits)}. If you finish it, the credits are added.`}{" "}
          {each.form !== null && !paying.isPaying.value && (
            <button type="button" class="link" onClick={() => (paying.shownPayment.value = each.id)}>
              Show it
            </button>
          )}
        </li>
      ))}
    </ul>
  );
}

function Pay({ payment, form }: { payment: paying.Payment; form: NonNullable<paying.Payment["form"]> }) {
  const heading = useRef<HTMLHeadingElement>(null);
  const [about, setAbout] = useState<Config | null>(null);
  useEffect(() => {
    heading.current?.focus();
    void config().then(setAbout);
  }, []);
  const close = () => {
    paying.shownPayment.value = null;
  };
  return (
    <div class="credits-payment" role="group" aria-labelledby="pay-title">
      <h3 id="pay-title" tabIndex={-1} ref={heading}>
        Pay {dollars(payment.price)} for {credits(payment.credits)}
      </h3>
      {payment.state === "declined" && !payment.isSent && (
        <p role="alert">The card was declined. Nothing was charged; you can try again with another one.</p>
      )}
      {form.pay_url ? (
        <>
          <p>
            <a class="button button-main" href={form.pay_url} target="_blank" rel="noopener noreferrer">
              Open the payment page
            </a>{" "}
            <small>It opens in a new tab. This page notices when you have paid.</small>
          </p>
        </>
      ) : about === null ? null : about.stripe_publishable_key ? (
        <StripeForm
          publishableKey={about.stripe_publishable_key}
          clientSecret={form.client_secret}
          isSent={payment.isSent}
          onPaying={(isPaying) => (paying.isPaying.value = isPaying)}
          onSent={(isSent) => paying.changePayment(payment.id, { isSent })}
        />
      ) : (
        <p role="alert">Payments are not set up here: there is no publishable key. Nothing was charged.</p>
      )}
      <p aria-live="polite">{payment.state === "open" && form.pay_url ? "Waiting for your payment…" : ""}</p>
      {!paying.isPaying.value && (
        <button type="button" class="button button-quiet" onClick={close}>
          {payment.isSent ? "Close" : "Not now"}
        </button>
      )}
    </div>
  );
}

/** Asks what has become of payments until each is paid or can be no more, while the page is visible. */
function useWatchedPayments() {
  const isIdle = !paying.undecided.value.some((each) => each.isSent || each.form !== null);
  const watched = paying.undecided.value.map((each) => each.id).join();
  useEffect(() => {
    if (watched === "") return undefined;
    let polls = 0;
    let timer = 0;
    let wanted = true;
    async function look() {
      if (document.visibilityState === "visible") {
        polls += 1;
        await paying.lookAtPayments().catch(() => undefined); // the next look says it again, or the balance does
      }
      if (wanted && polls < MAX_POLLS) timer = window.setTimeout(() => void look(), isIdle ? IDLE_POLL_MS : POLL_MS);
    }
    timer = window.setTimeout(() => void look(), POLL_MS);
    return () => {
      wanted = false;
      window.clearTimeout(timer);
    };
  }, [watched, isIdle]);
}
