"""Events that Stripe signed, in shapes that their types do not have: never an error of ours, never an effect that the
event as it was would not have had, and what cannot be read is put aside for a person."""

from collections.abc import Mapping
from typing import Any

import pytest

from doubles.stripe import StripeDouble
from doubles.stripe.wire import ApiError
from playground.adapters.stripe_events import READERS, read_event, stated_of
from playground.domain.entries import EntryType
from playground.domain.payment_events import ObjectKind, Unreadable
from playground.usecases.apply_payment import Outcome
from tests.fakes import InMemoryLedger
from tests.kit.billing import Billing, payment_of, stripe_in_process
from tests.kit.shapes import VALUES, changed, used
from tests.support import all_entries, check_invariants

ESSENTIAL: Mapping[str, tuple[str, ...]] = {
    "payment_intent.succeeded": ("id", "object", "amount", "amount_received", "currency"),
    "payment_intent.payment_failed": ("id", "object", "amount", "currency"),
    "payment_intent.canceled": ("id", "object", "amount", "currency"),
    "charge.refunded": ("object", "amount", "amount_refunded", "currency"),
    "refund.created": ("id", "object", "amount", "currency"),
    "refund.updated": ("id", "object", "amount", "currency"),
    "refund.failed": ("id", "object", "amount", "currency"),
    "charge.refund.updated": ("id", "object", "amount", "currency"),
    "charge.dispute.created": ("id", "object", "amount", "currency", "status"),
    "charge.dispute.updated": ("id", "object", "amount", "currency", "status"),
    "charge.dispute.closed": ("id", "object", "amount", "currency", "status"),
    "customer.deleted": ("id", "object"),
    "customer.subscription.created": ("id", "object", "status", "customer"),
    "customer.subscription.updated": ("id", "object", "status", "customer"),
    "customer.subscription.deleted": ("id", "object", "status", "customer"),
    "invoice.paid": ("id", "object", "currency"),
    "credit_note.created": ("id", "object"),
    "credit_note.updated": ("id", "object"),
    "credit_note.voided": ("id", "object"),
}
"""Without these an event of the type cannot be read."""


def world() -> tuple[Billing, Mapping[str, dict[str, Any]]]:
    """A user without any event of Stripe yet, and one event of each type about that user."""
    double = StripeDouble(base=lambda: 1_790_000_000.0, seed=7)
    ledger = InMemoryLedger()
    billing = Billing(ledger, ledger.records, double, stripe_in_process(double), "mallory")
    client = billing.payments.client
    refunded = billing.pay(billing.buy(), "pm_card_refundFail")
    disputed = billing.pay(billing.buy())
    canceled, failing = billing.buy(), billing.buy()
    with pytest.raises(ApiError, match="declined"):
        billing.pay(failing, "declined")
    client.v1.payment_intents.cancel(payment_of(canceled))
    double.control("refund", payment_intent=refunded, amount=100)
    double.control("dispute", payment_intent=disputed)
    [dispute] = double.account.world.all("dispute")
    double.control("close_dispute", dispute=dispute["id"], outcome="lost")
    subscription = billing.subscribe()
    note: Any = {"invoice": billing.invoices(subscription)[-1]["id"], "amount": 500, "credit_amount": 500}
    client.v1.credit_notes.create(note)
    client.v1.subscriptions.update(subscription, {"cancel_at_period_end": True})
    billing.wait(seconds=120)
    [month] = billing.invoices(subscription)
    client.v1.credit_notes.create({"invoice": month["id"], "amount": 100, "out_of_band_amount": 100})
    client.v1.subscriptions.cancel(subscription)
    customer = billing.records.customer("mallory", live=False)
    assert customer is not None
    client.v1.customers.delete(customer.customer_id)
    events = {event["type"]: event for event in double.events() if event["type"] in READERS}
    for kind, like in (
        ("charge.refund.updated", "refund.updated"),
        ("charge.dispute.updated", "charge.dispute.created"),
        ("credit_note.updated", "credit_note.created"),
        ("credit_note.voided", "credit_note.created"),
    ):
        events[kind] = {**events[like], "type": kind}
    return billing, events


