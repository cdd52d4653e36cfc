"""What the Stripe double bills: Checkout, subscriptions through the months, invoices, the billing portal."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
import stripe

from doubles.stripe import StripeDouble
from doubles.stripe.subscriptions import later
from tests.kit.extent import HANG_SECONDS

DAY = 86_400


def at(*date: int) -> int:
    return int(datetime(*date, tzinfo=UTC).timestamp())  # type: ignore[arg-type]


T0 = at(2026, 1, 31, 12)


@pytest.fixture
def double() -> Iterator[StripeDouble]:
    with StripeDouble(base=lambda: float(T0), seed=1) as running:
        yield running


@pytest.fixture
def client(double: StripeDouble) -> stripe.StripeClient:
    return stripe.StripeClient("sk_test_123", base_addresses={"api": double.url}, max_network_retries=0)


@pytest.fixture
def price(client: stripe.StripeClient) -> str:
    made = client.v1.prices.create(
        {
            "currency": "usd",
            "unit_amount": 2000,
            "recurring": {"interval": "month"},
            "product_data": {"name": "PRPM+"},
            "lookup_key": "plus",
        }
    )
    return made.id


@pytest.fixture
def customer(client: stripe.StripeClient) -> str:
    return client.v1.customers.create({"email": "ann@example.com", "metadata": {"user_id": "u1"}}).id


def checkout(client: stripe.StripeClient, price: str, **more: Any) -> stripe.checkout.Session:
    asked: Any = {
        "mode": "subscription",
        "line_items": [{"price": price, "quantity": 1}],
        "success_url": "http://127.0.0.1/done?session={CHECKOUT_SESSION_ID}",
        "cancel_url": "http://127.0.0.1/sorry",
        **more,
    }
    return client.v1.checkout.sessions.create(asked)


def subscribed(double: StripeDouble, client: stripe.StripeClient, customer: str, price: str) -> stripe.Subscription:
    session = checkout(client, price, customer=customer, subscription_data={"metadata": {"user_id": "u1"}})
    done = double.control("checkout", session=session.id)
    return client.v1.subscriptions.retrieve(done["subscription"])


def period(subscription: stripe.Subscription) -> tuple[int, int]:
    (item,) = subscription["items"].data
    return item.current_period_start, item.current_period_end


def types(double: StripeDouble) -> list[str]:
    return [event["type"] for event in double.events()]


def since(double: StripeDouble, number: int) -> list[str]:
    return types(double)[number:]


def browse(url: str, form: dict[str, str] | None = None) -> tuple[int, str | None, str]:
    """Status, Location and the page."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.netloc, timeout=HANG_SECONDS)
    try:
        connection.request("POST" if form else "GET", address.path, urlencode(form or {}))
        response = connection.getresponse()
        return response.status, response.headers["Location"], response.read().decode()
    finally:
        connection.close()


# ---------------------------------------------------------------- products and prices


def test_products_and_prices(client: stripe.StripeClient, price: str) -> None:
    kept = client.v1.prices.retrieve(price, {"expand": ["product"]})
    assert isinstance(kept.product, stripe.Product)
    assert (kept.product.name, kept.unit_amount, kept.type) == ("PRPM+", 2000, "recurring")
    assert [each.id for each in client.v1.prices.list({"lookup_keys": ["plus"]})] == [price]
    client.v1.prices.update(price, {"active": False})
    assert [each.id for each in client.v1.prices.list({"active": True})] == []
    product = client.v1.products.create({"name": "Pack", "default_price_data": {"currency": "usd", "unit_amount": 500}})
    assert isinstance(product.default_price, str)
    assert client.v1.prices.retrieve(product.default_price).type == "one_time"


# ---------------------------------------------------------------- Checkout


