import { h, render } from "preact";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { saidOf } from "./Credits";
import { StripeForm } from "./StripeForm";

const bought = (id: string) => ({ purchase_id: id, credits: 100, price: 500, client_secret: `pi_${id}_secret_x`, pay_url: null }) as never;
let states: Record<string, string> = {};

beforeEach(() => {
  sessionStorage.clear();
  states = {};
  vi.stubGlobal("fetch", async (url: string) => {
    const purchases = Object.entries(states).map(([purchase_id, state]) => ({ purchase_id, state }));
    return new Response(JSON.stringify(url.includes("purchases") ? { purchases } : {}));
  });
});
afterEach(() => vi.unstubAllGlobals());

async function load(address = "/playground/credits") {
  history.replaceState(null, "", address);
  vi.resetModules();
  return import("./payments");
}

describe("a payment", () => {
  it("is watched after its form was closed and another pack was chosen", async () => {
    const page = await load();
    page.beginPayment("small", bought("pur_1"));
    page.shownPayment.value = null;
    page.beginPayment("large", bought("pur_2"));
    expect(page.undecided.value.map((each) => each.id)).toEqual(["pur_1", "pur_2"]);
    states = { pur_1: "paid", pur_2: "open" };
    await page.lookAtPayments();
    expect(page.payments.value.map((each) => each.state)).toEqual(["paid", "open"]);
    expect(page.shownPayment.value).toBe("pur_2");
  });

  it("for a pack goes on where it was left; one that was sent or is over does not", async () => {
    const page = await load();
    page.beginPayment("small", bought("pur_1"));
    expect(page.unfinished("small")?.id).toBe("pur_1");
    expect(page.unfinished("large")).toBeNull();
    page.changePayment("pur_1", { isSent: true });
    expect(page.unfinished("small")).toBeNull();
    states = { pur_1: "declined" };
    await page.lookAtPayments();
    expect(page.unfinished("small")).toMatchObject({ id: "pur_1", isSent: false });
    states = { pur_1: "canceled" };
    await page.lookAtPayments();
    expect([page.unfinished("small"), page.shownPayment.value]).toEqual([null, null]);
  });

  it("that was sent is known to the page that a bank leads back to, without its secret", async () => {
    let page = await load();
    page.beginPayment("small", bought("pur_1"));
    page.changePayment("pur_1", { isSent: true });
    expect(JSON.stringify({ ...sessionStorage })).not.toContain("secret");
    page = await load("/playground/credits?redirect_status=succeeded&payment_intent_client_secret=x");
    expect(page.payments.value).toMatchObject([{ id: "pur_1", isSent: true, form: null }]);
    page.beginPayment("large", bought("pur_2"));
    page.changePayment("pur_2", { isSent: true });
    page = await load("/playground/credits?redirect_status=failed&payment_intent=pi_pur_2&payment_intent_client_secret=x");
    expect(page.payments.value).toMatchObject([
      { id: "pur_1", isSent: true },
      { id: "pur_2", isSent: false },
    ]);
  });
});

describe("what is said after Stripe's page", () => {
  it("changes when what was paid for is there", () => {
    expect(saidOf("success", false)).toContain("as soon as");
    expect(saidOf("success", true)).toBe("Thank you. PRPM+ is active.");
    expect(saidOf("succeeded", true)).toBeNull();
    expect(saidOf("failed", false)).toContain("Nothing was charged");
    expect(saidOf("constructor", false)).toBeNull();
  });
});

describe("Stripe's form", () => {
  const confirm = vi.fn();
  const elements = { create: () => ({ mount: () => undefined, unmount: () => undefined }) };
  const place = document.createElement("div");
  const told: string[] = [];

  function show(isSent = false): void {
    const props = {
      ...{ publishableKey: "pk", clientSecret: "s", isSent },
      onPaying: (isPaying: boolean) => void told.push(`paying ${isPaying}`),
      onSent: (isNow: boolean) => {
        told.push(`sent ${isNow}`);
        show(isNow);
      },
    };
    render(h(StripeForm, props), place);
  }

  const press = () => place.querySelector("form")?.dispatchEvent(new Event("submit", { cancelable: true }));

  beforeEach(async () => {
    vi.stubGlobal("matchMedia", () => ({ matches: false }));
    window.Stripe = () => ({ elements: () => elements, confirmPayment: confirm }) as never;
    confirm.mockReset();
    told.length = 0;
    render(null, place);
    show();
    await vi.waitFor(() => {
      document.querySelector("script[src*=stripe]")?.dispatchEvent(new Event("load"));
      expect(place.querySelector<HTMLButtonElement>("button[type=submit]")?.disabled).toBe(false);
    });
  });

  it("can be tried again after Stripe's script has thrown, and does not say that nothing was charged", async () => {
    confirm.mockRejectedValueOnce(new Error("network")).mockResolvedValueOnce({});
    press();
    press();
    expect(confirm).toHaveBeenCalledTimes(1);
    await vi.waitFor(() => expect(place.querySelector("[role=alert]")?.textContent).toContain("not known"));
    await vi.waitFor(() => expect(place.querySelector<HTMLButtonElement>("button")?.disabled).toBe(false));
    expect(told).toEqual(["paying true", "sent true", "sent false", "paying false"]);
    press();
    await vi.waitFor(() => expect(place.textContent).toContain("Thank you"));
    press();
    expect(confirm).toHaveBeenCalledTimes(2);
    expect(told.slice(4)).toEqual(["paying true", "sent true", "paying false"]);
  });

  it("says why a card was refused", async () => {
    confirm.mockResolvedValueOnce({ error: { message: "Your card was declined." } });
    press();
    await vi.waitFor(() => expect(place.querySelector("[role=alert]")?.textContent).toBe("Your card was declined."));
    expect(told).toContain("sent false");
  });
});
