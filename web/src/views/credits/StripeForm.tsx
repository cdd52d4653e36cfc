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

/** Stripe's own payment form. Card data never reach this page. */
export function StripeForm({ publishableKey, clientSecret }: { publishableKey: string; clientSecret: string }) {
  const place = useRef<HTMLDivElement>(null);
  const form = useRef<{ stripe: StripeClient; elements: StripeElements } | null>(null);
  const [state, setState] = useState<"loading" | "ready" | "paying" | "sent">("loading");
  const [failure, setFailure] = useState<string | null>(null);

  useEffect(() => {
    let element: StripeElement | null = null;
    let wanted = true;
    loadStripe()
      .then(() => {
        if (!wanted || !place.current || !window.Stripe) return;
        const stripe = window.Stripe(publishableKey);
        const isDark = window.matchMedia("(prefers-color-scheme: dark)").matches;
        const elements = stripe.elements({ clientSecret, appearance: { theme: isDark ? "night" : "stripe" } });
        element = elements.create("payment");
        element.mount(place.current);
        form.current = { stripe, elements };
        setState("ready");
      })
      .catch((error: Error) => wanted && setFailure(error.message));
    return () => {
      wanted = false;
      element?.unmount();
    };
  }, [publishableKey, clientSecret]);

  async function pay(event: Event) {
    event.preventDefault();
    if (!form.current) return;
    setState("paying");
    setFailure(null);
    const { stripe, elements } = form.current;
    const { error } = await stripe.confirmPayment({
      elements,
      confirmParams: { return_url: `${location.origin}/playground/credits` },
      redirect: "if_required",
    });
    if (error) {
      setFailure(error.message ?? "The payment failed. Nothing was charged.");
      setState("ready");
    } else {
      setState("sent");
    }
  }

  return (
    <form onSubmit={(event) => void pay(event)}>
      <div ref={place} />
      {state === "loading" && !failure && <p aria-busy="true">Loading Stripe's form…</p>}
      {failure && <p role="alert">{failure}</p>}
      {state === "sent" ? (
        <p role="status">Thank you. Your credits are added as soon as Stripe confirms the payment.</p>
      ) : (
        <button type="submit" class="button" disabled={state !== "ready"}>
          {state === "paying" ? "Paying…" : "Pay"}
        </button>
      )}
    </form>
  );
}
