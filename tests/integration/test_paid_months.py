"""Money of paid months: refunds, disputes, credit notes; prices that changed; two subscriptions; an operator's plan.

Through the use cases on Stripe's clock, with Stripe's own package in front of the stand-in.
"""

import itertools
import zlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from doubles.stripe import StripeDouble
from local.engine import Engine
from local.resources import create_resources
from operate.change_plan import ChangePlan
from operate.operator_request import OperatorRequest
from playground.adapters.dynamo_ledger import DynamoLedger
from playground.adapters.dynamo_payments import DynamoPurchaseRecords
from playground.adapters.dynamo_store import DynamoStore
from playground.domain.account import Plan
from playground.domain.calendar import boundary
from playground.domain.entries import Entry, EntryType
from playground.domain.errors import AlreadySubscribedError, PlanGrantedError
from playground.domain.purchases import PaymentEvent
from playground.domain.runs import RunStatus
from playground.usecases.apply_payment import Outcome
from playground.usecases.reconcile import Cause, Reconcile, Reconciled
from tests.fakes import InMemoryLedger, a_hold, charging, conversation, receipt
from tests.kit.billing import Billing, OwnRecords, payment_of, stripe_in_process
from tests.kit.payment_lives import spend
from tests.kit.template import template_description
from tests.support import LEDGER_TABLE, all_entries, new_ledger, new_store

START = 1_801_353_600  # 31 January 2027, 00:00 UTC
MONTH = 31  # days: from any day beyond the next boundary
HOURS = 3 * 3600  # s: a renewal is charged an hour after the boundary


@pytest.fixture(scope="module")
def store() -> Iterator[DynamoStore]:
    """In an engine of this file's own: a comparison with Stripe reads all that is there."""
    with Engine() as engine:
        create_resources(template_description(), engine.endpoint_url)
        store = new_store(engine)
        yield store
        store.client.close()


@pytest.fixture(scope="module")
def ledger(store: DynamoStore) -> DynamoLedger:
    return new_ledger(store)


def in_memory(name: str) -> Billing:
    double, ledger = StripeDouble(base=lambda: START, seed=zlib.crc32(name.encode())), InMemoryLedger()
    return Billing(ledger, ledger.records, double, stripe_in_process(double), name)


@pytest.fixture
def billing(user_id: str) -> Billing:
    return in_memory(user_id)


@pytest.fixture(params=["memory", "engine"])
def anywhere(request: pytest.FixtureRequest, user_id: str) -> Iterator[Billing]:
    if request.param == "memory":
        yield in_memory(user_id)
        return
    double = StripeDouble(base=lambda: START, seed=zlib.crc32(user_id.encode()))
    store: DynamoStore = request.getfixturevalue("store")
    ledger: DynamoLedger = request.getfixturevalue("ledger")
    yield Billing(ledger, DynamoPurchaseRecords(store, LEDGER_TABLE), double, stripe_in_process(double), user_id)


def subscribed(billing: Billing) -> tuple[str, dict[str, Any]]:
    """A subscription with its first month, told; and that month's invoice."""
    subscription_id = billing.subscribe()
    billing.deliver()
    assert billing.buckets == (200, 0, 5)
    return subscription_id, billing.invoices(subscription_id)[0]


def a_run(billing: Billing) -> str:
    return f"run_{zlib.crc32(billing.user_id.encode())}"


def entries(billing: Billing, *types: EntryType) -> list[Entry]:
    return [entry for entry in all_entries(billing.ledger, billing.user_id) if entry.type in types]


def reconcile(billing: Billing, *, everything: bool = False, window: timedelta | None = None) -> Reconciled:
    compare = Reconcile(
        payments=billing.payments,
        records=OwnRecords(billing.records, billing.user_id),
        apply_payment=billing.apply_payment,
        clock=billing.clock,
        live=False,
    )
    return compare(window=window if everything else timedelta(days=35), everything=everything)


def agrees(billing: Billing) -> None:
    """Nothing is left over, and nothing is left to do."""
    reconciled = reconcile(billing, everything=True)
    assert (reconciled.repaired, reconciled.differences) == ((), ())


