"""The Stripe double with the real stripe package: customers, payments, refunds, disputes, errors, lists."""

from __future__ import annotations

import base64
import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlencode

import pytest
import stripe
from hypothesis import assume, given
from hypothesis import strategies as st
from stripe._encode import _api_encode

from doubles.stripe import StripeDouble
from doubles.stripe.cards import CARDS
from doubles.stripe.control import CONTROLS
from doubles.stripe.wire import ApiError, decode_form
from tests.kit.extent import HANG_SECONDS

T0 = 1_790_000_000  # where the clocks of these tests stand until they are moved
NEVER_REDIRECTED = {"enabled": True, "allow_redirects": "never"}


class Frozen:
    """A clock that stands still."""

    def __call__(self) -> float:
        return float(T0)


@pytest.fixture
def double() -> Iterator[StripeDouble]:
    with StripeDouble(base=Frozen(), seed=1) as running:
        yield running


@pytest.fixture
def client(double: StripeDouble) -> stripe.StripeClient:
    return connect(double)


def connect(double: StripeDouble, key: str = "sk_test_123", *, retries: int = 0) -> stripe.StripeClient:
    return stripe.StripeClient(key, base_addresses={"api": double.url}, max_network_retries=retries)


def intent(client: stripe.StripeClient, **more: Any) -> stripe.PaymentIntent:
    asked: Any = {"amount": 500, "currency": "usd", "automatic_payment_methods": NEVER_REDIRECTED, **more}
    return client.v1.payment_intents.create(asked)


def paid(client: stripe.StripeClient, card: str = "pm_card_visa", **more: Any) -> stripe.PaymentIntent:
    return intent(client, payment_method=card, confirm=True, **more)


def types(double: StripeDouble) -> list[str]:
    return [event["type"] for event in double.events()]


def last_event(double: StripeDouble, kind: str) -> dict[str, Any]:
    return double.events(kind)[-1]


# ---------------------------------------------------------------- customers


def test_a_customer_is_kept_changed_and_found(double: StripeDouble, client: stripe.StripeClient) -> None:
    made = client.v1.customers.create({"email": "ann@example.com", "metadata": {"user_id": "u1", "plan": "plus"}})
    other = client.v1.customers.create({"email": "bob@example.com"})
    client.v1.customers.update(made.id, {"name": "Ann", "metadata": {"plan": "", "since": "2026"}})

    kept = client.v1.customers.retrieve(made.id)
    assert (kept.email, kept.name, kept.livemode) == ("ann@example.com", "Ann", False)
    assert kept.metadata is not None
    assert kept.metadata.to_dict() == {"user_id": "u1", "since": "2026"}
    assert [each.id for each in client.v1.customers.list({"email": "bob@example.com"})] == [other.id]
    assert types(double) == ["customer.created", "customer.created", "customer.updated"]


def test_a_deleted_customer_is_gone(client: stripe.StripeClient) -> None:
    made = client.v1.customers.create({})
    assert client.v1.customers.delete(made.id).deleted
    assert client.v1.customers.retrieve(made.id).deleted
    assert list(client.v1.customers.list()) == []
    with pytest.raises(stripe.InvalidRequestError, match="No such customer"):
        intent(client, customer=made.id)


# ---------------------------------------------------------------- payments


def test_a_payment_from_its_creation_to_its_charge(double: StripeDouble, client: stripe.StripeClient) -> None:
    customer = client.v1.customers.create({"email": "ann@example.com"})
    made = intent(client, customer=customer.id, metadata={"purchase_id": "pur_1"})
    assert made.status == "requires_payment_method"
    assert made.client_secret is not None
    assert made.client_secret.startswith(f"{made.id}_secret_")

    client.v1.payment_intents.confirm(made.id, {"payment_method": "pm_card_visa"})
    done = client.v1.payment_intents.retrieve(made.id, {"expand": ["latest_charge.balance_transaction", "customer"]})
    charge = done.latest_charge
    assert isinstance(charge, stripe.Charge)
    assert isinstance(done.customer, stripe.Customer)
    assert isinstance(charge.balance_transaction, stripe.BalanceTransaction)
    assert (done.status, done.amount_received, done.customer.email) == ("succeeded", 500, "ann@example.com")
    assert (charge.paid, charge.amount, charge.payment_intent) == (True, 500, made.id)
    assert charge.metadata["purchase_id"] == "pur_1"
    assert charge.balance_transaction.net == 500 - 44
    assert types(double)[1:] == ["payment_intent.created", "charge.succeeded", "payment_intent.succeeded"]


