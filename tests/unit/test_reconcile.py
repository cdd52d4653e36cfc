"""What Stripe has is compared with what we have: lost events are made up for, the rest is told by its cause."""

from dataclasses import replace
from datetime import timedelta

import pytest

from doubles.stripe import StripeDouble
from playground.domain.purchases import PurchaseState
from playground.usecases.reconcile import Cause, Reconcile, Reconciled
from tests.fakes import InMemoryLedger
from tests.kit.billing import Billing, payment_of, stripe_in_process

START = 1_801_353_600  # 31 January 2027, 00:00 UTC


@pytest.fixture
def billing() -> Billing:
    double, ledger = StripeDouble(base=lambda: START, seed=1), InMemoryLedger()
    return Billing(ledger, ledger.records, double, stripe_in_process(double), "ann")


def reconcile(billing: Billing) -> Reconcile:
    return Reconcile(
        payments=billing.payments,
        records=billing.records,
        apply_payment=billing.apply_payment,
        clock=billing.clock,
        live=False,
    )


def causes(reconciled: Reconciled) -> list[Cause]:
    return [difference.cause for difference in reconciled.differences]


def test_nothing_at_all_is_fine(billing: Billing) -> None:
    assert reconcile(billing)(everything=True) == Reconciled(
        looked_at=0, repaired=(), differences=(), found=0, foreign=0, after=None
    )


def test_what_was_closed_is_not_reported_again(billing: Billing) -> None:
    billing.subscribe()
    payment = billing.pay(billing.buy())
    billing.double.control("refund", payment_intent=payment, amount=100)
    billing.deliver()
    before = billing.account

    reconciled = reconcile(billing)(everything=True)

    assert (reconciled.repaired, reconciled.differences, reconciled.after) == ((), (), None)
    assert reconciled.foreign == 0  # the payment of the invoice is ours, too
    assert billing.account == before


def test_lost_events_are_made_up_for_once(billing: Billing) -> None:
    """A purchase, a refund of it, a dispute of another one, a subscription: not one event came."""
    payment = billing.pay(billing.buy())
    billing.double.control("refund", payment_intent=payment, amount=250)
    disputed = billing.pay(billing.buy("medium"))
    billing.double.control("dispute", payment_intent=disputed)
    subscription = billing.subscribe()

    reconciled = reconcile(billing)()
    assert reconciled.differences == ()
    assert {payment, disputed, subscription} <= {*reconciled.repaired}
    assert billing.buckets == (200, 0, 55)
    assert billing.subscriptions.state("ann").status == "active"

    again = reconcile(billing)(everything=True)
    assert (again.repaired, again.differences) == ((), ())
    billing.deliver()  # late after all
    assert billing.buckets == (200, 0, 55)


def test_a_lost_end_of_a_subscription_is_made_up_for(billing: Billing) -> None:
    subscription = billing.subscribe()
    billing.deliver()
    billing.wait(days=10)
    billing.payments.client.v1.subscriptions.cancel(subscription)

    assert reconcile(billing)().repaired == (subscription,)
    assert billing.buckets == (0, 0, 5)
    assert billing.subscriptions.state("ann").is_active is False


def test_a_refund_of_a_payment_that_is_older_than_the_window_is_found(billing: Billing) -> None:
    payment = billing.pay(billing.buy())
    billing.deliver()
    billing.wait(days=60)
    billing.double.control("refund", payment_intent=payment)

    reconciled = reconcile(billing)()
    assert reconciled.differences == ()
    assert len(reconciled.repaired) == 1
    assert billing.buckets == (0, 0, 5)


def test_what_is_older_than_the_window_is_found_when_everything_is_compared(billing: Billing) -> None:
    billing.pay(billing.buy())
    billing.wait(days=60)
    assert reconcile(billing)().repaired == ()
    assert billing.buckets == (0, 0, 5)

    assert len(reconcile(billing)(everything=True).repaired) == 1
    assert billing.buckets == (0, 0, 105)


def test_a_payment_of_our_customer_without_a_purchase_is_reported(billing: Billing) -> None:
    customer = billing.payments.client.v1.payment_intents.retrieve(payment_of(billing.buy())).customer
    made = billing.payments.client.v1.payment_intents.create(
        {"amount": 500, "currency": "usd", "customer": str(customer)}
    )
    billing.double.control("pay", payment_intent=made.id)

    reconciled = reconcile(billing)()
    assert causes(reconciled) == [Cause.UNKNOWN_PAYMENT]
    assert (reconciled.differences[0].subject, reconciled.differences[0].user_id) == (made.id, "ann")
    assert reconcile(billing).close(made.id)
    assert causes(reconcile(billing)()) == []