# --- what goes back ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spent", "cents", "left", "purchased", "debt"),
    [
        (0, 2000, 0, 5, 0),
        (0, 1000, 100, 5, 0),
        (0, 1, 199, 5, 0),  # a begun credit is a credit
        (50, 2000, 0, 0, 45),  # what was spent is taken from what was bought, and then owed
        (3, 2000, 0, 2, 0),
        (50, 1000, 50, 5, 0),
        (150, 1000, 0, 0, 45),
        (200, 2000, 0, 0, 195),
    ],
)
def test_a_refunded_month_takes_its_credits_back(
    anywhere: Billing, spent: int, cents: int, left: int, purchased: int, debt: int
) -> None:
    _, invoice = subscribed(anywhere)
    if spent:
        spend(anywhere, spent, a_run(anywhere))
    anywhere.refund_month(invoice, cents)
    anywhere.deliver()

    assert (anywhere.buckets, anywhere.account.debt) == ((left, 0, purchased), debt)
    assert sum(entry.amount for entry in entries(anywhere, EntryType.DEBT)) == debt
    agrees(anywhere)


def test_a_disputed_month_takes_its_credits_back_and_winning_gives_them_again(anywhere: Billing) -> None:
    _, invoice = subscribed(anywhere)
    spend(anywhere, 50, a_run(anywhere))
    dispute = anywhere.dispute_month(invoice)
    anywhere.deliver()
    assert (anywhere.buckets, anywhere.account.debt) == ((0, 0, 0), 45)

    anywhere.double.control("close_dispute", dispute=dispute, outcome="won")
    anywhere.deliver()
    assert (anywhere.buckets, anywhere.account.debt) == ((150, 0, 5), 0)
    agrees(anywhere)


def test_a_lost_dispute_stays_taken(billing: Billing) -> None:
    _, invoice = subscribed(billing)
    dispute = billing.dispute_month(invoice)
    billing.double.control("close_dispute", dispute=dispute, outcome="lost")
    billing.deliver()
    assert billing.buckets == (0, 0, 5)
    agrees(billing)


def test_a_refund_that_fails_gives_the_month_back(billing: Billing) -> None:
    subscription_id = billing.subscribe(card="pm_card_refundFail")
    billing.deliver()
    billing.refund_month(billing.invoices(subscription_id)[0], 2000)
    billing.deliver()
    assert billing.buckets == (0, 0, 5)
    billing.wait(seconds=120)
    billing.deliver()
    assert billing.buckets == (200, 0, 5)
    agrees(billing)


def test_parts_of_a_month_are_taken_once_each(billing: Billing) -> None:
    _, invoice = subscribed(billing)
    left = []
    for cents in (333, 333, 334, 1000):
        billing.refund_month(invoice, cents)
        events = billing.new_events()
        for event in events * 2:
            billing.send(event)
        left.append(billing.buckets[0])
    assert left == [166, 133, 100, 0]
    agrees(billing)


def test_a_refund_of_last_month_takes_its_rollover(billing: Billing) -> None:
    """And not the month that is paid for since."""
    subscription_id, invoice = subscribed(billing)
    spend(billing, 30, a_run(billing))
    billing.wait(days=MONTH)
    billing.deliver()
    assert billing.buckets == (200, 170, 5)
    billing.refund_month(invoice, 2000)
    billing.deliver()
    assert (billing.buckets, billing.account.debt) == ((200, 0, 0), 25)
    assert billing.records.subscription(billing.user_id).described is not None
    assert subscription_id
    agrees(billing)


@pytest.mark.parametrize(("spent", "debt"), [(0, 0), (60, 55)])
def test_what_has_expired_of_a_month_is_not_owed(billing: Billing, spent: int, debt: int) -> None:
    """The month is over: only what was spent of it can be owed."""
    _, invoice = subscribed(billing)
    if spent:
        spend(billing, spent, a_run(billing))
    for _ in range(4):
        billing.wait(days=MONTH)
        billing.deliver()
    before = billing.buckets
    billing.refund_month(invoice, 2000)
    billing.deliver()
    assert (billing.buckets[:2], billing.account.debt) == (before[:2], debt)
    agrees(billing)