def test_a_subscription_begins_at_the_pay_page(
    double: StripeDouble, client: stripe.StripeClient, customer: str, price: str
) -> None:
    session = checkout(
        client,
        price,
        customer=customer,
        client_reference_id="u1",
        metadata={"kind": "plus"},
        subscription_data={"metadata": {"user_id": "u1"}},
    )
    assert (session.status, session.payment_status, session.amount_total) == ("open", "unpaid", 2000)
    assert session.url is not None
    assert session.url.startswith(f"{double.url}/c/pay/cs_test_")
    before = len(double.events())
    status, _, text = browse(session.url)
    assert (status, "1 × PRPM+: $20.00" in text) == (200, True)
    status, location, _ = browse(session.url, {"action": "pay", "card": "visa"})
    assert (status, location) == (303, f"http://127.0.0.1/done?session={session.id}")

    done = client.v1.checkout.sessions.retrieve(session.id, {"expand": ["subscription.latest_invoice.payments"]})
    assert (done.status, done.payment_status, done.customer, done.url) == ("complete", "paid", customer, None)
    subscription = done.subscription
    assert isinstance(subscription, stripe.Subscription)
    assert (subscription.status, period(subscription)) == ("active", (T0, at(2026, 2, 28, 12)))
    assert subscription.metadata.to_dict() == {"user_id": "u1"}
    invoice = subscription.latest_invoice
    assert isinstance(invoice, stripe.Invoice)
    assert (invoice.status, invoice.amount_paid, invoice.billing_reason) == ("paid", 2000, "subscription_create")
    assert invoice.parent is not None
    assert invoice.parent.subscription_details is not None
    assert invoice.parent.subscription_details.subscription == subscription.id
    assert invoice.parent.subscription_details.metadata is not None
    assert invoice.parent.subscription_details.metadata["user_id"] == "u1"
    (line,) = invoice.lines
    assert (line.period.start, line.period.end, line.amount) == (*period(subscription), 2000)
    assert invoice.payments is not None
    (payment,) = invoice.payments
    assert isinstance(payment.payment.payment_intent, str)
    intent = client.v1.payment_intents.retrieve(payment.payment.payment_intent)
    assert (intent.status, intent.customer) == ("succeeded", customer)
    (found,) = client.v1.invoice_payments.list({"payment": {"type": "payment_intent", "payment_intent": intent.id}})
    assert found.invoice == invoice.id
    assert since(double, before) == [
        "payment_method.attached",
        "invoice.created",
        "customer.subscription.created",
        "payment_intent.created",
        "invoice.finalized",
        "charge.succeeded",
        "payment_intent.succeeded",
        "invoice_payment.paid",
        "customer.subscription.updated",
        "invoice.paid",
        "invoice.payment_succeeded",
        "checkout.session.completed",
    ]


def test_an_unknown_user_becomes_a_customer(double: StripeDouble, client: stripe.StripeClient, price: str) -> None:
    session = checkout(client, price, customer_email="bob@example.com")
    done = double.control("checkout", session=session.id)
    assert client.v1.customers.retrieve(done["customer"]).email == "bob@example.com"


def test_a_declined_card_at_the_pay_page_can_be_replaced(
    double: StripeDouble, client: stripe.StripeClient, customer: str, price: str
) -> None:
    session = checkout(client, price, customer=customer)
    assert session.url is not None
    status, _, text = browse(session.url, {"action": "decline"})
    assert (status, "Your card was declined." in text) == (200, True)
    assert client.v1.checkout.sessions.retrieve(session.id).status == "open"
    assert list(client.v1.subscriptions.list({"customer": customer, "status": "all"})) == []
    assert types(double)[-1] == "payment_intent.payment_failed"
    assert browse(session.url, {"action": "cancel"})[:2] == (303, "http://127.0.0.1/sorry")
    assert browse(session.url, {"action": "pay"})[0] == 303
    assert [each.status for each in client.v1.subscriptions.list({"customer": customer})] == ["active"]
    assert "complete" in browse(session.url)[2]


def test_a_single_payment_at_the_pay_page(double: StripeDouble, client: stripe.StripeClient) -> None:
    session = checkout(
        client,
        "",
        mode="payment",
        line_items=[
            {
                "price_data": {"currency": "usd", "unit_amount": 500, "product_data": {"name": "Small"}},
                "quantity": 2,
            }
        ],
        payment_intent_data={"metadata": {"purchase_id": "pur_1"}},
    )
    double.control("checkout", session=session.id, email="ann@example.com")
    done = client.v1.checkout.sessions.retrieve(session.id, {"expand": ["payment_intent", "line_items"]})
    assert isinstance(done.payment_intent, stripe.PaymentIntent)
    assert (done.payment_intent.amount, done.payment_intent.metadata["purchase_id"]) == (1000, "pur_1")
    assert done.line_items is not None
    assert [line.description for line in done.line_items] == ["Small"]
    assert [line.quantity for line in client.v1.checkout.sessions.line_items.list(session.id)] == [2]
    assert done.customer_details is not None
    assert done.customer_details.email == "ann@example.com"