def test_payments_of_strangers_are_only_counted(billing: Billing) -> None:
    made = billing.payments.client.v1.payment_intents.create({"amount": 500, "currency": "usd"})
    billing.double.control("pay", payment_intent=made.id)
    reconciled = reconcile(billing)()
    assert (reconciled.differences, reconciled.foreign) == ((), 1)


def test_a_grant_that_was_not_paid_is_reported(billing: Billing) -> None:
    """Somebody has changed our row by hand."""
    offer = billing.buy()
    purchase = billing.records.purchase("ann", offer.purchase.purchase_id)
    assert purchase is not None
    assert billing.records.save(replace(purchase, state=PurchaseState.PAID, granted=True))
    assert causes(reconcile(billing)()) == [Cause.NOT_PAID]


def test_a_grant_for_a_missing_payment_is_reported(billing: Billing) -> None:
    billing.pay(billing.buy())
    billing.deliver()
    other = StripeDouble(base=lambda: START, seed=2)
    billing.payments = stripe_in_process(other)
    assert causes(reconcile(billing)()) == []
    assert causes(reconcile(billing)(everything=True)) == [Cause.NOT_THERE]


@pytest.mark.parametrize(("field", "cause"), [("refunded", Cause.REFUNDS_DIFFER)])
def test_refunds_that_stripe_does_not_have_are_reported(billing: Billing, field: str, cause: Cause) -> None:
    offer = billing.buy()
    billing.pay(offer)
    billing.deliver()
    purchase = billing.records.purchase("ann", offer.purchase.purchase_id)
    assert purchase is not None
    assert billing.records.save(replace(purchase, refunded=250))
    assert causes(reconcile(billing)()) == [cause]


def test_a_subscription_with_our_pointer_and_an_unknown_customer_is_reported(billing: Billing) -> None:
    billing.subscribe()
    ledger = InMemoryLedger()
    stranger = Billing(ledger, ledger.records, billing.double, billing.payments, "bob")
    assert causes(reconcile(stranger)()) == [Cause.NO_USER]


def test_differing_amounts_are_reported_until_an_operator_closes_them(billing: Billing) -> None:
    offer = billing.buy()
    payment = payment_of(offer)
    billing.payments.client.v1.payment_intents.update(payment, {"amount": 700})
    billing.pay(offer)
    for event in billing.new_events():
        billing.send(event)

    compare = reconcile(billing)
    found = compare(everything=True)
    assert {*causes(found)} == {Cause.MISMATCH, Cause.NOT_GRANTED, Cause.QUARANTINED}
    [event_id] = [each.subject for each in found.differences if each.cause is Cause.QUARANTINED]
    assert compare.close(event_id)
    assert {*causes(compare(everything=True))} == {Cause.MISMATCH, Cause.NOT_GRANTED}
    assert compare.close(payment)
    assert not compare.close("evt_unknown")
    assert causes(compare(everything=True)) == []
    assert billing.buckets == (0, 0, 5)


def test_it_goes_on_where_its_time_was_up(billing: Billing) -> None:
    for _ in range(130):
        billing.pay(billing.buy())
    reconciled, after, repaired = None, None, 0
    for _ in range(20):
        looks = iter([False, True])
        reconciled = reconcile(billing)(after=after, everything=True, time_is_up=lambda looks=looks: next(looks))
        after, repaired = reconciled.after, repaired + len(reconciled.repaired)
        if after is None:
            break
    assert (after, repaired) == (None, 130)
    assert billing.buckets == (0, 0, 13_005)


def test_a_place_that_never_was_is_refused(billing: Billing) -> None:
    with pytest.raises(ValueError, match="not a cursor"):
        reconcile(billing)(after="entries:1")


def test_the_window_is_what_stripe_is_asked_for(billing: Billing) -> None:
    billing.pay(billing.buy())
    billing.wait(days=3)
    assert reconcile(billing)(window=timedelta(days=2)).looked_at == 0
    assert reconcile(billing)(window=None).looked_at == 1
