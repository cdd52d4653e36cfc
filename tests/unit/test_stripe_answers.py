"""Answers of a proxy, or of another version, in Stripe's place: none of them is a fact, and none an error of ours."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import pytest

from playground.adapters.prices import load_prices
from playground.adapters.stripe_payments import StripePayments
from playground.domain.errors import PaymentsRejectedError, PaymentsUnavailableError
from playground.domain.payment_events import ObjectKind
from tests.unit.test_claude_model import says, speaking

PLAN = load_prices().plan
Question = Callable[[StripePayments], object]

QUESTIONS: Mapping[str, Question] = {
    "create_customer": lambda stripe: stripe.create_customer(user_id="u", key="k"),
    "create_payment": lambda stripe: stripe.create_payment(
        amount=500, currency="usd", customer_id="cus_1", user_id="u", purchase_id="pur_1", key="k"
    ),
    "describe_payment": lambda stripe: stripe.describe_payment("pi_1", description="d", receipt_email="a@b.example"),
    "receipts": lambda stripe: stripe.receipts(customer_id="cus_1", since=datetime(2027, 1, 1, tzinfo=UTC)),
    "payment_started": lambda stripe: stripe.payment_started("pi_1"),
    "payment_for": lambda stripe: stripe.payment_for(customer_id="cus_1", purchase_id="pur_1"),
    "payment": lambda stripe: stripe.payment("pi_1"),
    "create_checkout": lambda stripe: stripe.create_checkout(
        customer_id="cus_1",
        user_id="u",
        plan=PLAN,
        currency="usd",
        success_url="https://prpm.dev",
        cancel_url="https://prpm.dev",
        key="k",
    ),
    "checkout_page": lambda stripe: stripe.checkout_page("cs_1", customer_id="cus_1"),
    "close_checkout": lambda stripe: stripe.close_checkout("cs_1"),
    "subscription": lambda stripe: stripe.subscription("sub_1"),
    "set_cancel_at_period_end": lambda stripe: stripe.set_cancel_at_period_end("sub_1", cancel=True),
    "stated_subscription": lambda stripe: stripe.stated_subscription("sub_1"),
    "statement": lambda stripe: stripe.statement("pi_1"),
    "invoice_statement": lambda stripe: stripe.invoice_statement("in_1"),
    "invoice_paid": lambda stripe: stripe.invoice_paid("in_1"),
    "invoice_of": lambda stripe: stripe.invoice_of("pi_1"),
    "invoices_of": lambda stripe: stripe.invoices_of("sub_1"),
    "subscriptions_of": lambda stripe: stripe.subscriptions_of("cus_1"),
    "is_of_invoice": lambda stripe: stripe.is_of_invoice("pi_1"),
    "create_portal": lambda stripe: stripe.create_portal(customer_id="cus_1", return_url="https://prpm.dev"),
    "listed": lambda stripe: stripe.listed(ObjectKind.PAYMENTS, since=None, after=None),
}

NONSENSE = (b"{}", b"[]", b"null", b'"x"', b"7", b'{"id": "\xff"}', b'{"error": null}')
NULLS = dict.fromkeys(("id", "object", "data", "has_more", "url", "client_secret", "expires_at", "status"))
WRONG = {
    "id": 5,
    "object": "list",
    "data": [{}],
    "has_more": 7,
    "url": [],
    "client_secret": 7,
    "expires_at": "soon",
    "status": {},
    "customer": [],
    "metadata": 7,
    "invoice": 7,
}


def test_every_question_is_asked_here() -> None:
    asked = {name for name, value in vars(StripePayments).items() if callable(value) and not name.startswith("_")}
    assert asked == set(QUESTIONS)


@pytest.mark.parametrize("status", ["200 OK", "400 X"])
@pytest.mark.parametrize("body", [*NONSENSE, json.dumps(NULLS).encode(), json.dumps(WRONG).encode()])
@pytest.mark.parametrize("name", QUESTIONS)
def test_an_answer_that_makes_no_sense_is_for_an_operator(name: str, body: bytes, status: str) -> None:
    """Also `null`: that a subscription, a payment or a page is not there is said by a 404, and has consequences."""
    with speaking(says(body, status=status)) as url:
        stripe = StripePayments(api_key="sk_test_1", base_url=url)
        with pytest.raises((PaymentsRejectedError, PaymentsUnavailableError)):
            QUESTIONS[name](stripe)


@pytest.mark.parametrize("error", ["null", '"text"', "[]", "7", '{"code": 7, "param": {}, "message": [], "type": 7}'])
def test_a_refusal_without_a_proper_error_is_a_refusal(error: str) -> None:
    refuses = says(f'{{"error": {error}}}'.encode(), status="400 X")
    with speaking(refuses) as url, pytest.raises(PaymentsRejectedError):
        StripePayments(api_key="sk_test_1", base_url=url).create_customer(user_id="u", key="k")