@pytest.mark.parametrize(
    ("card", "ending", "payment_status"),
    [
        ("pm_usBankAccount_success", "checkout.session.async_payment_succeeded", "paid"),
        ("pm_usBankAccount_insufficientFunds", "checkout.session.async_payment_failed", "unpaid"),
    ],
)
def test_a_bank_debit_at_the_pay_page_is_paid_later(
    double: StripeDouble, client: stripe.StripeClient, card: str, ending: str, payment_status: str
) -> None:
    items = [{"price_data": {"currency": "usd", "unit_amount": 500, "product_data": {"name": "P"}}, "quantity": 1}]
    session = checkout(client, "", mode="payment", line_items=items)
    done = double.control("checkout", session=session.id, card=card)
    assert (done["status"], done["payment_status"]) == ("complete", "unpaid")
    double.control("advance", days=1)
    assert types(double)[-1] == ending
    assert client.v1.checkout.sessions.retrieve(session.id).payment_status == payment_status


def test_sessions_expire(double: StripeDouble, client: stripe.StripeClient, price: str) -> None:
    by_time, by_call = checkout(client, price), checkout(client, price, expires_at=T0 + 1800)
    assert client.v1.checkout.sessions.expire(by_call.id).status == "expired"
    with pytest.raises(stripe.InvalidRequestError, match="can be expired"):
        client.v1.checkout.sessions.expire(by_call.id)
    double.control("advance", seconds=DAY - 1)
    assert client.v1.checkout.sessions.retrieve(by_time.id).status == "open"
    double.control("advance", seconds=1)
    assert client.v1.checkout.sessions.retrieve(by_time.id).status == "expired"
    assert types(double)[-2:] == ["checkout.session.expired"] * 2


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"success_url": ""}, "success_url"),
        ({"success_url": "/done"}, "success_url"),
        ({"line_items": []}, "line_items"),
        ({"line_items": [{"price": "price_none", "quantity": 1}]}, "line_items[0][price]"),
        ({"mode": "payment"}, "line_items[0][price]"),
        ({"mode": "setup"}, "mode"),
        ({"expires_at": T0 + 60}, "expires_at"),
        ({"payment_intent_data": {"metadata": {"a": "b"}}}, "payment_intent_data"),
        ({"subscription_data": {"trial_period_days": 3}}, "subscription_data[trial_period_days]"),
        ({"customer_email": "a@example.com", "customer": "cus_1"}, "customer"),
    ],
)
def test_what_checkout_refuses(client: stripe.StripeClient, price: str, wrong: dict[str, Any], param: str) -> None:
    with pytest.raises(stripe.InvalidRequestError) as raised:
        checkout(client, price, **wrong)
    assert raised.value.param == param


def test_a_refused_request_leaves_no_objects(double: StripeDouble, client: stripe.StripeClient) -> None:
    """Products and prices are created first; the error comes after them."""
    good = {"price_data": {"currency": "usd", "unit_amount": 500, "product_data": {"name": "P"}}, "quantity": 1}
    with pytest.raises(stripe.InvalidRequestError):
        checkout(client, "", mode="payment", line_items=[good, {"price": "price_none", "quantity": 1}])
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.products.create({"name": "P", "default_price_data": {"currency": "dollars", "unit_amount": 1}})
    assert double.events() == []
    assert double.control("counts")["objects"] == {}
    assert list(client.v1.products.list()) == []


# ---------------------------------------------------------------- time


def test_months_are_counted_from_the_anchor() -> None:
    assert [later(T0, "month", count) for count in (1, 2, 3, 13)] == [
        at(2026, 2, 28, 12),
        at(2026, 3, 31, 12),
        at(2026, 4, 30, 12),
        at(2027, 2, 28, 12),
    ]
    assert later(at(2024, 2, 29), "year", 1) == at(2025, 2, 28)
    assert later(T0, "week", 2) == T0 + 14 * DAY


