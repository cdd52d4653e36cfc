"""Stripe says no: to a customer that is gone, to another account's ids, to what we ask wrongly. Users can go on, or are
told why not; what is ours to mend is an alarm."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import stripe

from doubles.stripe import StripeDouble
from playground.adapters.dynamo_ledger import DynamoLedger
from playground.adapters.stripe_events import READERS
from playground.adapters.stripe_payments import _call
from playground.domain.errors import (
    AlreadySubscribedError,
    PaymentsRejectedError,
    PaymentsUnavailableError,
    PurchaseUnavailableError,
    SubscriptionNotFoundError,
)
from playground.domain.pricing import PlanPrice
from playground.http import utc_now
from playground.usecases.buy_credits import BuyCredits
from tests.kit.billing import FRONTEND, Billing, payment_of, stripe_in_process
from tests.kit.prices import EXAMPLE
from tests.kit.shapes import GONE, changed, used
from tests.kit.shop import Shop
from tests.support import records_of

PURCHASE = ("POST", "/playground/credits/purchase", {"package": "small"})
SUBSCRIBE = ("POST", "/playground/subscribe", {})
PORTAL = ("POST", "/playground/subscription/portal", None)


def customer_of(shop: Shop) -> str:
    customer = records_of(shop.ledger).customer(shop.user_id, live=False)
    assert customer is not None
    return customer.customer_id


def delete_customer(shop: Shop) -> str:
    """As somebody does in Stripe's dashboard; the id that it had."""
    customer_id = customer_of(shop)
    client = stripe.StripeClient("sk_test_1", base_addresses={"api": shop.double.url})
    client.v1.customers.delete(customer_id)
    return customer_id


def customers_at_stripe(double: StripeDouble, user_id: str) -> list[str]:
    made = double.account.world.all("customer")
    return [each["id"] for each in made if each.get("metadata", {}).get("user_id") == user_id]


def metrics_in(output: str) -> set[str]:
    return {name for name in ("PaymentsRejected", "UnhandledError", "PaymentQuarantined") if f'"{name}"' in output}


# --- a customer that is gone ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", [PURCHASE, SUBSCRIBE, PORTAL], ids=lambda call: call[1].rpartition("/")[2])
@pytest.mark.parametrize("told", [True, False], ids=["told", "not told"])
def test_a_deleted_customer_is_replaced_once(shop: Shop, call: tuple[str, str, Any], told: bool) -> None:
    shop.buy()
    gone = delete_customer(shop)
    if told:
        assert {*shop.deliver()} == {200}

    answers = [shop.call(*call) for _ in range(3)]

    assert [answer.status for answer in answers] == [200] * 3, answers[0].body
    assert customers_at_stripe(shop.double, shop.user_id) == [customer_of(shop)]
    customer = records_of(shop.ledger).customer(shop.user_id, live=False)
    assert customer is not None
    assert (customer.number, customer.former, customer.gone) == (1, (gone,), False)


def test_it_is_noted_that_a_customer_was_deleted(shop: Shop) -> None:
    shop.buy()
    delete_customer(shop)
    shop.deliver()
    customer = records_of(shop.ledger).customer(shop.user_id, live=False)
    assert customer is not None
    assert (customer.gone, customer.number, customer.former) == (True, 0, ())


def test_a_page_of_a_deleted_customer_is_not_given_again(shop: Shop) -> None:
    first = shop.call(*SUBSCRIBE).body["url"]
    assert shop.call(*SUBSCRIBE).body["url"] == first
    delete_customer(shop)

    again = shop.call(*SUBSCRIBE)

    assert again.status == 200
    assert again.body["url"] != first
    assert shop.call(*SUBSCRIBE).body["url"] == again.body["url"]


