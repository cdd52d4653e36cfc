"""Money comes in and goes out: the handlers on a real engine, and Stripe's own package on both ends."""

import base64
import json
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
import stripe

from doubles.stripe.wire import ApiError
from playground.adapters.dynamo_ledger import DynamoLedger
from tests.handlers import WEBHOOK_SECRET, Handlers
from tests.kit.shop import DECLINED, Shop
from tests.support import records_of


def test_a_pack_that_is_paid_for_gives_its_credits_once(shop: Shop) -> None:
    purchase = shop.buy("medium")
    assert "pay_url" not in purchase  # of the stand-in, on a laptop only
    assert (purchase["credits"], purchase["price"]) == (250, 1000)
    assert shop.account.balance == 5

    shop.pay(purchase)
    events = shop.new_events()
    for _ in range(3):
        assert {shop.send(event).status for event in events} == {200}

    assert shop.history() == [("signup", 5), ("purchase", 250)]
    balance = shop.call("GET", "/playground/credits").body
    assert (balance["balance"], balance["purchased"], balance["debt"]) == (255, 255, 0)


def test_a_declined_card_gives_nothing_and_the_next_try_may(shop: Shop) -> None:
    purchase = shop.buy()
    with pytest.raises(ApiError, match="declined"):
        shop.pay(purchase, DECLINED)
    assert {*shop.deliver()} == {200}
    assert shop.history() == [("signup", 5)]

    shop.pay(purchase)
    shop.deliver()

    assert shop.history() == [("signup", 5), ("purchase", 100)]


def test_partial_refunds_take_their_part_and_never_more(shop: Shop) -> None:
    payment = shop.pay(shop.buy())
    shop.deliver()
    for amount in (101, 99, 300):
        shop.double.control("refund", payment_intent=payment, amount=amount)
        events = shop.new_events()
        for event in [*events, *reversed(events)]:
            assert shop.send(event).status == 200

    assert shop.history() == [("signup", 5), ("purchase", 100), ("refund", -21), ("refund", -19), ("refund", -60)]
    assert shop.account.debt == 0


def test_a_refund_after_spending_is_owed_and_paid_by_the_next_purchase(shop: Shop) -> None:
    payment = shop.pay(shop.buy())
    shop.deliver()
    for _ in range(10):
        assert shop.handlers.file("run/ok", user_id=shop.user_id).status == 200
    shop.double.control("refund", payment_intent=payment)
    shop.deliver()

    account = shop.account
    assert (account.balance, account.debt) == (0, 5)
    assert shop.history()[-2:] == [("debt", 5), ("refund", -100)]
    assert shop.call("GET", "/playground/credits").body["debt"] == 5
    lines = shop.call("GET", "/playground/credits/history").body["transactions"]
    assert [(line["type"], line["debt_origin"]) for line in lines[:2]] == [("refund", None), ("debt", "refund")]
    assert lines[1]["description"] == "Debt: fewer credits were available than a refund takes back"
    refused = shop.handlers.file("run/ok", user_id=shop.user_id)
    assert (refused.status, refused.body["available_credits"], refused.body["debt"]) == (402, 0, 5)

    purchase = shop.buy()
    assert (purchase["credits"], purchase["debt"]) == (100, 5)
    shop.pay(purchase)
    shop.deliver()

    assert (shop.account.balance, shop.account.debt) == (95, 0)
    assert shop.history()[-2:] == [("purchase", 100), ("debt", -5)]


def test_a_refund_that_fails_gives_back(shop: Shop) -> None:
    payment = shop.pay(shop.buy(), "pm_card_refundFail")
    shop.deliver()
    shop.double.control("refund", payment_intent=payment, amount=250)
    events = shop.new_events()
    shop.double.control("advance", seconds=120)
    events += shop.new_events()
    for event in [*reversed(events), *events]:
        assert shop.send(event).status == 200

    assert shop.account.balance == 105


def test_a_dispute_takes_and_winning_gives_back(shop: Shop) -> None:
    payment = shop.pay(shop.buy())
    shop.deliver()
    dispute = shop.double.control("dispute", payment_intent=payment)["id"]
    shop.deliver()
    assert shop.history()[-1] == ("dispute", -100)

    shop.double.control("close_dispute", dispute=dispute, outcome="won")
    shop.deliver()

    assert shop.history()[-1] == ("dispute", 100)
    assert shop.account.balance == 105


def test_a_lost_dispute_stays_taken(shop: Shop) -> None:
    payment = shop.pay(shop.buy())
    dispute = shop.double.control("dispute", payment_intent=payment)["id"]
    shop.double.control("close_dispute", dispute=dispute, outcome="lost")
    events = shop.new_events()
    for event in [*reversed(events), *events]:
        shop.send(event)

    assert shop.account.balance == 5


def test_the_same_key_is_the_same_purchase(shop: Shop) -> None:
    first, again = shop.buy("small", "key 1"), shop.buy("small", "key 1")
    assert first == again

    other = shop.call("POST", "/playground/credits/purchase", {"package": "large"}, "key 1")
    assert (other.status, other.body["error"]) == (422, "idempotency_conflict")
    assert shop.buy("small", "key 2")["purchase_id"] != first["purchase_id"]


def test_an_unknown_pack_is_refused(shop: Shop) -> None:
    answer = shop.call("POST", "/playground/credits/purchase", {"package": "huge"})
    assert (answer.status, answer.body["field"]) == (400, "package")