def test_a_won_dispute_of_last_month_is_rollover_again(billing: Billing) -> None:
    _, invoice = subscribed(billing)
    dispute = billing.dispute_month(invoice)
    billing.deliver()
    billing.wait(days=MONTH)
    billing.deliver()
    assert billing.buckets == (200, 0, 5)
    billing.double.control("close_dispute", dispute=dispute, outcome="won")
    billing.deliver()
    assert billing.buckets == (200, 200, 5)
    billing.wait(days=MONTH)
    billing.deliver()
    assert billing.buckets == (200, 200, 5)
    agrees(billing)


def test_a_won_dispute_after_the_end_of_the_plan_is_rollover_for_its_month(billing: Billing) -> None:
    """The account had no boundary ahead any more: it gets the one at which that rollover expires."""
    subscription_id, invoice = subscribed(billing)
    dispute = billing.dispute_month(invoice)
    billing.payments.set_cancel_at_period_end(subscription_id, cancel=True)
    billing.deliver()
    billing.wait(days=MONTH)
    billing.deliver()
    assert (billing.buckets, billing.account.plan, billing.account.due_at) == ((0, 0, 5), Plan.FREE, None)

    billing.double.control("close_dispute", dispute=dispute, outcome="won")
    billing.deliver()

    assert billing.buckets == (0, 200, 5)
    assert billing.account.due_at is not None
    billing.wait(days=MONTH)
    assert (billing.buckets, billing.account.due_at) == ((0, 0, 5), None)
    agrees(billing)


def test_a_month_that_was_given_back_after_it_was_over_gives_nothing_new(billing: Billing) -> None:
    _, invoice = subscribed(billing)
    spend(billing, 50, a_run(billing))
    dispute = billing.dispute_month(invoice)
    billing.deliver()
    assert billing.account.debt == 45
    billing.wait(days=3 * MONTH)
    billing.double.control("close_dispute", dispute=dispute, outcome="won")
    billing.deliver()
    assert (billing.buckets, billing.account.debt) == ((200, 200, 5), 0)
    agrees(billing)


def test_what_is_held_of_a_refunded_month_is_owed_and_not_taken(billing: Billing) -> None:
    _, invoice = subscribed(billing)
    now = billing.clock()
    billing.ledger.place_hold(billing.user_id, a_hold("run_1", 30, now, session_id="ses_1"), limit=20, now=now)
    billing.refund_month(invoice, 2000)
    billing.deliver()
    account = billing.account
    assert (account.held, account.available, account.buckets.monthly) == (30, 0, 25)
    assert account.buckets.purchased == 5
    assert account.debt == 25


@pytest.mark.parametrize(
    ("cost", "purchased", "debt"),
    [(0, 5, 0), (3, 2, 0), (50, 0, 45), (200, 0, 195), (205, 0, 200)],
)
@pytest.mark.parametrize("way", ["refund", "dispute"])
def test_a_month_that_was_held_when_it_was_paid_back_is_taken_when_the_hold_ends(
    anywhere: Billing, way: str, cost: int, purchased: int, debt: int
) -> None:
    """As if the run had ended before: nobody spends a month that was paid back by holding it at that moment."""
    _, invoice = subscribed(anywhere)
    now, user_id = anywhere.clock(), anywhere.user_id
    hold = a_hold(a_run(anywhere), 205, now, session_id=f"ses_{a_run(anywhere)}")
    placed = anywhere.ledger.place_hold(user_id, hold, limit=20, now=now)
    dispute = anywhere.dispute_month(invoice) if way == "dispute" else anywhere.refund_month(invoice, 2000)
    anywhere.deliver()
    assert (anywhere.account.debt, anywhere.account.available) == (200, 0)

    if cost:
        ended = charging(hold, cost, now)
        anywhere.ledger.settle(placed.account, hold, ended, conversation(user_id, hold, now))
    else:
        anywhere.ledger.release(user_id, receipt(user_id, hold, RunStatus.RELEASED, now))
    assert (anywhere.buckets, anywhere.account.debt) == ((0, 0, purchased), debt)
    agrees(anywhere)
    assert (anywhere.buckets, anywhere.account.debt) == ((0, 0, purchased), debt)

    if way == "dispute":
        anywhere.double.control("close_dispute", dispute=dispute, outcome="won")
        anywhere.deliver()
        assert (anywhere.account.balance, anywhere.account.debt) == (205 - cost, 0)