def test_what_was_paid_under_the_former_customer_is_granted_and_refunded(shop: Shop) -> None:
    """Stripe goes on telling of its payments, with the customer that they had."""
    purchase = shop.buy()
    payment = shop.pay(purchase)
    paid = shop.new_events()
    delete_customer(shop)
    shop.pay(shop.buy("medium"))  # with the new one
    shop.double.control("refund", payment_intent=payment, amount=250)

    for event in [*paid, *shop.new_events()]:
        assert shop.send(event).status == 200

    assert sorted(shop.history()) == [("purchase", 100), ("purchase", 250), ("refund", -50), ("signup", 5)]


def test_the_end_of_a_subscription_with_its_customer_is_understood(shop: Shop) -> None:
    """Stripe ends the subscriptions of a customer that is deleted, and says so under its old name."""
    shop.call(*SUBSCRIBE)
    checkout = records_of(shop.ledger).subscription(shop.user_id).checkout_id
    shop.double.control("checkout", session=checkout)
    shop.deliver()
    assert shop.account.plan.value == "plus"
    delete_customer(shop)
    events = shop.new_events()
    assert {"customer.deleted", "customer.subscription.deleted"} <= {event["type"] for event in events}
    assert shop.buy()

    assert {shop.send(event).status for event in reversed(events)} == {200}

    assert (shop.account.plan.value, shop.account.buckets.monthly) == ("free", 0)
    assert shop.call(*SUBSCRIBE).status == 200


def test_late_or_repeated_events_of_a_former_customer_change_nothing(shop: Shop) -> None:
    shop.buy()
    delete_customer(shop)
    [deleted] = [event for event in shop.new_events() if event["type"] == "customer.deleted"]
    shop.buy()
    now = customer_of(shop)
    for _ in range(2):
        assert shop.send(deleted).status == 200
    shop.buy()
    assert customer_of(shop) == now


def test_customers_are_replaced_again_and_again(shop: Shop) -> None:
    shop.buy()
    gone = []
    for _ in range(4):
        gone.append(delete_customer(shop))
        assert shop.call(*PURCHASE).status == 200
    customer = records_of(shop.ledger).customer(shop.user_id, live=False)
    assert customer is not None
    assert customer.former == tuple(gone)
    assert len({*gone, customer.customer_id}) == 5


# --- another account, or the other mode, behind the same data ---------------------------------------------------------


@dataclass
class Accounts:
    """One user and the same data, in front of one account of Stripe and then of another."""

    here: Billing
    there: Billing
    live: BuyCredits


@pytest.fixture
def accounts(ledger: DynamoLedger, user_id: str) -> Iterator[Accounts]:
    def billing() -> Billing:
        double = StripeDouble()
        double.control("portal")
        return Billing(ledger, records_of(ledger), double, stripe_in_process(double), user_id)

    here, there = billing(), billing()
    live = BuyCredits(
        ledger=ledger,
        records=records_of(ledger),
        payments=stripe_in_process(there.double, "sk_live_1"),
        prices=EXAMPLE,
        live=True,
        clock=utc_now,
        new_id=lambda kind: f"{kind}_unused",
    )
    yield Accounts(here, there, live)
    assert there.account.available >= 0


def test_everything_can_be_bought_at_another_account(accounts: Accounts) -> None:
    here, there, user_id = accounts.here, accounts.there, accounts.here.user_id
    here.pay(here.buy())
    here.subscribe()
    here.deliver()
    assert here.account.plan.value == "plus"

    assert there.subscriptions.portal(user_id).startswith("http")
    there.wait(days=1)
    offer = there.buy()
    there.pay(offer)
    there.subscribe()
    there.deliver()

    assert customers_at_stripe(there.double, user_id) == [there.records.customer(user_id, live=False).customer_id]  # type: ignore[union-attr]
    assert there.account.plan.value == "plus"
    assert there.account.buckets.purchased == 205
    with pytest.raises(AlreadySubscribedError):
        there.subscriptions.subscribe(user_id)


def test_a_page_of_another_account_is_not_given_again(accounts: Accounts) -> None:
    first = accounts.here.subscriptions.subscribe(accounts.here.user_id)
    second = accounts.there.subscriptions.subscribe(accounts.here.user_id)
    assert second != first
    assert accounts.there.subscriptions.subscribe(accounts.here.user_id) == second