def test_a_month_later_it_renews(double: StripeDouble, client: stripe.StripeClient, customer: str, price: str) -> None:
    subscription = subscribed(double, client, customer, price)
    boundary = at(2026, 2, 28, 12)
    before = len(double.events())
    double.control("advance", to=boundary - 1)
    assert since(double, before) == []
    double.control("advance", to=boundary)
    renewed = client.v1.subscriptions.retrieve(subscription.id, {"expand": ["latest_invoice"]})
    draft = renewed.latest_invoice
    assert isinstance(draft, stripe.Invoice)
    assert (draft.status, draft.billing_reason) == ("draft", "subscription_cycle")
    assert (renewed.status, period(renewed)) == ("active", (boundary, at(2026, 3, 31, 12)))

    double.control("advance", seconds=3600)  # the draft is paid an hour later
    paid = client.v1.invoices.retrieve(draft.id)
    assert (paid.status, paid.amount_paid, paid.attempt_count) == ("paid", 2000, 1)
    assert (paid.period_start, paid.period_end) == (T0, boundary)  # what has passed
    assert (paid.lines.data[0].period.start, paid.lines.data[0].period.end) == period(renewed)  # what is paid for
    assert since(double, before) == [
        "invoice.created",
        "customer.subscription.updated",
        "payment_intent.created",
        "invoice.finalized",
        "charge.succeeded",
        "payment_intent.succeeded",
        "invoice_payment.paid",
        "invoice.paid",
        "invoice.payment_succeeded",
    ]
    updated = double.events("customer.subscription.updated")[-1]["data"]["previous_attributes"]
    assert set(updated) == {"items", "latest_invoice"}


def test_a_year_passes_in_order(double: StripeDouble, client: stripe.StripeClient, customer: str, price: str) -> None:
    subscription = subscribed(double, client, customer, price)
    double.control("advance", days=366)
    invoices = list(client.v1.invoices.list({"subscription": subscription.id, "limit": 100}).auto_paging_iter())
    assert [invoice.status for invoice in invoices] == ["paid"] * 13
    starts = [invoice.lines.data[0].period.start for invoice in reversed(invoices)]
    assert starts == [later(T0, "month", count) for count in range(13)]
    moments = [event["created"] for event in double.events()]
    assert moments == sorted(moments)


def test_a_failing_renewal_is_retried_and_then_the_subscription_ends(
    double: StripeDouble, client: stripe.StripeClient, customer: str, price: str
) -> None:
    subscription = subscribed(double, client, customer, price)
    double.control("subscription_card", subscription=subscription.id, card="declined")
    before, boundary = len(double.events()), at(2026, 2, 28, 12)
    statuses = []
    for day in range(17):
        double.control("advance", to=boundary + 3600 + day * DAY)
        statuses.append(client.v1.subscriptions.retrieve(subscription.id).status)
    assert statuses == ["past_due"] * 15 + ["canceled"] * 2
    ended = client.v1.subscriptions.retrieve(subscription.id)
    assert ended.cancellation_details is not None
    assert (ended.cancellation_details.reason, ended.ended_at) == ("payment_failed", boundary + 3600 + 15 * DAY)
    invoice = client.v1.invoices.retrieve(str(ended.latest_invoice))
    assert (invoice.status, invoice.attempt_count, invoice.next_payment_attempt) == ("open", 4, None)
    assert since(double, before).count("invoice.payment_failed") == 4
    assert types(double)[-2:] == ["invoice.payment_failed", "customer.subscription.deleted"]
    events = len(double.events())
    double.control("advance", days=60)
    assert len(double.events()) == events


def test_a_renewal_that_fails_first_and_is_paid_later(
    double: StripeDouble, client: stripe.StripeClient, customer: str, price: str
) -> None:
    subscription = subscribed(double, client, customer, price)
    double.control("subscription_card", subscription=subscription.id, card="declined")
    double.control("advance", to=at(2026, 3, 1))
    assert client.v1.subscriptions.retrieve(subscription.id).status == "past_due"
    double.control("subscription_card", subscription=subscription.id, card="visa")
    double.control("advance", days=3)
    after = client.v1.subscriptions.retrieve(subscription.id)
    assert (after.status, period(after)[0]) == ("active", at(2026, 2, 28, 12))
    assert types(double)[-3:] == ["customer.subscription.updated", "invoice.paid", "invoice.payment_succeeded"]