def test_a_new_month_frees_what_is_held_of_one_that_was_paid_back(billing: Billing) -> None:
    """Its credits are the next month's rollover by then, and are taken from there."""
    _, invoice = subscribed(billing)
    now = billing.clock()
    hold = a_hold("run_1", 205, now, session_id="ses_1", lease=timedelta(days=60))
    placed = billing.ledger.place_hold(billing.user_id, hold, limit=20, now=now)
    billing.refund_month(invoice, 2000)
    billing.deliver()
    billing.wait(days=MONTH)
    billing.deliver()
    account = billing.account
    assert (billing.buckets, account.debt, account.available) == ((200, 0, 5), 0, 0)
    after = billing.clock()
    billing.ledger.settle(placed.account, hold, charging(hold, 10, after), conversation(billing.user_id, hold, after))
    assert billing.buckets == (190, 0, 5)
    agrees(billing)


def test_what_was_spent_of_two_months_in_one_bucket_is_owed_once(billing: Billing) -> None:
    """The first was held when its plan ended, so the second one joined it: a run is of the month that came first."""
    first, invoice = subscribed(billing)
    now = billing.clock()
    hold = a_hold("run_1", 205, now, session_id="ses_1")
    placed = billing.ledger.place_hold(billing.user_id, hold, limit=20, now=now)
    billing.payments.client.v1.subscriptions.cancel(first)
    billing.deliver()
    billing.wait(seconds=60)
    second = billing.subscribe()
    billing.deliver()
    assert billing.buckets == (400, 0, 5)
    billing.ledger.settle(placed.account, hold, charging(hold, 37, now), conversation(billing.user_id, hold, now))

    for paid in (invoice, billing.invoices(second)[0]):
        billing.refund_month(paid, 2000)
        billing.deliver()

    assert (billing.buckets, billing.account.debt) == ((0, 0, 0), 32)
    agrees(billing)


def test_events_of_a_refunded_month_come_to_the_same_in_every_order() -> None:
    """The invoice after its refund, the dispute after its end: as they come."""
    ends = set()
    for number in range(120):
        billing = in_memory("orders")
        subscription_id = billing.subscribe()
        invoice = billing.invoices(subscription_id)[0]
        billing.refund_month(invoice, 500)
        dispute = billing.dispute_month(invoice, 1000)
        billing.double.control("close_dispute", dispute=dispute, outcome="lost")
        kinds = ("invoice.paid", "refund.created", "charge.refunded", "charge.dispute.created", "charge.dispute.closed")
        told = [event for event in billing.new_events() if event["type"] in kinds]
        assert len(told) == 5
        order = list(itertools.permutations(told))[number]
        for event in order:
            billing.send(event)
        ends.add((billing.buckets, billing.account.debt))
    assert ends == {((50, 0, 5), 0)}


def test_a_lost_refund_of_a_month_is_made_up_for(anywhere: Billing) -> None:
    """Also of a month that is older than what is compared: its refund is not."""
    _, invoice = subscribed(anywhere)
    anywhere.wait(days=3 * MONTH)
    anywhere.deliver()
    anywhere.refund_month(invoice, 500)
    anywhere.new_events()
    current = anywhere.invoices(invoice["parent"]["subscription_details"]["subscription"])[-1]
    anywhere.refund_month(current, 500)
    anywhere.new_events()

    assert len(reconcile(anywhere).repaired) == 2
    assert anywhere.buckets == (150, 200, 5)
    agrees(anywhere)


def test_a_refund_that_is_older_than_what_is_listed_is_found_by_our_own_row(billing: Billing) -> None:
    subscription_id, invoice = subscribed(billing)
    spend(billing, 200, a_run(billing))
    billing.refund_month(invoice, 2000)
    billing.payments.client.v1.subscriptions.cancel(subscription_id)
    billing.new_events()
    billing.wait(days=60)
    assert reconcile(billing).repaired == ()
    reconcile(billing, everything=True, window=timedelta(days=35))
    assert (billing.account.debt, billing.buckets[2]) == (195, 0)