@pytest.mark.parametrize(
    ("card", "code", "decline_code"),
    [
        ("pm_card_visa_chargeDeclined", "card_declined", "generic_decline"),
        ("pm_card_chargeDeclined", "card_declined", "generic_decline"),
        ("pm_card_visa_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card", "expired_card"),
    ],
)
def test_a_declined_card(
    double: StripeDouble, client: stripe.StripeClient, card: str, code: str, decline_code: str
) -> None:
    made = intent(client)
    with pytest.raises(stripe.CardError) as raised:
        client.v1.payment_intents.confirm(made.id, {"payment_method": card})
    error = raised.value.error
    assert error is not None
    assert (raised.value.http_status, raised.value.code, error.decline_code) == (402, code, decline_code)
    assert error.payment_intent is not None
    assert error.payment_intent["id"] == made.id

    after = client.v1.payment_intents.retrieve(made.id)
    assert (after.status, after.payment_method, after.amount_received) == ("requires_payment_method", None, 0)
    assert after.last_payment_error is not None
    assert after.last_payment_error.decline_code == decline_code
    assert types(double)[1:] == ["charge.failed", "payment_intent.payment_failed"]

    again = client.v1.payment_intents.confirm(made.id, {"payment_method": "pm_card_visa"})
    assert (again.status, again.last_payment_error) == ("succeeded", None)


@pytest.mark.parametrize(("outcome", "status"), [("succeed", "succeeded"), ("fail", "requires_payment_method")])
def test_a_card_that_requires_authentication(
    double: StripeDouble, client: stripe.StripeClient, outcome: str, status: str
) -> None:
    made = paid(client, "pm_card_authenticationRequired", return_url="http://127.0.0.1/back")
    assert made.status == "requires_action"
    assert made.next_action is not None
    assert made.next_action.redirect_to_url is not None
    assert made.next_action.redirect_to_url.return_url == "http://127.0.0.1/back"
    assert types(double)[-1] == "payment_intent.requires_action"

    double.control("authenticate", payment_intent=made.id, outcome=outcome)
    after = client.v1.payment_intents.retrieve(made.id)
    assert after.status == status
    if outcome == "fail":
        assert after.last_payment_error is not None
        assert after.last_payment_error.code == "payment_intent_authentication_failure"


def test_a_card_that_needs_authentication_off_session(client: stripe.StripeClient) -> None:
    with pytest.raises(stripe.CardError) as raised:
        paid(client, "pm_card_authenticationRequired", off_session=True)
    assert raised.value.code == "authentication_required"


def test_a_bank_debit_is_processing_first(double: StripeDouble, client: stripe.StripeClient) -> None:
    good, bad = (paid(client, f"pm_usBankAccount_{outcome}") for outcome in ("success", "insufficientFunds"))
    assert {good.status, bad.status} == {"processing"}
    with pytest.raises(stripe.InvalidRequestError, match="it is processing"):
        client.v1.payment_intents.confirm(good.id)
    double.control("advance", days=1)
    assert client.v1.payment_intents.retrieve(good.id).status == "succeeded"
    assert client.v1.payment_intents.retrieve(bad.id).status == "requires_payment_method"


def test_a_payment_is_canceled_once_and_only_before_it_succeeds(
    double: StripeDouble, client: stripe.StripeClient
) -> None:
    made = intent(client)
    after = client.v1.payment_intents.cancel(made.id, {"cancellation_reason": "abandoned"})
    assert (after.status, after.cancellation_reason, after.canceled_at) == ("canceled", "abandoned", T0)
    assert types(double)[-1] == "payment_intent.canceled"
    for identifier in (made.id, paid(client).id):
        with pytest.raises(stripe.InvalidRequestError, match="You cannot cancel this PaymentIntent") as raised:
            client.v1.payment_intents.cancel(identifier)
        assert raised.value.code == "payment_intent_unexpected_state"
        with pytest.raises(stripe.InvalidRequestError, match="You cannot confirm"):
            client.v1.payment_intents.confirm(identifier, {"payment_method": "pm_card_visa"})


def test_a_server_that_allows_redirects_says_where_to(client: stripe.StripeClient) -> None:
    made = intent(client, automatic_payment_methods={"enabled": True})
    with pytest.raises(stripe.InvalidRequestError, match="return_url"):
        client.v1.payment_intents.confirm(made.id, {"payment_method": "pm_card_visa"})
    done = client.v1.payment_intents.confirm(
        made.id, {"payment_method": "pm_card_visa", "return_url": "http://127.0.0.1/back"}
    )
    assert done.status == "succeeded"