def test_an_open_invoice_is_paid_by_hand(
    double: StripeDouble, client: stripe.StripeClient, customer: str, price: str
) -> None:
    subscription = subscribed(double, client, customer, price)
    double.control("subscription_card", subscription=subscription.id, card="declined")
    double.control("advance", to=at(2026, 3, 1))
    (invoice,) = client.v1.invoices.list({"customer": customer, "status": "open"})
    with pytest.raises(stripe.CardError):
        client.v1.invoices.pay(invoice.id)
    assert client.v1.invoices.pay(invoice.id, {"payment_method": "pm_card_visa"}).status == "paid"
    with pytest.raises(stripe.InvalidRequestError, match="already paid"):
        client.v1.invoices.pay(invoice.id)
    assert client.v1.subscriptions.retrieve(subscription.id).status == "active"


@pytest.mark.parametrize("ending", ["void", "cancel"])
def test_no_retry_of_a_void_invoice_or_after_the_subscription(
    double: StripeDouble, client: stripe.StripeClient, customer: str, price: str, ending: str
) -> None:
    subscription = subscribed(double, client, customer, price)
    double.control("subscription_card", subscription=subscription.id, card="declined")
    double.control("advance", to=at(2026, 3, 1))
    (invoice,) = client.v1.invoices.list({"status": "open"})
    assert invoice.next_payment_attempt == at(2026, 3, 3, 13)
    if ending == "void":
        client.v1.invoices.void_invoice(invoice.id)
    else:
        client.v1.subscriptions.cancel(subscription.id)
    after = client.v1.invoices.retrieve(invoice.id)
    assert (after.status, after.next_payment_attempt) == ("void" if ending == "void" else "open", None)
    failures = types(double).count("invoice.payment_failed")
    double.control("advance", days=20)
    assert types(double).count("invoice.payment_failed") == failures


@pytest.mark.parametrize(("rule", "status"), [("unpaid", "unpaid"), ("past_due", "past_due")])
def test_the_outcome_of_an_unpaid_subscription_is_a_setting(
    double: StripeDouble, client: stripe.StripeClient, customer: str, price: str, rule: str, status: str
) -> None:
    double.control("rules", after_retries=rule, retry_seconds=[60])
    subscription = subscribed(double, client, customer, price)
    double.control("subscription_card", subscription=subscription.id, card="declined")
    double.control("advance", days=62)
    after = client.v1.subscriptions.retrieve(subscription.id, {"expand": ["latest_invoice"]})
    assert after.status == status
    assert isinstance(after.latest_invoice, stripe.Invoice)
    assert after.latest_invoice.status == ("draft" if rule == "unpaid" else "open")


# ---------------------------------------------------------------- endings


def test_a_cancellation_at_period_end_can_be_undone(
    double: StripeDouble, client: stripe.StripeClient, customer: str, price: str
) -> None:
    subscription = subscribed(double, client, customer, price)
    boundary = at(2026, 2, 28, 12)
    ending = client.v1.subscriptions.update(subscription.id, {"cancel_at_period_end": True})
    assert (ending.status, ending.cancel_at_period_end, ending.cancel_at) == ("active", True, boundary)
    assert double.events()[-1]["data"]["previous_attributes"]["cancel_at_period_end"] is False
    resumed = client.v1.subscriptions.update(subscription.id, {"cancel_at_period_end": False})
    assert (resumed.cancel_at_period_end, resumed.cancel_at, resumed.canceled_at) == (False, None, None)
    double.control("advance", to=boundary)
    assert client.v1.subscriptions.retrieve(subscription.id).status == "active"

    client.v1.subscriptions.update(subscription.id, {"cancel_at_period_end": True})
    double.control("advance", to=at(2026, 3, 31, 12))
    ended = client.v1.subscriptions.retrieve(subscription.id)
    assert (ended.status, ended.ended_at) == ("canceled", at(2026, 3, 31, 12))
    assert types(double)[-1] == "customer.subscription.deleted"
    assert list(client.v1.subscriptions.list({"customer": customer})) == []
    assert [each.id for each in client.v1.subscriptions.list({"status": "all"})] == [subscription.id]