def test_a_subscription_of_another_account_cannot_be_changed_and_does_not_block(accounts: Accounts) -> None:
    here, there, user_id = accounts.here, accounts.there, accounts.here.user_id
    here.subscribe()
    here.deliver()
    for change in (there.subscriptions.cancel, there.subscriptions.resume):
        if change == there.subscriptions.resume:
            here.subscriptions.cancel(user_id)
        with pytest.raises(SubscriptionNotFoundError):
            change(user_id)
    assert there.subscriptions.subscribe(user_id)


@pytest.mark.parametrize("paid", [False, True])
def test_a_purchase_whose_payment_is_at_another_account_is_not_begun_again(accounts: Accounts, paid: bool) -> None:
    """A purchase has one payment: a second one would not be granted, or would be one too many. A new key can buy."""
    here, there = accounts.here, accounts.there
    offer = here.buy("small", "key 1")
    if paid:
        here.pay(offer)
        here.deliver()

    with pytest.raises(PurchaseUnavailableError) as refused:
        there.buy("small", "key 1")

    state = "paid" if paid else "open"
    assert refused.value.facts == {"purchase_id": offer.purchase.purchase_id, "state": state}
    assert there.double.account.world.all("payment_intent") == []
    assert here.buy("small", "key 1").client_secret == offer.client_secret
    there.pay(there.buy("small", "key 2"))
    there.deliver()
    assert there.account.balance == (205 if paid else 105)


def test_a_purchase_of_the_other_mode_is_not_begun_again(accounts: Accounts) -> None:
    """Also if nobody knows whether it has a payment: paid in live mode, it would not fit its own row."""
    accounts.here.double.control("outage", kind="error", status=500, calls=5, path="/v1/payment_intents")
    with pytest.raises(PaymentsUnavailableError):
        accounts.here.buy("small", "key 1")

    with pytest.raises(PurchaseUnavailableError):
        accounts.live(accounts.here.user_id, "small", idempotency_key="key 1")
    assert accounts.there.double.account.world.all("payment_intent") == []


def test_an_unrecorded_payment_is_found_under_the_former_customer(accounts: Accounts) -> None:
    """Stripe made it and the reply was lost; a day later its key is forgotten, and the customer was deleted."""
    here = accounts.here
    here.buy()
    here.double.control("outage", kind="lose_reply", method="POST", path="/v1/payment_intents")
    with pytest.raises(PaymentsUnavailableError):
        here.buy("small", "key 1")
    payment = here.double.account.world.all("payment_intent")[-1]["id"]
    here.payments.client.v1.customers.delete(here.records.customer(here.user_id, live=False).customer_id)  # type: ignore[union-attr]
    here.wait(days=2)

    offer = here.buy("small", "key 1")

    assert payment_of(offer) == payment
    assert len(here.double.account.world.all("payment_intent")) == 2


# --- what we ask wrongly ----------------------------------------------------------------------------------------------


def test_a_portal_that_is_not_set_up_is_said_so_and_is_an_alarm(shop: Shop, capfd: pytest.CaptureFixture[str]) -> None:
    shop.buy()
    shop.double.control("portal", saved=False)
    try:
        answer = shop.call(*PORTAL)
    finally:
        shop.double.control("portal")
    assert (answer.status, answer.body["error"]) == (503, "payments_rejected")
    assert int(answer.headers["Retry-After"]) >= 600
    assert metrics_in(capfd.readouterr().out) == {"PaymentsRejected"}
    assert shop.call(*PORTAL).status == 200