def test_the_customer_pays_in_the_browser(double: StripeDouble, client: stripe.StripeClient) -> None:
    made = intent(client, automatic_payment_methods={"enabled": True})
    double.control("pay", payment_intent=made.id, card="visa")
    assert client.v1.payment_intents.retrieve(made.id).status == "succeeded"
    careful = intent(client, automatic_payment_methods={"enabled": True})
    double.control("pay", payment_intent=careful.id, card="authentication")
    assert client.v1.payment_intents.retrieve(careful.id).status == "succeeded"


@pytest.mark.parametrize("card", [name for name, card in CARDS.items() if not card.decline])
def test_every_valid_card_can_pay(double: StripeDouble, client: stripe.StripeClient, card: str) -> None:
    made = intent(client)
    double.control("pay", payment_intent=made.id, card=card)
    double.control("advance", days=1)
    assert client.v1.payment_intents.retrieve(made.id).status == "succeeded"


def test_a_payment_method_of_another_customer_is_refused(client: stripe.StripeClient) -> None:
    ann, bob = (client.v1.customers.create({"name": name}) for name in ("Ann", "Bob"))
    card = client.v1.payment_methods.attach("pm_card_visa", {"customer": ann.id}).id
    assert paid(client, card, customer=ann.id).status == "succeeded"
    for owner in ({"customer": bob.id}, {}):
        with pytest.raises(stripe.InvalidRequestError, match="must be attached to the customer"):
            paid(client, card, **owner)
    with pytest.raises(stripe.InvalidRequestError, match="already been attached"):
        client.v1.payment_methods.attach(card, {"customer": bob.id})


# ---------------------------------------------------------------- refunds


def test_refunds_in_parts(double: StripeDouble, client: stripe.StripeClient) -> None:
    made = paid(client)
    first = client.v1.refunds.create({"payment_intent": made.id, "amount": 200, "metadata": {"why": "late"}})
    assert (first.status, first.amount, first.charge) == ("succeeded", 200, made.latest_charge)
    refunded = last_event(double, "charge.refunded")["data"]
    assert (refunded["object"]["amount_refunded"], refunded["object"]["refunded"]) == (200, False)
    assert refunded["previous_attributes"] == {"amount_refunded": 0}

    second = client.v1.refunds.create({"payment_intent": made.id})
    charge = client.v1.charges.retrieve(str(made.latest_charge), {"expand": ["refunds"]})
    assert second.amount == 300
    assert (charge.amount_refunded, charge.refunded) == (500, True)
    assert charge.refunds is not None
    assert [refund.id for refund in charge.refunds] == [second.id, first.id]
    assert types(double)[-4:] == ["refund.created", "charge.refunded"] * 2


def test_refunds_at_the_same_time_are_no_more_than_was_paid(client: stripe.StripeClient) -> None:
    made = paid(client)

    def refund(_: int) -> bool:
        try:
            client.v1.refunds.create({"payment_intent": made.id, "amount": 100})
        except stripe.InvalidRequestError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(refund, range(12))) == 5
    assert client.v1.charges.retrieve(str(made.latest_charge)).refunded


def test_no_more_is_refunded_than_was_paid(client: stripe.StripeClient) -> None:
    made = paid(client)
    for amount, before in ((501, r"greater than charge amount \(\$5.00\)"), (0, "greater than or equal to 1")):
        with pytest.raises(stripe.InvalidRequestError, match=before):
            client.v1.refunds.create({"payment_intent": made.id, "amount": amount})
    client.v1.refunds.create({"payment_intent": made.id, "amount": 200})
    with pytest.raises(stripe.InvalidRequestError, match=r"unrefunded amount on charge \(\$3.00\)") as raised:
        client.v1.refunds.create({"payment_intent": made.id, "amount": 301})
    assert raised.value.param == "amount"
    client.v1.refunds.create({"charge": str(made.latest_charge)})
    with pytest.raises(stripe.InvalidRequestError) as raised:
        client.v1.refunds.create({"payment_intent": made.id})
    assert raised.value.code == "charge_already_refunded"
    with pytest.raises(stripe.InvalidRequestError, match="does not have a successful charge"):
        client.v1.refunds.create({"payment_intent": intent(client).id})


def test_a_pending_refund_succeeds_later(double: StripeDouble, client: stripe.StripeClient) -> None:
    refund = client.v1.refunds.create({"payment_intent": paid(client, "pm_card_pendingRefund").id})
    assert refund.status == "pending"
    double.control("advance", seconds=60)
    assert client.v1.refunds.retrieve(refund.id).status == "succeeded"
    assert last_event(double, "refund.updated")["data"]["previous_attributes"]["status"] == "pending"