def test_a_subscription_is_cancelled_at_a_given_time(
    double: StripeDouble, client: stripe.StripeClient, customer: str, price: str
) -> None:
    subscription = subscribed(double, client, customer, price)
    ending = client.v1.subscriptions.update(subscription.id, {"cancel_at": T0 + DAY})
    assert (ending.cancel_at, ending.cancel_at_period_end) == (T0 + DAY, False)
    double.control("advance", days=1)
    assert client.v1.subscriptions.retrieve(subscription.id).status == "canceled"


def test_a_subscription_is_cancelled_at_once(
    double: StripeDouble, client: stripe.StripeClient, customer: str, price: str
) -> None:
    subscription = subscribed(double, client, customer, price)
    ended = client.v1.subscriptions.cancel(
        subscription.id, {"cancellation_details": {"comment": "too dear", "feedback": "too_expensive"}}
    )
    assert (ended.status, ended.ended_at) == ("canceled", T0)
    assert ended.cancellation_details is not None
    assert ended.cancellation_details.feedback == "too_expensive"
    with pytest.raises(stripe.InvalidRequestError) as raised:
        client.v1.subscriptions.cancel(subscription.id)
    assert raised.value.http_status == 404
    with pytest.raises(stripe.InvalidRequestError, match="canceled subscription"):
        client.v1.subscriptions.update(subscription.id, {"cancel_at_period_end": False})


def test_a_deleted_customer_has_no_subscription(
    double: StripeDouble, client: stripe.StripeClient, customer: str, price: str
) -> None:
    subscription = subscribed(double, client, customer, price)
    client.v1.customers.delete(customer)
    assert client.v1.subscriptions.retrieve(subscription.id).status == "canceled"
    double.control("advance", days=60)
    assert types(double)[-2:] == ["customer.subscription.deleted", "customer.deleted"]


# ---------------------------------------------------------------- without Checkout


def test_a_subscription_by_the_api(client: stripe.StripeClient, price: str) -> None:
    customer = client.v1.customers.create(
        {"payment_method": "pm_card_visa", "invoice_settings": {"default_payment_method": "pm_card_visa"}}
    )
    made = client.v1.subscriptions.create({"customer": customer.id, "items": [{"price": price}]})
    assert made.status == "active"
    (method,) = client.v1.customers.payment_methods.list(customer.id)
    assert method.card is not None
    assert method.card.last4 == "4242"
    client.v1.payment_methods.detach(method.id)
    assert list(client.v1.payment_methods.list({"customer": customer.id})) == []


def test_a_first_payment_that_fails(
    double: StripeDouble, client: stripe.StripeClient, customer: str, price: str
) -> None:
    method = client.v1.payment_methods.attach("pm_card_chargeCustomerFail", {"customer": customer})
    asked: Any = {"customer": customer, "items": [{"price": price}], "default_payment_method": method.id}
    made = client.v1.subscriptions.create(asked)
    assert made.status == "incomplete"
    double.control("advance", seconds=23 * 3600)
    after = client.v1.subscriptions.retrieve(made.id, {"expand": ["latest_invoice"]})
    assert after.status == "incomplete_expired"
    assert isinstance(after.latest_invoice, stripe.Invoice)
    assert after.latest_invoice.status == "void"
    with pytest.raises(stripe.InvalidRequestError, match="declined"):
        client.v1.subscriptions.create({**asked, "payment_behavior": "error_if_incomplete"})


def test_a_first_payment_that_is_made_in_the_browser(
    double: StripeDouble, client: stripe.StripeClient, customer: str, price: str
) -> None:
    made = client.v1.subscriptions.create(
        {
            "customer": customer,
            "items": [{"price": price}],
            "payment_behavior": "default_incomplete",
            "expand": ["latest_invoice.confirmation_secret", "latest_invoice.payments"],
        }
    )
    invoice = made.latest_invoice
    assert isinstance(invoice, stripe.Invoice)
    assert invoice.confirmation_secret is not None
    assert invoice.payments is not None
    intent = str(invoice.payments.data[0].payment.payment_intent)
    assert invoice.confirmation_secret.client_secret.startswith(intent)
    assert (made.status, invoice.status) == ("incomplete", "open")
    double.control("pay", payment_intent=intent, card="authentication")
    assert client.v1.subscriptions.retrieve(made.id).status == "active"
    assert client.v1.invoices.retrieve(invoice.id).status == "paid"