def test_a_month_without_a_record_of_its_own_can_be_refunded(billing: Billing) -> None:
    """Granted by an earlier version, which kept none."""
    _, invoice = subscribed(billing)
    ledger = billing.ledger
    assert isinstance(ledger, InMemoryLedger)
    forgotten = billing.records.month(billing.user_id, invoice["id"])
    assert forgotten is not None
    del ledger.records._records[ledger.records._key(forgotten)]
    subscription = billing.records.subscription(billing.user_id)
    assert billing.records.save(replace(subscription, prices={}, offers=()))

    billing.refund_month(invoice, 1000)
    billing.deliver()
    assert billing.buckets == (100, 0, 5)
    assert billing.grants() == [200]
    agrees(billing)


# --- credit notes, invoices that nobody pays --------------------------------------------------------------------------


def test_a_credit_note_takes_what_it_gives_back_once(billing: Billing) -> None:
    """Its refund is told as a refund, too."""
    _, invoice = subscribed(billing)
    note: Any = {"invoice": invoice["id"], "amount": 1000, "refund_amount": 600, "credit_amount": 400}
    billing.payments.client.v1.credit_notes.create(note)
    for event in billing.new_events() * 2:
        billing.send(event)
    assert billing.buckets == (100, 0, 5)
    agrees(billing)


def test_a_lost_credit_note_is_made_up_for(billing: Billing) -> None:
    _, invoice = subscribed(billing)
    note: Any = {"invoice": invoice["id"], "amount": 500, "out_of_band_amount": 500}
    billing.payments.client.v1.credit_notes.create(note)
    billing.new_events()
    assert reconcile(billing).repaired
    assert billing.buckets == (150, 0, 5)
    agrees(billing)


def unpaid(billing: Billing, subscription_id: str) -> dict[str, Any]:
    """The invoice of the second month, whose card was declined."""
    billing.double.control("subscription_card", subscription=subscription_id, card="pm_card_chargeCustomerFail")
    billing.wait(days=28, seconds=HOURS)
    invoice = billing.invoices(subscription_id)[-1]
    assert invoice["status"] == "open"
    return invoice


def test_what_is_waived_before_it_is_paid_is_not_granted(billing: Billing) -> None:
    subscription_id, _ = subscribed(billing)
    invoice = unpaid(billing, subscription_id)
    billing.payments.client.v1.credit_notes.create({"invoice": invoice["id"], "amount": 500})
    pay: Any = {"payment_method": "pm_card_visa"}
    billing.payments.client.v1.invoices.pay(invoice["id"], pay)
    billing.deliver()
    assert (invoice["status"], invoice["amount_paid"]) == ("paid", 1500)
    assert billing.buckets == (150, 200, 5)
    billing.refund_month(invoice, 1500)
    billing.deliver()
    assert billing.buckets == (0, 200, 5)
    agrees(billing)


def test_a_month_that_is_waived_altogether_gives_nothing(billing: Billing) -> None:
    subscription_id, _ = subscribed(billing)
    invoice = unpaid(billing, subscription_id)
    billing.payments.client.v1.credit_notes.create({"invoice": invoice["id"], "amount": 2000})
    billing.deliver()
    assert (invoice["status"], billing.buckets) == ("paid", (0, 200, 5))
    agrees(billing)


@pytest.mark.parametrize("way", ["void", "mark_uncollectible"])
def test_an_unpaid_invoice_gives_nothing(billing: Billing, way: str) -> None:
    subscription_id, _ = subscribed(billing)
    invoice = unpaid(billing, subscription_id)
    call = {
        "void": billing.payments.client.v1.invoices.void_invoice,
        "mark_uncollectible": billing.payments.client.v1.invoices.mark_uncollectible,
    }[way]
    call(invoice["id"])
    billing.deliver()
    assert (billing.buckets, billing.grants()) == ((0, 200, 5), [200])
    agrees(billing)

    if way == "mark_uncollectible":  # it can still be paid
        pay: Any = {"payment_method": "pm_card_visa"}
        billing.payments.client.v1.invoices.pay(invoice["id"], pay)
        billing.deliver()
        assert billing.buckets == (200, 200, 5)


# --- prices -----------------------------------------------------------------------------------------------------------


def test_a_new_price_does_not_affect_who_agreed_to_the_former_one(anywhere: Billing) -> None:
    subscribed(anywhere)
    anywhere.sell(replace(anywhere.prices, plan=replace(anywhere.prices.plan, price_cents=2500)))
    anywhere.wait(days=MONTH)
    anywhere.deliver()
    assert anywhere.buckets == (200, 200, 5)
    agrees(anywhere)