def test_a_refund_fails_later_and_the_charge_is_paid_again(double: StripeDouble, client: stripe.StripeClient) -> None:
    made = paid(client, "pm_card_refundFail")
    refund = client.v1.refunds.create({"payment_intent": made.id})
    assert refund.status == "succeeded"
    double.control("advance", seconds=60)
    after = client.v1.refunds.retrieve(refund.id)
    charge = client.v1.charges.retrieve(str(made.latest_charge))
    assert (after.status, after.failure_reason) == ("failed", "lost_or_stolen_card")
    assert (charge.amount_refunded, charge.refunded) == (0, False)
    assert types(double)[-3:] == ["charge.refund.updated", "refund.updated", "refund.failed"]


def test_a_refund_from_the_dashboard(double: StripeDouble, client: stripe.StripeClient) -> None:
    made = paid(client)
    refund = double.control("refund", payment_intent=made.id, amount=100)
    double.control("settle_refund", refund=refund["id"], outcome="fail")
    assert client.v1.refunds.retrieve(refund["id"]).status == "failed"
    assert last_event(double, "refund.created")["request"] == {"id": None, "idempotency_key": None}


# ---------------------------------------------------------------- disputes


@pytest.mark.parametrize(
    ("outcome", "status", "ending"),
    [
        ("won", "won", ["charge.dispute.closed", "charge.dispute.funds_reinstated"]),
        ("withdrawn", "won", ["charge.dispute.closed", "charge.dispute.funds_reinstated"]),
        ("lost", "lost", ["charge.dispute.closed"]),
    ],
)
def test_a_dispute_and_its_end(
    double: StripeDouble, client: stripe.StripeClient, outcome: str, status: str, ending: list[str]
) -> None:
    made = paid(client, "pm_card_createDispute")
    (dispute,) = client.v1.disputes.list({"payment_intent": made.id})
    assert (dispute.status, dispute.amount, dispute.reason) == ("needs_response", 500, "fraudulent")
    assert types(double)[-2:] == ["charge.dispute.created", "charge.dispute.funds_withdrawn"]
    assert client.v1.charges.retrieve(str(made.latest_charge)).disputed
    with pytest.raises(stripe.InvalidRequestError) as raised:
        client.v1.refunds.create({"payment_intent": made.id})
    assert raised.value.code == "charge_disputed"

    double.control("close_dispute", dispute=dispute.id, outcome=outcome)
    after = client.v1.disputes.retrieve(dispute.id)
    assert after.status == status
    assert sum(line.net for line in after.balance_transactions) == (-1500 if status == "won" else -2000)
    assert types(double)[-len(ending) :] == ending
    with pytest.raises(stripe.InvalidRequestError, match="already closed"):
        client.v1.disputes.close(dispute.id)


def test_a_dispute_of_a_part_by_control(double: StripeDouble, client: stripe.StripeClient) -> None:
    made = paid(client)
    dispute = double.control("dispute", payment_intent=made.id, amount=200, reason="product_not_received")
    assert client.v1.disputes.retrieve(dispute["id"]).amount == 200
    assert client.v1.disputes.close(dispute["id"]).status == "lost"


def test_an_inquiry_withdraws_no_money(double: StripeDouble, client: stripe.StripeClient) -> None:
    made = paid(client, "pm_card_createDisputeInquiry")
    (dispute,) = client.v1.disputes.list({"charge": str(made.latest_charge)})
    assert (dispute.status, list(dispute.balance_transactions)) == ("warning_needs_response", [])
    assert types(double)[-1] == "charge.dispute.created"
    assert client.v1.refunds.create({"payment_intent": made.id}).status == "succeeded"
    double.control("close_dispute", dispute=dispute.id, outcome="won")
    assert client.v1.disputes.retrieve(dispute.id).status == "warning_closed"


@pytest.mark.parametrize(("text", "status"), [("winning_evidence", "won"), ("losing_evidence", "lost")])
def test_evidence_decides_a_dispute_as_in_test_mode(client: stripe.StripeClient, text: str, status: str) -> None:
    paid(client, "pm_card_createDispute")
    (dispute,) = client.v1.disputes.list()
    after = client.v1.disputes.update(dispute.id, {"evidence": {"uncategorized_text": text}, "submit": True})
    assert after.status == status


# ---------------------------------------------------------------- idempotency keys