def granted(billing: Billing) -> int:
    entries = all_entries(billing.ledger, billing.user_id)
    return sum(entry.amount for entry in entries if entry.type in (EntryType.PURCHASE, EntryType.MONTHLY))


def could_be_right(name: str, value: Any) -> bool:
    """Whether the place of an essential field may have this: then it is for the use case to compare it."""
    if "amount" in name:
        return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 10**11
    return name != "object" and value == "7"


def test_there_is_an_event_of_each_type() -> None:
    assert set(world()[1]) == set(READERS) == set(ESSENTIAL)


@pytest.mark.parametrize("kind", sorted(READERS))
def test_no_shape_of_an_event_is_an_error_or_gives_more(kind: str) -> None:
    """Each field that is read, taken away, null, and of every other type."""
    billing, events = world()
    whole, _ = world()
    whole.send(events[kind])
    fields = used(events[kind])
    assert ("data", "object", "object") in fields
    for path in fields:
        for value in VALUES:
            applied = billing.apply_payment(read_event(changed(events[kind], path, value)))
            assert applied.outcome in Outcome, (path, value)
            assert granted(billing) <= granted(whole), (path, value)
    check_invariants(billing.account, all_entries(billing.ledger, billing.user_id))


@pytest.mark.parametrize("kind", sorted(ESSENTIAL))
def test_what_an_event_must_have_is_asked_for(kind: str) -> None:
    """And what is put aside has had no effect."""
    billing, events = world()
    for name in ESSENTIAL[kind]:
        for value in VALUES:
            if could_be_right(name, value):
                continue
            event = read_event(changed(events[kind], ("data", "object", name), value))
            assert isinstance(event.change, Unreadable), (name, value)
            applied = billing.apply_payment(event)
            assert (applied.outcome, applied.reason, applied.entries) == (Outcome.QUARANTINED, "unreadable", ())
            kept = billing.records.event(event.event_id)
            assert kept is not None
            assert kept.quarantined == "unreadable"
    assert [entry.type.value for entry in all_entries(billing.ledger, billing.user_id)] == ["signup"]


@pytest.mark.parametrize("name", ["created", "livemode", "data"])
def test_an_envelope_that_is_torn_is_put_aside_too(name: str) -> None:
    _, events = world()
    for value in VALUES:
        if name == "created" and value in (0, 7) and not isinstance(value, bool):
            continue
        if name == "livemode" and value is True:
            continue
        for kind, event in events.items():
            torn = read_event(changed(event, (name,), value))
            assert isinstance(torn.change, Unreadable), (kind, value)
    assert read_event(changed({**events["invoice.paid"], "type": "product.created"}, (name,), None)).change is None


LISTED_AS = {
    "payment_intent.succeeded": ObjectKind.PAYMENTS,
    "refund.created": ObjectKind.REFUNDS,
    "charge.dispute.created": ObjectKind.DISPUTES,
    "invoice.paid": ObjectKind.INVOICES,
    "credit_note.created": ObjectKind.CREDIT_NOTES,
    "customer.subscription.updated": None,
}


@pytest.mark.parametrize("kind", LISTED_AS)
def test_no_shape_of_a_listed_object_stops_the_comparison(kind: str) -> None:
    """An object that cannot be read is reported like such an event, and the others of its page are compared."""
    _, events = world()
    whole = events[kind]["data"]["object"]
    assert stated_of(LISTED_AS[kind], whole).event.change is not None
    for path in used(events[kind]):
        if path[:2] == ("data", "object") and path[2:] not in ((), ("id",)):
            for value in VALUES:
                torn = changed(whole, path[2:], value)
                assert stated_of(LISTED_AS[kind], torn).object_id == whole["id"], (path, value)