def test_what_was_shown_when_the_subscription_began_is_what_was_agreed_on(billing: Billing) -> None:
    """The price changes between the page and what is told of its payment."""
    billing.subscribe()
    billing.sell(replace(billing.prices, plan=replace(billing.prices.plan, price_cents=2500)))
    billing.deliver()
    assert billing.buckets == (200, 0, 5)


@pytest.mark.parametrize("terms", [{"percent_off": 30}, {"percent_off": 100}, {"tax_percent": 19}])
def test_coupons_and_taxes_do_not_change_what_an_invoice_is_for(billing: Billing, terms: dict[str, int]) -> None:
    subscription_id, _ = subscribed(billing)
    billing.double.control("terms", subscription=subscription_id, **terms)
    billing.wait(days=MONTH)
    billing.deliver()
    assert billing.invoices(subscription_id)[-1]["amount_paid"] != 2000
    assert billing.buckets == (200, 200, 5)
    agrees(billing)


@pytest.mark.parametrize(("credit", "paid"), [(500, 1500), (5000, 0)])
def test_a_customers_balance_pays_for_a_month(billing: Billing, credit: int, paid: int) -> None:
    subscription_id, invoice = subscribed(billing)
    billing.double.control("balance", customer=invoice["customer"], credit=credit)
    billing.wait(days=MONTH)
    billing.deliver()
    assert billing.invoices(subscription_id)[-1]["amount_paid"] == paid
    assert billing.buckets == (200, 200, 5)
    agrees(billing)


def test_a_refund_is_a_part_of_what_the_month_came_to_with_taxes(billing: Billing) -> None:
    subscription_id, _ = subscribed(billing)
    billing.double.control("terms", subscription=subscription_id, tax_percent=20)
    billing.wait(days=MONTH)
    billing.deliver()
    billing.refund_month(billing.invoices(subscription_id)[-1], 1200)
    billing.deliver()
    assert billing.buckets == (100, 200, 5)


def other_price(billing: Billing, subscription_id: str, **changes: Any) -> None:
    product = billing.double.account.world.objects[subscription_id]["items"]["data"][0]["price"]["product"]
    wanted: Any = {
        "product": product,
        "unit_amount": 2000,
        "currency": "usd",
        "recurring": {"interval": "month"},
        **changes,
    }
    price = billing.payments.client.v1.prices.create(wanted)
    billing.double.control("terms", subscription=subscription_id, price=price.id)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"unit_amount": 100}, "amount"),
        ({"currency": "eur"}, "currency"),
        ({"recurring": {"interval": "year"}}, "interval"),
    ],
)
def test_a_price_without_agreement_is_quarantined(billing: Billing, changes: dict[str, Any], reason: str) -> None:
    subscription_id, _ = subscribed(billing)
    other_price(billing, subscription_id, **changes)
    billing.wait(days=MONTH)
    outcomes = [billing.send(event) for event in billing.new_events() if event["type"] == "invoice.paid"]
    assert [(each.outcome, each.reason) for each in outcomes] == [(Outcome.QUARANTINED, reason)]
    assert billing.buckets == (0, 200, 5)
    assert [each.detail for each in reconcile(billing).differences] == [reason]


def test_a_subscription_may_move_to_the_price_that_is_shown_now(billing: Billing) -> None:
    subscription_id, _ = subscribed(billing)
    billing.sell(replace(billing.prices, plan=replace(billing.prices.plan, price_cents=2500)))
    other_price(billing, subscription_id, unit_amount=2500)
    billing.wait(days=MONTH)
    billing.deliver()
    assert billing.buckets == (200, 200, 5)