def test_the_same_key_gives_the_same_answer_for_a_day(double: StripeDouble, client: stripe.StripeClient) -> None:
    def create(amount: int = 500) -> stripe.PaymentIntent:
        return client.v1.payment_intents.create(
            {"amount": amount, "currency": "usd"}, {"idempotency_key": "purchase-1"}
        )

    first, again = create(), create()
    assert again.id == first.id
    assert first.last_response is not None
    assert again.last_response is not None
    assert "Idempotent-Replayed" not in first.last_response.headers
    assert again.last_response.headers["Idempotent-Replayed"] == "true"
    assert again.last_response.headers["Original-Request"] == first.last_response.request_id
    assert types(double) == ["payment_intent.created"]
    assert double.events()[0]["request"] == {"id": first.last_response.request_id, "idempotency_key": "purchase-1"}
    with pytest.raises(stripe.IdempotencyError, match="same parameters"):
        create(501)
    with pytest.raises(stripe.IdempotencyError, match="same endpoint"):
        client.v1.customers.create({}, {"idempotency_key": "purchase-1"})

    double.control("advance", seconds=86_399)
    assert create().id == first.id
    double.control("advance", seconds=1)
    assert create(501).id != first.id


def test_a_key_stores_a_decline_but_no_validation_error(client: stripe.StripeClient) -> None:
    made = intent(client)
    for _ in range(2):
        with pytest.raises(stripe.CardError) as raised:
            client.v1.payment_intents.confirm(
                made.id, {"payment_method": "pm_card_chargeDeclined"}, {"idempotency_key": "k"}
            )
    assert raised.value.headers is not None
    assert raised.value.headers["Idempotent-Replayed"] == "true"
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.customers.create({"email": "not one"}, {"idempotency_key": "k2"})
    assert client.v1.customers.create({"email": "a@example.com"}, {"idempotency_key": "k2"}).id


def test_keys_of_test_and_live_mode_are_different(double: StripeDouble, client: stripe.StripeClient) -> None:
    test = client.v1.customers.create({}, {"idempotency_key": "k"})
    live = connect(double, "sk_live_123").v1.customers.create({"name": "Ann"}, {"idempotency_key": "k"})
    assert test.id != live.id


def test_the_same_key_at_the_same_time_is_a_conflict(
    double: StripeDouble, client: stripe.StripeClient, eventually: Callable[[Callable[[], object]], None]
) -> None:
    double.control("outage", kind="slow", seconds=HANG_SECONDS)
    made: list[str] = []

    def create() -> None:
        made.append(client.v1.customers.create({}, {"idempotency_key": "k"}).id)

    slow = threading.Thread(target=create)
    slow.start()
    eventually(lambda: double.account.keys.in_use)
    with pytest.raises(stripe.APIError) as raised:
        client.v1.customers.create({}, {"idempotency_key": "k"})
    assert raised.value.http_status == 409
    assert raised.value.error is not None
    assert raised.value.error.code == "idempotency_key_in_use"
    double.control("recover")
    slow.join(HANG_SECONDS)
    assert made == [client.v1.customers.create({}, {"idempotency_key": "k"}).id]


def test_concurrent_requests_with_one_key_have_one_effect(double: StripeDouble) -> None:
    client = connect(double, retries=5)

    def create(_: int) -> str:
        return client.v1.customers.create({}, {"idempotency_key": "k"}).id

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(create, range(16)))) == 1
    assert types(double) == ["customer.created"]


# ---------------------------------------------------------------- errors


def test_errors_have_the_messages_of_stripe(double: StripeDouble, client: stripe.StripeClient) -> None:
    cases: list[tuple[dict[str, Any], str | None, str | None]] = [
        ({"currency": "usd"}, "amount", "parameter_missing"),
        ({"amount": 500}, "currency", "parameter_missing"),
        ({"amount": "five", "currency": "usd"}, "amount", "parameter_invalid_integer"),
        ({"amount": 0, "currency": "usd"}, "amount", "parameter_invalid_integer"),
        ({"amount": 49, "currency": "usd"}, "amount", "amount_too_small"),
        ({"amount": 100_000_000, "currency": "usd"}, "amount", "amount_too_large"),
        ({"amount": 500, "currency": "dollars"}, "currency", None),
        ({"amount": 500, "currency": "usd", "colour": "red"}, "colour", "parameter_unknown"),
        ({"amount": 500, "currency": "usd", "customer": "cus_none"}, "customer", "resource_missing"),
        ({"amount": 500, "currency": "usd", "metadata": {"k": "x" * 501}}, "metadata[k]", None),
        ({"amount": 500, "currency": "usd", "expand": ["colour"]}, "expand", None),
    ]
    for asked, param, code in cases:
        with pytest.raises(stripe.InvalidRequestError) as raised:
            client.v1.payment_intents.create(asked)  # type: ignore[arg-type]
        assert (raised.value.http_status, raised.value.param, raised.value.code) == (400, param, code), asked
    assert double.events() == []
    with pytest.raises(stripe.InvalidRequestError) as raised:
        client.v1.payment_intents.retrieve("pi_none")
    assert (raised.value.http_status, raised.value.code) == (404, "resource_missing")
    assert raised.value.request_id is not None
    assert raised.value.request_id.startswith("req_")