def test_a_subscription_needs_something_to_pay_with(client: stripe.StripeClient, customer: str, price: str) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="no attached payment source"):
        client.v1.subscriptions.create({"customer": customer, "items": [{"price": price}]})


def test_a_payment_of_an_invoice_is_refunded_and_leads_back_to_it(
    double: StripeDouble, client: stripe.StripeClient, customer: str, price: str
) -> None:
    subscription = subscribed(double, client, customer, price)
    invoice = client.v1.invoices.retrieve(str(subscription.latest_invoice), {"expand": ["payments"]})
    assert invoice.payments is not None
    intent = str(invoice.payments.data[0].payment.payment_intent)
    client.v1.refunds.create({"payment_intent": intent, "amount": 500})
    charge = double.events("charge.refunded")[-1]["data"]["object"]
    assert (charge["payment_intent"], charge["amount_refunded"]) == (intent, 500)


# ---------------------------------------------------------------- the other pages


def test_the_billing_portal(double: StripeDouble, client: stripe.StripeClient, customer: str, price: str) -> None:
    subscription = subscribed(double, client, customer, price)
    wanted: Any = {"customer": customer, "return_url": "http://127.0.0.1/back"}
    assert client.v1.billing_portal.configurations.list().data == []
    with pytest.raises(stripe.InvalidRequestError, match="portal settings in test mode"):
        client.v1.billing_portal.sessions.create(wanted)
    double.control("portal")
    assert [each.is_default for each in client.v1.billing_portal.configurations.list({"is_default": True})] == [True]
    portal = client.v1.billing_portal.sessions.create(wanted)
    assert subscription.id in browse(portal.url)[2]
    assert browse(portal.url, {"action": "cancel", "subscription": subscription.id})[0] == 303
    assert client.v1.subscriptions.retrieve(subscription.id).cancel_at_period_end
    assert "Resume" in browse(portal.url)[2]
    browse(portal.url, {"action": "resume", "subscription": subscription.id})
    browse(portal.url, {"action": "card", "card": "declined", "subscription": subscription.id})
    after = client.v1.subscriptions.retrieve(subscription.id, {"expand": ["default_payment_method"]})
    assert not after.cancel_at_period_end
    assert isinstance(after.default_payment_method, stripe.PaymentMethod)
    assert after.default_payment_method.card is not None
    assert after.default_payment_method.card.last4 == "0002"


@pytest.mark.parametrize(("action", "status"), [("confirm", "succeeded"), ("fail", "failed")])
def test_the_bank_requires_authentication(
    double: StripeDouble, client: stripe.StripeClient, action: str, status: str
) -> None:
    intent = client.v1.payment_intents.create(
        {
            "amount": 500,
            "currency": "usd",
            "payment_method": "pm_card_authenticationRequired",
            "confirm": True,
            "return_url": "http://127.0.0.1/back?x=1",
        }
    )
    assert intent.next_action is not None
    assert intent.next_action.redirect_to_url is not None
    url = intent.next_action.redirect_to_url.url
    assert url is not None
    assert browse(url)[0] == 200
    code, location, _ = browse(url, {"action": action})
    assert code == 303
    assert location is not None
    assert location.startswith(f"http://127.0.0.1/back?x=1&payment_intent={intent.id}&")
    assert location.endswith(f"redirect_status={status}")


def test_an_unknown_page_is_404(double: StripeDouble) -> None:
    for path in ("/", "/c/pay/cs_none", "/p/session/bps_<script>"):
        status, _, text = browse(f"{double.url}{path}")
        assert status == 404
        assert "<script>" not in text


def test_a_renewal_that_requires_authentication(
    double: StripeDouble, client: stripe.StripeClient, customer: str, price: str
) -> None:
    subscription = subscribed(double, client, customer, price)
    double.control("subscription_card", subscription=subscription.id, card="authentication")
    double.control("advance", to=at(2026, 3, 1))
    assert client.v1.subscriptions.retrieve(subscription.id).status == "past_due"
    assert "invoice.payment_action_required" in types(double)
    (invoice,) = client.v1.invoices.list({"status": "open", "expand": ["data.payments"]})
    assert invoice.payments is not None
    double.control("pay", payment_intent=invoice.payments.data[0].payment.payment_intent, card="authentication")
    assert client.v1.subscriptions.retrieve(subscription.id).status == "active"