def test_what_an_earlier_version_put_into_quarantine_for_its_price_is_healed(anywhere: Billing) -> None:
    """It compared with the present price: the renewals of whoever had agreed to the former one were quarantined."""
    subscription_id, _ = subscribed(anywhere)
    month = anywhere.records.month(anywhere.user_id, anywhere.invoices(subscription_id)[0]["id"])
    assert month is not None
    subscription = anywhere.records.subscription(anywhere.user_id)
    assert anywhere.records.save(replace(subscription, prices={}, offers=()))
    anywhere.sell(replace(anywhere.prices, plan=replace(anywhere.prices.plan, price_cents=2500)))
    anywhere.wait(days=MONTH)
    [paid] = [event for event in anywhere.new_events() if event["type"] == "invoice.paid"]
    old = PaymentEvent(
        event_id=f"{paid['id']}_{anywhere.user_id}",
        type="invoice.paid",
        user_id=anywhere.user_id,
        subject=subscription_id,
        occurred_at=datetime.fromtimestamp(paid["created"], UTC),
        received_at=anywhere.clock(),
        quarantined="amount",
    )
    assert anywhere.records.save(old)
    assert anywhere.buckets == (0, 200, 5)

    reconcile(anywhere, everything=True)
    assert anywhere.buckets == (200, 200, 5)
    there = anywhere.records.event(old.event_id)
    assert there is not None
    assert there.resolved_at is not None
    reconcile(anywhere, everything=True)
    assert anywhere.grants() == [200, 200]


def test_a_pack_that_is_not_sold_any_more_is_granted_and_refunded_at_its_own_price(billing: Billing) -> None:
    offer = billing.buy("small")
    packs = tuple(pack for pack in billing.prices.packs if pack.id != "small")
    billing.sell(replace(billing.prices, packs=packs))
    payment = billing.pay(offer)
    billing.deliver()
    assert billing.buckets == (0, 0, 105)
    billing.double.control("refund", payment_intent=payment_of(offer), amount=250)
    billing.deliver()
    assert (payment, billing.buckets) == (payment_of(offer), (0, 0, 55))
    agrees(billing)


def test_the_allowance_is_the_price_tables_from_the_next_month_on(billing: Billing) -> None:
    """And as much as that is kept as rollover."""
    subscribed(billing)
    billing.sell(replace(billing.prices, plan=replace(billing.prices.plan, credits=400)))
    assert (billing.buckets, billing.account.allocated) == ((200, 0, 5), 200)
    billing.wait(days=MONTH)
    billing.deliver()
    assert (billing.buckets, billing.account.allocated) == ((400, 200, 5), 400)
    billing.wait(days=MONTH)
    billing.deliver()
    assert billing.buckets == (400, 400, 5)
    billing.refund_month(billing.invoices(billing.account.subscription_id or "")[-1], 1000)
    billing.deliver()
    assert billing.buckets == (200, 400, 5)


# --- two subscriptions ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first_told", [0, 1])
@pytest.mark.parametrize("pointer", [True, False])
def test_a_second_subscription_is_reported_and_ends_nothing(billing: Billing, first_told: int, pointer: bool) -> None:
    """The later one is in quarantine as long as the first one goes on, whichever is told first."""
    first = billing.subscribe()
    told = [billing.new_events()]
    billing.wait(days=5)
    second = billing.subscribe_at_stripe(like=first, pointer=pointer)
    told.append(billing.new_events())
    outcomes = [billing.send(event) for event in told[first_told] + told[1 - first_told]]
    second_ = [each for each in outcomes if each.subject == second and each.outcome is Outcome.QUARANTINED]
    assert len(second_) == 1
    assert (billing.buckets, billing.account.subscription_id) == ((200, 0, 5), first)
    with pytest.raises(AlreadySubscribedError):
        billing.subscriptions.subscribe(billing.user_id)

    for _ in range(2):
        billing.wait(days=MONTH)
        billing.deliver()
    assert (billing.buckets, billing.account.subscription_id) == ((200, 200, 5), first)
    found = reconcile(billing)
    assert {each.cause for each in found.differences} == {Cause.MISMATCH}
    assert {each.purchase_id for each in found.differences} == {second}


@pytest.mark.parametrize("end_first", [True, False])
def test_when_the_first_of_two_subscriptions_ends_the_second_goes_on_from_its_next_month(
    billing: Billing, end_first: bool
) -> None:
    first, _ = subscribed(billing)
    billing.wait(days=5)
    second = billing.subscribe_at_stripe(like=first)
    billing.deliver()
    billing.wait(days=5)
    billing.payments.client.v1.subscriptions.cancel(first)
    ended = billing.new_events()
    if end_first:
        for event in ended:
            billing.send(event)
        assert (billing.buckets, billing.account.plan) == ((0, 0, 5), Plan.FREE)
    billing.wait(days=26)
    for event in billing.new_events() + ended:
        billing.send(event)
    assert (billing.buckets, billing.account.subscription_id) == ((200, 0, 5), second)