@pytest.mark.parametrize(
    ("key", "message"), [("bk_test_1", "Invalid API Key"), ("x", "Invalid"), ("sk_test_expired", "Expired")]
)
def test_an_invalid_api_key(double: StripeDouble, key: str, message: str) -> None:
    with pytest.raises(stripe.AuthenticationError, match=message) as raised:
        connect(double, key).v1.customers.create({})
    assert raised.value.http_status == 401


def test_live_and_test_mode_do_not_see_each_other(double: StripeDouble, client: stripe.StripeClient) -> None:
    live = connect(double, "sk_live_123")
    made = live.v1.customers.create({})
    assert made.livemode
    assert double.events()[-1]["livemode"]
    assert list(client.v1.customers.list()) == []
    with pytest.raises(stripe.InvalidRequestError, match="exists in live mode, but a test mode key"):
        client.v1.customers.retrieve(made.id)
    with pytest.raises(stripe.InvalidRequestError, match="live mode"):
        paid(live)


def test_another_version_of_the_api_is_refused(double: StripeDouble) -> None:
    old = stripe.StripeClient("sk_test_1", base_addresses={"api": double.url}, stripe_version="2020-08-27")
    with pytest.raises(stripe.InvalidRequestError, match="Invalid Stripe API version"):
        old.v1.customers.create({})


# ---------------------------------------------------------------- lists


def test_pages_go_forwards_and_backwards(client: stripe.StripeClient) -> None:
    made = [client.v1.customers.create({"name": str(number)}).id for number in range(7)]
    newest = made[::-1]
    first = client.v1.customers.list({"limit": 3})
    assert ([each.id for each in first], first.has_more) == (newest[:3], True)
    assert not client.v1.customers.list({"limit": 7}).has_more
    last = client.v1.customers.list({"limit": 3, "starting_after": newest[5]})
    assert ([each.id for each in last], last.has_more) == (newest[6:], False)
    back = client.v1.customers.list({"limit": 3, "ending_before": newest[5]})
    assert ([each.id for each in back], back.has_more) == (newest[2:5], True)
    assert [each.id for each in client.v1.customers.list({"limit": 2}).auto_paging_iter()] == newest
    with pytest.raises(stripe.InvalidRequestError, match="No such customer"):
        client.v1.customers.list({"starting_after": "cus_none"})
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.customers.list({"limit": 101})


def test_lists_are_filtered_by_time_and_owner(double: StripeDouble, client: stripe.StripeClient) -> None:
    customer = client.v1.customers.create({})
    early = intent(client, customer=customer.id)
    double.control("advance", days=1)
    late = intent(client, customer=customer.id)
    intent(client)
    day = T0 + 86_400

    def found(**filters: Any) -> list[str]:
        asked: Any = {"customer": customer.id, **filters}
        return [each.id for each in client.v1.payment_intents.list(asked)]

    assert found() == [late.id, early.id]
    assert found(created={"gte": day}) == [late.id]
    assert found(created={"gt": T0, "lte": day}) == [late.id]
    assert found(created={"lt": day}) == [early.id]
    assert found(created=T0) == [early.id]


@pytest.mark.parametrize(
    "path",
    ["id", "currency", "latest_charge.nothing", "data.customer", "latest_charge.refunds.charge", "latest_charge." * 5],
)
def test_what_cannot_be_expanded(double: StripeDouble, client: stripe.StripeClient, path: str) -> None:
    with pytest.raises(stripe.InvalidRequestError) as raised:
        paid(client, expand=[path])
    assert raised.value.param == "expand"
    assert double.events() == []


def test_expanding_in_lists_and_below(client: stripe.StripeClient) -> None:
    made = paid(client, customer=client.v1.customers.create({"name": "Ann"}).id)
    client.v1.refunds.create({"payment_intent": made.id, "amount": 100})
    paths = ["data.latest_charge.refunds.data.balance_transaction", "data.customer"]
    (listed,) = client.v1.payment_intents.list({"expand": paths})
    assert isinstance(listed.customer, stripe.Customer)
    assert isinstance(listed.latest_charge, stripe.Charge)
    assert listed.latest_charge.refunds is not None
    (refund,) = listed.latest_charge.refunds
    assert isinstance(refund.balance_transaction, stripe.BalanceTransaction)
    assert (listed.customer.name, refund.balance_transaction.amount) == ("Ann", -100)


# ---------------------------------------------------------------- faults


