import { useEffect, useRef, useState } from "preact/hooks";

/** What we use of Stripe.js, which must be loaded from Stripe and has no bundle. */
interface StripeElement {
  mount(node: HTMLElement): void;
  unmount(): void;
}
interface StripeElements {
  create(kind: "payment"): StripeElement;
}
interface StripeClient {
  elements(options: { clientSecret: string; appearance: { theme: "stripe" | "night" } }): StripeElements;
  confirmPayment(options: {
    elements: StripeElements;
    confirmParams: { return_url: string };
    redirect: "if_required";
  }): Promise<{ error?: { message?: string } }>;
}
declare global {
  interface Window {
    Stripe?: (publishableKey: string) => StripeClient;
  }
}

const STRIPE_JS = "https://js.stripe.com/v3/";
let loading: Promise<void> | null = null;

function loadStripe(): Promise<void> {
  loading ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = STRIPE_JS;
    script.onload = () => resolve();
    script.onerror = () => {
      loading = null; // the next form tries again
      script.remove();
      reject(new Error("Stripe's form could not be loaded. Check your connection or your ad blocker, then try again."));
    };
    document.head.append(script);
  });
  return loading;
}

interface Props {
  publishableKey: string;
  clientSecret: string;
  /** Stripe has it, and what came of it is not known yet. */
  isSent: boolean;
  onPaying: (isPaying: boolean) => void;
  onSent: (isSent: boolean) => void;
}

/** Stripe's own payment form. Card data never reach this page. */
export function StripeForm({ publishableKey, clientSecret, isSent, onPaying, onSent }: Props) {
  const place = useRef<HTMLDivElement>(null);
  const form = useRef<{ stripe: StripeClient; elements: StripeElements } | null>(null);
  const [state, setState] = useState<"loading" | "failed" | "ready" | "paying">("loading");
  const [failure, setFailure] = useState<string | null>(null);
  const [attempt, setAttempt] = useState(0);
  const isBusy = useRef(false);

  useEffect(() => {
    let element: StripeElement | null = null;
    let wanted = true;
    setState("loading");
    setFailure(null);
    loadStripe()
      .then(() => {
        if (!wanted || !place.current) return;
        if (!window.Stripe) throw new Error("Stripe's form could not be loaded.");
        const stripe = window.Stripe(publishableKey);
        const isDark = window.matchMedia("(prefers-color-scheme: dark)").matches;
        const elements = stripe.elements({ clientSecret, appearance: { theme: isDark ? "night" : "stripe" } });
        element = elements.create("payment");
        element.mount(place.current);
        form.current = { stripe, elements };
        setState("ready");
      })
      .catch((error: Error) => {
        if (!wanted) return;
        setFailure(error.message);
        setState("failed");
      });
    return () => {
      wanted = false;
      form.current = null;
      element?.unmount();
    };
  }, [publishableKey, clientSecret, attempt]);

  async function pay(event: Event) {
    event.preventDefault();
    if (!form.current || isBusy.current || isSent) return;
    isBusy.current = true;
    setState("paying");
    setFailure(null);
    onPaying(true);
    const { stripe, elements } = form.current;
    onSent(true); // kept before a bank's page may take the place of this one
    try {
      const confirmParams = { return_url: `${location.origin}/playground/credits` };
      const { error } = await stripe.confirmPayment({ elements, confirmParams, redirect: "if_required" });
      if (error) {
        setFailure(error.message ?? "The payment failed.");
        onSent(false);
      }
    } catch {
      setFailure("Whether the payment arrived is not known. If it did, your credits are added; look at them before you pay again.");
      onSent(false);
    } finally {
      isBusy.current = false;
      setState("ready");
      onPaying(false);
    }
  }

  return (
    <form onSubmit={(event) => void pay(event)}>
      <div ref={place} hidden={isSent && state !== "paying"} />
      {state === "loading" && <p aria-busy="true">Loading Stripe's form…</p>}
      {failure && <p role="alert">{failure}</p>}
      {state === "failed" ? (
        <button type="button" class="button" onClick={() => setAttempt(attempt + 1)}>
          Try again
        </button>
      ) : isSent && state !== "paying" ? (
        <p role="status">Thank you. Your credits are added as soon as Stripe confirms the payment.</p>
      ) : (
        <button type="submit" class="button" disabled={state !== "ready"}>
          {state === "paying" ? "Paying…" : "Pay"}
        </button>
      )}
    </form>
  );
}