# --- beside an operator's plan ----------------------------------------------------------------------------------------

ORDER = OperatorRequest(reference="contract-7", reason="A contract", operator="anna")


def give_plan(billing: Billing, until: datetime | None = None) -> None:
    ChangePlan(billing.ledger, allowance=billing.prices.plan.credits)(
        billing.user_id, Plan.PLUS, ORDER, until=until, now=billing.clock()
    )


def test_subscribing_is_refused_while_an_operators_plan_is_on(billing: Billing) -> None:
    until = billing.clock() + timedelta(days=400)
    give_plan(billing, until)
    with pytest.raises(PlanGrantedError) as refused:
        billing.subscriptions.subscribe(billing.user_id)
    assert refused.value.facts == {"entitled_until": "2028-03-06T00:00:00.000Z"}
    billing.wait(days=401)
    assert billing.subscriptions.subscribe(billing.user_id).startswith("http")


def test_an_operators_plan_and_a_subscription_are_both_kept(anywhere: Billing) -> None:
    """A page was open when the operator gave the plan."""
    anywhere.subscriptions.subscribe(anywhere.user_id)
    give_plan(anywhere, datetime(2030, 1, 1, tzinfo=UTC))
    spend(anywhere, 50, a_run(anywhere))
    subscription_id = anywhere.subscribe_now()
    for event in anywhere.new_events() * 2:
        anywhere.send(event)
    account = anywhere.account
    assert (account.plan, account.subscription_id, anywhere.buckets) == (Plan.PLUS, None, (150, 0, 205))
    assert account.entitled_until == datetime(2030, 1, 1, tzinfo=UTC)

    anywhere.wait(days=MONTH)
    anywhere.deliver()
    assert anywhere.buckets == (200, 150, 405)
    anywhere.payments.client.v1.subscriptions.cancel(subscription_id)
    anywhere.deliver()
    assert (anywhere.buckets, anywhere.account.plan) == ((200, 150, 405), Plan.PLUS)
    agrees(anywhere)

    anywhere.refund_month(anywhere.invoices(subscription_id)[0], 1000)
    anywhere.deliver()
    assert anywhere.buckets == (200, 150, 305)
    agrees(anywhere)


def test_a_subscription_takes_over_when_the_operators_plan_has_ended(billing: Billing) -> None:
    billing.subscriptions.subscribe(billing.user_id)
    give_plan(billing, billing.clock() + timedelta(days=10))
    subscription_id = billing.subscribe_now()
    billing.deliver()
    assert billing.buckets == (200, 0, 205)
    billing.wait(days=11)
    assert (billing.buckets, billing.account.plan) == ((0, 0, 205), Plan.FREE)
    billing.wait(days=20)
    billing.deliver()
    assert (billing.buckets, billing.account.subscription_id) == ((200, 0, 205), subscription_id)
    agrees(billing)


def test_a_subscription_that_takes_over_leaves_what_rolled_over_before(anywhere: Billing) -> None:
    """The operator's plan ends ten hours before the subscription, which began beside it, has its next month."""
    anywhere.subscriptions.subscribe(anywhere.user_id)
    give_plan(anywhere, boundary(anywhere.clock(), 1) + timedelta(hours=10))
    anywhere.wait(seconds=20 * 3600)
    subscription_id = anywhere.subscribe_now()
    anywhere.deliver()
    anywhere.wait(days=27, seconds=16 * 3600)
    assert (anywhere.buckets, anywhere.account.plan) == ((0, 200, 205), Plan.FREE)

    anywhere.wait(days=1)
    anywhere.deliver()
    assert (anywhere.buckets, anywhere.account.subscription_id) == ((200, 200, 205), subscription_id)
    agrees(anywhere)
    anywhere.wait(days=29)
    assert anywhere.buckets == (200, 200, 205)
    anywhere.wait(days=1)
    assert anywhere.buckets == (200, 0, 205)