@pytest.mark.parametrize(
    ("status", "kind"), [(500, stripe.APIError), (503, stripe.APIError), (429, stripe.RateLimitError)]
)
def test_an_outage_begins_and_ends(
    double: StripeDouble, client: stripe.StripeClient, status: int, kind: type[stripe.StripeError]
) -> None:
    double.control("outage", kind="error", status=status, calls=2)
    for _ in range(2):
        with pytest.raises(kind):
            client.v1.customers.create({})
    assert client.v1.customers.create({}).id
    assert types(double) == ["customer.created"]


@pytest.mark.parametrize(
    ("scripted", "kind"),
    [
        ({"status": 400, "code": "resource_missing", "param": "customer"}, stripe.InvalidRequestError),
        ({"status": 400, "type": "idempotency_error"}, stripe.IdempotencyError),
        ({"status": 402, "type": "card_error", "code": "card_declined"}, stripe.CardError),
        ({"status": 403, "code": "more_permissions_required"}, stripe.PermissionError),
    ],
)
def test_an_error_of_any_type(
    double: StripeDouble, client: stripe.StripeClient, scripted: dict[str, Any], kind: type[stripe.StripeError]
) -> None:
    double.control("outage", kind="error", **scripted)
    with pytest.raises(kind) as caught:
        client.v1.customers.create({})
    assert caught.value.error is not None
    assert (caught.value.error.code, caught.value.error.param) == (scripted.get("code"), scripted.get("param"))


def test_what_is_begun_with_a_customer_who_is_gone_is_refused(
    double: StripeDouble, client: stripe.StripeClient
) -> None:
    """A deleted and an unknown one; the history of the deleted one is still listed."""
    deleted = client.v1.customers.create({}).id
    open_payment = intent(client, customer=deleted)
    client.v1.customers.delete(deleted)
    for customer in (deleted, "cus_never"):
        for begin in (
            lambda customer=customer: intent(client, customer=customer),
            lambda customer=customer: client.v1.billing_portal.sessions.create({"customer": customer}),
            lambda customer=customer: client.v1.checkout.sessions.create(
                {"mode": "payment", "customer": customer, "success_url": "https://a.test/"}
            ),
        ):
            with pytest.raises(stripe.InvalidRequestError) as caught:
                begin()
            assert (caught.value.http_status, caught.value.code, caught.value.param) == (
                400,
                "resource_missing",
                "customer",
            )
    with pytest.raises(ApiError, match="No such customer"):
        double.control("pay", payment_intent=open_payment.id)
    assert [each.id for each in client.v1.payment_intents.list({"customer": deleted})] == [open_payment.id]
    for listed in (client.v1.payment_intents, client.v1.subscriptions, client.v1.invoices):
        with pytest.raises(stripe.InvalidRequestError, match="No such customer: 'cus_never'"):
            listed.list({"customer": "cus_never"})


def test_an_outage_of_some_calls_only(double: StripeDouble, client: stripe.StripeClient) -> None:
    double.control("outage", kind="error", method="POST", path="/v1/refunds")
    made = paid(client)
    with pytest.raises(stripe.APIError):
        client.v1.refunds.create({"payment_intent": made.id})
    assert client.v1.refunds.create({"payment_intent": made.id}).status == "succeeded"


@pytest.mark.parametrize("kind", ["disconnect", "hang"])
def test_a_request_without_answer_and_without_effect(
    double: StripeDouble, client: stripe.StripeClient, kind: str
) -> None:
    double.control("outage", kind=kind, seconds=0 if kind == "disconnect" else 1)
    with pytest.raises(stripe.APIConnectionError):
        client.v1.customers.create({})
    assert double.events() == []


def test_a_lost_reply_is_repeated_by_its_key(double: StripeDouble, client: stripe.StripeClient) -> None:
    double.control("outage", kind="lose_reply")
    with pytest.raises(stripe.APIConnectionError):
        client.v1.customers.create({}, {"idempotency_key": "k"})
    (event,) = double.events()
    assert client.v1.customers.create({}, {"idempotency_key": "k"}).id == event["data"]["object"]["id"]
    assert len(double.events()) == 1


def test_an_error_after_the_effect_is_stored_under_its_key(double: StripeDouble, client: stripe.StripeClient) -> None:
    double.control("outage", kind="error", work=True)
    for _ in range(2):
        with pytest.raises(stripe.APIError):
            client.v1.customers.create({}, {"idempotency_key": "k"})
    assert types(double) == ["customer.created"]


def test_a_delayed_call_ends_when_the_fault_is_cleared(double: StripeDouble, client: stripe.StripeClient) -> None:
    double.control("outage", kind="slow", seconds=600)
    threading.Timer(0.1, lambda: double.control("recover")).start()
    began = time.monotonic()
    assert client.v1.customers.create({}).id
    assert time.monotonic() - began < 300