NO_PRICE = {"code": "resource_missing", "param": "line_items[0][price]"}
REFUSALS: dict[str, tuple[dict[str, Any], int, str]] = {
    "server error": ({"status": 500}, 503, "payments_unavailable"),
    "unavailable": ({"status": 503}, 503, "payments_unavailable"),
    "conflict": ({"status": 409}, 503, "payments_unavailable"),
    "rate limit": ({"status": 429}, 503, "payments_unavailable"),
    "old rate limit": ({"status": 400, "code": "rate_limit"}, 503, "payments_unavailable"),
    "no connection": ({"kind": "disconnect"}, 503, "payments_unavailable"),
    "wrong key": ({"status": 401}, 503, "payments_rejected"),
    "key without rights": ({"status": 403}, 503, "payments_rejected"),
    "card": ({"status": 402, "type": "card_error", "code": "card_declined"}, 503, "payments_rejected"),
    "key of another request": ({"status": 400, "type": "idempotency_error"}, 503, "payments_rejected"),
    "no such price": ({"status": 400, **NO_PRICE}, 503, "payments_rejected"),
    "bad currency": ({"status": 400, "param": "currency"}, 503, "payments_rejected"),
    "odd facts": ({"status": 400, "code": "é\n" * 9, "param": "x y"}, 503, "payments_rejected"),
    "method not allowed": ({"status": 405}, 503, "payments_rejected"),
    "bad address": ({"status": 400, "code": "url_invalid", "param": "success_url"}, 400, "validation_error"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_every_error_of_stripe_has_an_answer(shop: Shop, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    scripted, status, code = REFUSALS[name]
    shop.buy()
    shop.double.control("outage", calls=10, path="/v1/checkout", **{"kind": "error", **scripted})
    try:
        answer = shop.call(*SUBSCRIBE)
    finally:
        shop.double.control("recover")

    assert (answer.status, answer.body["error"]) == (status, code)
    assert ("Retry-After" in answer.headers) == (status == 503)
    assert metrics_in(capfd.readouterr().out) == ({"PaymentsRejected"} if code == "payments_rejected" else set())
    assert "scripted" not in str(answer.body)
    assert shop.call(*SUBSCRIBE).status == 200


def test_no_error_of_the_package_is_forgotten() -> None:
    """Those of version 2 of the API are none that ours calls can raise, and are refusals as well."""
    unavailable = {stripe.RateLimitError, stripe.APIConnectionError, stripe.APIError}
    for kind in all_errors(stripe.StripeError):
        error = kind.__new__(kind)
        stripe.StripeError.__init__(error, "")
        error.param = None  # type: ignore[attr-defined]

        def fail(error: stripe.StripeError = error) -> None:
            raise error

        with pytest.raises(PaymentsUnavailableError if kind in unavailable else PaymentsRejectedError):
            _call(fail)


def all_errors(kind: type[stripe.StripeError]) -> set[type[stripe.StripeError]]:
    return {each for child in kind.__subclasses__() for each in {child, *all_errors(child)}}


@pytest.mark.parametrize("currency", ["us", "usdollar", "€"])
def test_a_currency_that_is_none_is_a_refusal(accounts: Accounts, currency: str) -> None:
    """What prices.json could have wrong."""
    payments = accounts.here.payments
    customer = payments.create_customer(user_id="u", key="k")
    with pytest.raises(PaymentsRejectedError) as refused:
        payments.create_checkout(
            customer_id=customer,
            user_id="u",
            plan=PlanPrice(name="PRPM+", price_cents=2000, interval="month", credits=200),
            currency=currency,
            success_url=FRONTEND,
            cancel_url=FRONTEND,
            key="k2",
        )
    assert refused.value.what == "InvalidRequestError - line_items[0][price_data][currency] -"


def test_a_key_that_is_taken_by_another_request_is_a_refusal(accounts: Accounts) -> None:
    payments = accounts.here.payments
    payments.create_customer(user_id="a", key="k")
    with pytest.raises(PaymentsRejectedError, match="configuration error"):
        payments.create_customer(user_id="b", key="k")


# --- users and addresses of any script --------------------------------------------------------------------------------

NAMES = ["用户一", "иван", "zoë", " alice ", "🙂", "e\u0301", "x" * 128, "🙂" * 128, 'a"\\b', "a,b=c;d#e/f?g%h"]


@pytest.mark.parametrize("number", range(len(NAMES)))
def test_a_user_of_any_script_buys_and_subscribes(shop: Shop, number: int) -> None:
    name = NAMES[number]
    shop.user_id = name if name.strip() != name or len(name) > 100 else f"{name}-{number}"
    first = shop.buy("small", "key 1")
    assert shop.buy("small", "key 1") == first
    shop.pay(first)
    assert shop.call(*SUBSCRIBE).status == 200
    assert shop.call(*PORTAL).status == 200
    delete_customer(shop)
    assert shop.call(*PURCHASE).status == 200

    assert {*shop.deliver()} == {200}

    assert shop.history()[-1] == ("purchase", 100)
    assert customers_at_stripe(shop.double, shop.user_id) == [customer_of(shop)]


@pytest.mark.parametrize("url", ["/é", "/\u202e", "/a b", "/\x7f", "/\\evil", "/\ud800", "/" + "x" * 3000])
def test_an_address_that_stripe_would_refuse_is_refused_by_us(shop: Shop, url: str) -> None:
    answer = shop.call("POST", "/playground/subscribe", {"success_url": "https://prpm.dev" + url})
    assert (answer.status, answer.body["error"], answer.body["field"]) == (400, "validation_error", "success_url")


# --- what Stripe tells, in another shape ------------------------------------------------------------------------------


def test_an_event_that_cannot_be_read_is_an_alarm(shop: Shop, capfd: pytest.CaptureFixture[str]) -> None:
    shop.pay(shop.buy())
    [event] = [event for event in shop.new_events() if event["type"] == "payment_intent.succeeded"]
    event["data"]["object"]["amount"] = None
    assert shop.send(event).status == 200
    assert metrics_in(capfd.readouterr().out) == {"PaymentQuarantined"}


def test_no_shape_of_a_signed_event_is_an_error(shop: Shop) -> None:
    """On the real store, where a key or a number may be one that it refuses."""
    payment = shop.pay(shop.buy())
    shop.double.control("refund", payment_intent=payment, amount=100)
    shop.double.control("dispute", payment_intent=shop.pay(shop.buy()))
    shop.call(*SUBSCRIBE)
    checkout = records_of(shop.ledger).subscription(shop.user_id).checkout_id
    shop.double.control("checkout", session=checkout)
    delete_customer(shop)
    events = {event["type"]: event for event in shop.new_events() if event["type"] in READERS}
    assert len(events) >= 8
    for event in events.values():
        for path in used(event):
            for value in (GONE, None, 7, "\ud800", "x" * 3000, {"id": "用" * 900}):
                answer = shop.send(changed(event, path, value))
                assert (answer.status, answer.body) == (200, {"received": True}), (event["type"], path, value)
    assert sum(amount for kind, amount in shop.history() if kind == "purchase") <= 200


@pytest.mark.parametrize(
    "header", ["t={now},v1=é", "t={now},v1=\udce9", "t=" + "9" * 400 + ",v1=a", "t=９,v1=a", "é", "\0"]
)
def test_a_signature_that_is_no_ascii_is_refused(shop: Shop, header: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Anybody can send that, without any secret."""
    signature = header.replace("{now}", str(int(time.time())))
    answer = shop.handlers.deliver("{}", signature=signature)
    assert (answer.status, answer.body["error"]) == (400, "invalid_delivery")
    assert metrics_in(capfd.readouterr().out) == set()


@pytest.mark.parametrize("body", ["\udce9", "{" * 100_000, "[" * 100_000, '{"a": ' + "9" * 5000 + "}", "NaN"])
def test_a_body_that_is_no_event_is_refused(shop: Shop, body: str) -> None:
    answer = shop.handlers.deliver(body, signature=f"t={int(time.time())},v1=00")
    assert (answer.status, answer.body["error"]) == (400, "invalid_delivery")