def test_stripe_down_is_503_and_the_repeat_goes_on(shop: Shop) -> None:
    shop.double.control("outage", kind="error", status=500, calls=10)
    down = shop.call("POST", "/playground/credits/purchase", {"package": "small"}, "key 1")
    shop.double.control("recover")
    assert (down.status, down.body["error"]) == (503, "payments_unavailable")
    assert int(down.headers["Retry-After"]) > 0

    purchase = shop.buy("small", "key 1")
    shop.pay(purchase)
    shop.deliver()
    assert shop.history()[-1] == ("purchase", 100)


# --- what is not to be believed ---------------------------------------------------------------------------------------

TAMPERED: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "amount": (lambda payment: payment.update(amount=1, amount_received=1), "amount"),
    "received": (lambda payment: payment.update(amount_received=499), "amount"),
    "currency": (lambda payment: payment.update(currency="eur"), "currency"),
    "customer": (lambda payment: payment.update(customer="cus_somebody"), "customer"),
    "payment": (lambda payment: payment.update(id="pi_another"), "payment"),
    "purchase": (lambda payment: payment["metadata"].update(purchase_id="pur_other"), "pointer"),
    "user": (lambda payment: payment["metadata"].update(user_id="mallory"), "pointer"),
}


def quarantine(shop: Shop, event: dict[str, Any]) -> str | None:
    kept = records_of(shop.ledger).event(event["id"])
    return kept.quarantined if kept is not None else None


@pytest.mark.parametrize("name", TAMPERED)
def test_what_differs_from_our_row_is_put_into_quarantine(shop: Shop, name: str) -> None:
    change, reason = TAMPERED[name]
    shop.pay(shop.buy())
    [event] = [event for event in shop.new_events() if event["type"] == "payment_intent.succeeded"]
    change(event["data"]["object"])

    assert shop.send(event).status == 200
    assert shop.history() == [("signup", 5)]
    assert quarantine(shop, event) == reason


def test_a_refund_of_a_charge_of_another_amount_takes_nothing(shop: Shop) -> None:
    payment = shop.pay(shop.buy())
    shop.deliver()
    shop.double.control("refund", payment_intent=payment, amount=100)
    [event] = [event for event in shop.new_events() if event["type"] == "charge.refunded"]
    event["data"]["object"]["amount"] = 700

    assert shop.send(event).status == 200
    assert quarantine(shop, event) == "amount"
    assert shop.history() == [("signup", 5), ("purchase", 100)]


def test_live_events_have_no_place_in_test_mode(shop: Shop) -> None:
    shop.pay(shop.buy())
    for event in shop.new_events():
        assert shop.send({**event, "livemode": True}).status == 200
        if event["type"] == "payment_intent.succeeded":
            assert quarantine(shop, event) == "live_mode"
    assert shop.history() == [("signup", 5)]


def test_a_payment_without_a_purchase_is_quarantined(shop: Shop) -> None:
    """Whoever can make payments at Stripe cannot name a purchase that is not there, or that of another user."""
    mine = shop.pay(shop.buy())
    [event] = [event for event in shop.new_events() if event["type"] == "payment_intent.succeeded"]
    event["data"]["object"] |= {"id": f"{mine}_other", "metadata": {"purchase_id": "pur_none", "user_id": shop.user_id}}
    assert shop.send(event).status == 200
    assert quarantine(shop, event) == "unknown_purchase"
    assert shop.history() == [("signup", 5)]


def test_a_signed_event_in_an_unknown_shape_is_quarantined(shop: Shop) -> None:
    """Stripe sends nothing else, however often: somebody has to look."""
    event = {**json.loads(BODY), "id": f"evt_{uuid4().hex}", "type": "payment_intent.succeeded"}
    assert shop.send(event).status == 200
    assert quarantine(shop, event) == "unreadable"


def signature(body: str, *, secret: str = WEBHOOK_SECRET, at: float | None = None) -> str:
    header: str = stripe.WebhookSignature.generate_signature_header(body, secret, int(at or time.time()))
    return header


BODY = json.dumps(
    {"id": "evt_1", "object": "event", "type": "x", "livemode": False, "created": 1, "data": {"object": {}}}
)
REFUSED: dict[str, tuple[str, str | None]] = {
    "missing signature": (BODY, None),
    "malformed": (BODY, "t=,v1="),
    "no time": (BODY, signature(BODY).partition(",")[2]),
    "stale": (BODY, signature(BODY, at=time.time() - 10_000)),
    "from the future": (BODY, signature(BODY, at=time.time() + 10_000)),
    "wrong secret": (BODY, signature(BODY, secret="whsec_another_one_of_the_tests")),
    "another body": (BODY.replace("evt_1", "evt_2"), signature(BODY)),
    "no JSON": ("{", signature("{")),
    "no event": ('{"object": "charge"}', signature('{"object": "charge"}')),
    "a list": ("[]", signature("[]")),
    "too large": (BODY + " " * 1_000_001, signature(BODY + " " * 1_000_001)),
    "empty": ("", signature("")),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_delivery_that_is_not_to_be_believed_is_400(handlers: Handlers, ledger: DynamoLedger, name: str) -> None:
    """And leaves no trace."""
    body, header = REFUSED[name]
    answer = handlers.deliver(body, signature=header)
    assert (answer.status, answer.body["error"]) == (400, "invalid_delivery")
    assert not any(records_of(ledger).event(event_id) for event_id in ("evt_1", "evt_2"))


def test_a_body_in_base64_and_two_signatures_are_fine(handlers: Handlers) -> None:
    old = signature(BODY, secret="whsec_an_old_one_of_the_tests").partition(",")[2]
    packed = base64.b64encode(BODY.encode()).decode()
    answer = handlers.deliver(packed, signature=f"{signature(BODY)},{old}", packed=True)
    assert (answer.status, answer.body) == (200, {"received": True})