def test_the_package_retries_a_lost_reply_with_the_same_key(double: StripeDouble) -> None:
    """It repeats a call with its generated key."""
    double.control("outage", kind="lose_reply")
    made = connect(double, retries=1).v1.customers.create({})
    assert [event["data"]["object"]["id"] for event in double.events()] == [made.id]
    assert double.control("counts")["calls"] == {"POST /v1/customers": 2}


# ---------------------------------------------------------------- forms


TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5)
NAME = st.from_regex(r"[a-z_]{1,8}", fullmatch=True)
TREE = st.recursive(
    TEXT,
    lambda inner: st.lists(inner, min_size=1, max_size=4) | st.dictionaries(NAME, inner, min_size=1, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(NAME, TREE, max_size=4))
def test_what_the_package_encodes_is_read_as_it_was(tree: dict[str, Any]) -> None:
    depth = str(tree).count("{") + str(tree).count("[")
    assume(depth < 8)
    assert decode_form(urlencode(list(_api_encode(tree)))) == tree


def test_metadata_may_have_numbers_as_keys(client: stripe.StripeClient) -> None:
    made = client.v1.customers.create({"metadata": {"0": "a", "1": "b"}})
    assert made.metadata is not None
    assert made.metadata.to_dict() == {"0": "a", "1": "b"}


@pytest.mark.parametrize("form", ["=1", "a[=1", "a]=1", "a[b=1", "a[b]c=1", "a=1&a[b]=2", "a[b]=1&a=2", "a%FF=%FF"])
def test_forms_that_cannot_be_read(form: str) -> None:
    with pytest.raises(ApiError) as raised:
        decode_form(form)
    assert raised.value.status == 400


# ---------------------------------------------------------------- without the package


def ask(
    double: StripeDouble, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, http.client.HTTPMessage, Any]:
    connection = http.client.HTTPConnection(double.url.removeprefix("http://"), timeout=HANG_SECONDS)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        return response.status, response.headers, json.loads(response.read())
    finally:
        connection.close()


def test_headers_and_basic_authentication(double: StripeDouble) -> None:
    key = "Basic " + base64.b64encode(b"sk_test_1:").decode()
    status, headers, made = ask(double, "POST", "/v1/customers", b"name=Ann", Authorization=key, Idempotency_Key="k")
    assert (status, made["name"]) == (200, "Ann")
    assert headers["Stripe-Version"] == "2026-10-28.endive"
    assert headers["Request-Id"].startswith("req_")
    assert headers["Idempotency-Key"] == "k"
    assert ask(double, "GET", f"/v1/customers/{made['id']}", Authorization="Bearer rk_test_1")[2] == made


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "message"),
    [
        ("GET", "/v1/customers", None, 401, "You did not provide an API key"),
        ("GET", "/v1/nothing", None, 404, "Unrecognized request URL"),
        ("DELETE", "/v1/customers", None, 404, "Unrecognized request URL"),
        ("POST", "/v1/customers", b"name=%FF", 400, "could not be read"),
        ("POST", "/v1/customers", b"name=\xff", 400, "could not be read"),
        ("POST", "/v1/customers", b"x" * 1_048_577, 413, "too large"),
        ("GET", "/_control/nothing", None, 404, "GET /_control lists them all"),
        ("GET", "/_control/pay", None, 404, "GET /_control lists them all"),
        ("POST", "/_control/pay", b"{", 400, "unknown parameter"),
    ],
)
def test_requests_that_are_refused_before_routing(
    double: StripeDouble, method: str, path: str, body: bytes | None, status: int, message: str
) -> None:
    headers = {} if status == 401 else {"Authorization": "Bearer sk_test_1"}
    answered, _, error = ask(double, method, path, body, **headers)
    assert answered == status
    assert message in error["error"]["message"]
    assert double.events() == []


def test_every_control_lists_its_parameters(double: StripeDouble) -> None:
    _, _, listed = ask(double, "GET", "/_control")
    for name, control in CONTROLS.items():
        assert listed[name] == f"{control.method} {control.help}"
        assert all(word in control.help for word in control.allowed if word != "metadata"), name
        with pytest.raises(ApiError, match="unknown parameter"):
            double.control(name, colour="red")


def test_controls_accept_json(double: StripeDouble, client: stripe.StripeClient) -> None:
    made = intent(client)
    body = json.dumps({"payment_intent": made.id, "card": "authentication", "authenticate": False}).encode()
    status, _, after = ask(double, "POST", "/_control/pay", body, Content_Type="application/json")
    assert (status, after["status"]) == (200, "requires_action")
    assert "_card" not in json.dumps(after)
