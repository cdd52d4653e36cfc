"""PRPM+ paid through a subscription: through the handlers where it is about now, through the use cases on Stripe's
clock where months pass. Stripe's own package is on both ends."""

import random
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime

import pytest

from doubles.stripe import StripeDouble
from playground.adapters.dynamo_ledger import DynamoLedger
from playground.adapters.dynamo_payments import DynamoPurchaseRecords
from playground.adapters.dynamo_store import DynamoStore
from playground.adapters.stripe_payments import StripePayments
from playground.domain.account import Plan, start_plus
from playground.domain.calendar import boundary, iso
from playground.domain.errors import InvalidRequestError
from playground.ports import CheckoutPage
from playground.usecases.apply_payment import Outcome
from playground.usecases.buy_credits import ManageSubscription
from tests.fakes import InMemoryLedger
from tests.handlers import Handlers
from tests.kit.billing import DECLINED_LATER, FRONTEND, Billing, stripe_in_process
from tests.kit.shop import Shop
from tests.support import LEDGER_TABLE

START = 1_801_353_600  # 31 January 2027, 00:00 UTC
MONTH = 31  # days: from any day beyond the next boundary
HOURS = 3 * 3600  # s: a renewal is charged an hour after the boundary


# --- now, through the handlers ----------------------------------------------------------------------------------------


def subscribed(shop: Shop) -> str:
    """The id of a subscription that was paid for on the page that `subscribe` answered."""
    answer = shop.call("POST", "/playground/subscribe", {})
    assert answer.status == 200, answer.body
    session = next(
        each["id"]
        for each in reversed(shop.double.account.world.all("checkout.session"))
        if each["url"] == answer.body["url"]
    )
    paid = shop.double.control("checkout", session=session)
    assert {*shop.deliver()} == {200}
    return str(paid["subscription"])


def test_subscribing_is_a_page_of_stripe_and_the_same_one_again(shop: Shop) -> None:
    first = shop.call("POST", "/playground/subscribe", {})
    again = shop.call("POST", "/playground/subscribe", {})

    assert first.status == again.status == 200
    assert first.body["url"] == again.body["url"]
    assert first.body["url"].startswith(shop.double.url)
    assert shop.call("GET", "/playground/subscription").body["is_active"] is False
    assert shop.history() == [("signup", 5)]


def test_paying_starts_the_plan_at_the_beginning_of_the_subscription(shop: Shop) -> None:
    subscription_id = subscribed(shop)

    account = shop.account
    there = shop.double.account.world.objects[subscription_id]
    item = there["items"]["data"][0]
    assert (account.plan, account.buckets.monthly, account.buckets.purchased) == (Plan.PLUS, 200, 5)
    assert account.anchor is not None
    assert account.anchor.timestamp() == there["start_date"]
    assert account.due_at is not None
    assert account.due_at.timestamp() == item["current_period_end"]
    state = shop.call("GET", "/playground/subscription").body
    assert (state["is_active"], state["status"], state["cancel_at_period_end"]) == (True, "active", False)
    assert datetime.fromisoformat(state["current_period_end"]).timestamp() == item["current_period_end"]
    monthly = shop.call("GET", "/playground/credits").body["monthly"]
    assert (monthly["allocated"], monthly["remaining"]) == (200, 200)


def test_a_refunded_month_is_taken_back_by_the_webhook_function(shop: Shop) -> None:
    """With the rights that it has: it looks up what was used of the month in the ledger."""
    subscription_id = subscribed(shop)
    [invoice] = [
        each
        for each in shop.double.account.world.all("invoice")
        if each["parent"]["subscription_details"]["subscription"] == subscription_id
    ]
    shop.double.control("refund", payment_intent=invoice["_intent"], amount=500)
    assert {*shop.deliver()} == {200}
    assert shop.account.buckets.monthly == 150


def test_subscribing_beside_an_operators_plan_says_why_not(shop: Shop) -> None:
    now = shop.account.created_at
    until = boundary(now, 12)
    shop.ledger.change(
        shop.user_id,
        lambda account: start_plus(account, allowance=200, entitled_until=until, now=now),
        business_key="contract",
        now=now,
    )
    answer = shop.call("POST", "/playground/subscribe", {})
    assert (answer.status, answer.body["error"]) == (409, "plan_granted")
    assert answer.body["entitled_until"] == iso(until)


def test_a_second_subscription_is_refused(shop: Shop) -> None:
    subscribed(shop)
    answer = shop.call("POST", "/playground/subscribe", {})
    assert (answer.status, answer.body["error"]) == (409, "already_subscribed")


@pytest.mark.parametrize("field", ["success_url", "cancel_url"])
@pytest.mark.parametrize(
    "url",
    ["https://evil.test/", "{own}.evil.test/", "{own}@evil.test/", "{own}", "//evil.test/", "javascript:alert(1)"],
)
def test_the_pay_page_redirects_to_the_front_end_only(shop: Shop, field: str, url: str) -> None:
    own = shop.handlers.description.parameters["FrontendUrl"]
    answer = shop.call("POST", "/playground/subscribe", {field: url.format(own=own)})
    assert (answer.status, answer.body["error"], answer.body["field"]) == (400, "validation_error", field)


def test_cancel_and_resume_are_said_at_once_and_move_no_credits(shop: Shop) -> None:
    """As often as wanted: the first version of this refilled the month each time."""
    subscribed(shop)
    assert shop.handlers.file("run/ok", user_id=shop.user_id).status == 200
    before = shop.history()

    for _ in range(2):
        ending = shop.call("POST", "/playground/subscription/cancel").body
        assert (ending["is_active"], ending["cancel_at_period_end"]) == (True, True)
        assert shop.call("POST", "/playground/subscription/cancel").body == ending
        going_on = shop.call("POST", "/playground/subscription/resume").body
        assert (going_on["is_active"], going_on["cancel_at_period_end"]) == (True, False)
    events = shop.new_events()
    for event in [*events, *reversed(events)]:
        assert shop.send(event).status == 200

    assert shop.history() == before
    assert shop.account.buckets.monthly == 199


def test_an_immediate_end_takes_what_is_unused_of_the_month(shop: Shop) -> None:
    subscription_id = subscribed(shop)
    shop.handlers.file("run/ok", user_id=shop.user_id)
    stripe_in_process(shop.double, "sk_test_handlers").client.v1.subscriptions.cancel(subscription_id)
    shop.deliver()

    assert shop.history()[-1] == ("expire", -199)
    account = shop.account
    assert (account.plan, account.balance, account.due_at) == (Plan.FREE, 5, None)
    assert shop.call("GET", "/playground/subscription").body["is_active"] is False
    gone = shop.call("POST", "/playground/subscription/resume")
    assert (gone.status, gone.body["error"]) == (404, "subscription_not_found")
    assert shop.call("POST", "/playground/subscribe", {}).status == 200


def test_the_portal_is_for_who_has_paid(shop: Shop) -> None:
    stranger = shop.call("POST", "/playground/subscription/portal")
    assert (stranger.status, stranger.body["error"]) == (404, "subscription_not_found")

    subscribed(shop)
    portal = shop.call("POST", "/playground/subscription/portal")
    assert portal.status == 200
    assert portal.body["url"].startswith(shop.double.url)


def test_a_plan_that_an_operator_set_is_shown_as_granted(shop: Shop, handlers: Handlers) -> None:
    now = shop.account.created_at
    shop.ledger.change(
        shop.user_id,
        lambda account: start_plus(account, allowance=200, entitled_until=None, now=now),
        business_key="plan",
        now=now,
    )
    state = shop.call("GET", "/playground/subscription").body
    assert (state["is_active"], state["status"], state["cancel_at_period_end"]) == (True, "granted", False)


# --- months, on Stripe's clock ----------------------------------------------------------------------------------------


@pytest.fixture(params=["memory", "engine"])
def billing(request: pytest.FixtureRequest, user_id: str) -> Iterator[Billing]:
    double = StripeDouble(base=lambda: START, seed=zlib.crc32(user_id.encode()))  # ids that no other test has
    payments = stripe_in_process(double)
    if request.param == "memory":
        ledger = InMemoryLedger()
        yield Billing(ledger, ledger.records, double, payments, user_id)
        return
    store: DynamoStore = request.getfixturevalue("store")
    engine_ledger: DynamoLedger = request.getfixturevalue("ledger")
    yield Billing(engine_ledger, DynamoPurchaseRecords(store, LEDGER_TABLE), double, payments, user_id)


def test_each_month_is_granted_when_it_is_paid_and_boundaries_are_stripes(billing: Billing) -> None:
    """From 31 January: 28 February, 31 March, 30 April. At the boundary there is nothing yet, an hour later it is."""
    subscription_id = billing.subscribe()
    billing.deliver()
    assert billing.buckets == (200, 0, 5)
    for number in range(1, 4):
        due = billing.account.due_at
        assert due is not None
        assert due == boundary(billing.account.anchor or due, number)
        billing.double.control("advance", to=int(due.timestamp()) + 60)
        assert billing.buckets == (0, 200, 5)
        billing.wait(seconds=HOURS)
        billing.deliver()
        assert billing.buckets == (200, 200, 5)
        item = billing.double.account.world.objects[subscription_id]["items"]["data"][0]
        following = billing.account.due_at
        assert following is not None
        assert following.timestamp() == item["current_period_end"]
    assert billing.grants() == [200] * 4


def test_an_invoice_is_granted_once_however_its_events_come(billing: Billing) -> None:
    billing.subscribe()
    events = billing.new_events()
    [paid] = [event for event in events if event["type"] == "invoice.paid"]
    for event in events:
        billing.send(event)
    again = billing.send(paid)
    other = billing.send({**paid, "id": "evt_of_another_endpoint"})

    assert (again.outcome, other.outcome) == (Outcome.NOTHING_NEW, Outcome.NOTHING_NEW)
    assert billing.grants() == [200]

    billing.wait(days=MONTH)
    billing.deliver()
    late = billing.send({**paid, "id": "evt_a_month_late"})
    assert late.outcome is Outcome.NOTHING_NEW
    assert billing.grants() == [200, 200]


def test_an_invoice_that_comes_after_its_period_gives_what_would_be_left(billing: Billing) -> None:
    """One period late it is rollover; two periods late its credits would be over."""
    billing.subscribe()
    events = billing.new_events()
    [first] = [event for event in events if event["type"] == "invoice.paid"]
    for event in events:
        if event is not first:
            billing.send(event)
    assert billing.account.plan is Plan.FREE
    billing.wait(days=MONTH)
    billing.deliver()
    assert billing.buckets == (200, 0, 5)

    billing.send(first)
    assert billing.buckets == (200, 200, 5)

    [second] = [event for event in billing.double.events("invoice.paid") if event is not first][1:]
    billing.wait(days=2 * MONTH)
    billing.deliver()
    before = billing.buckets
    billing.send(second)
    billing.send(first)
    assert billing.buckets == before


def test_a_renewal_that_is_not_paid_grants_nothing_and_ends_in_the_end(billing: Billing) -> None:
    subscription_id = billing.subscribe()
    billing.deliver()
    billing.double.control("subscription_card", subscription=subscription_id, card=DECLINED_LATER)
    billing.wait(days=MONTH)
    billing.deliver()
    assert billing.grants() == [200]
    assert billing.buckets == (0, 200, 5)
    assert billing.subscriptions.state(billing.user_id).status == "past_due"

    billing.wait(days=20)  # the retries are over
    billing.deliver()
    state = billing.subscriptions.state(billing.user_id)
    assert (state.is_active, state.status) == (False, "canceled")
    assert billing.account.plan is Plan.FREE
    assert billing.buckets == (0, 200, 5)
    billing.wait(days=MONTH)
    assert billing.buckets == (0, 0, 5)


def test_a_renewal_that_is_paid_at_the_second_try_is_granted_then(billing: Billing) -> None:
    subscription_id = billing.subscribe()
    billing.double.control("subscription_card", subscription=subscription_id, card=DECLINED_LATER)
    billing.wait(days=29)
    billing.deliver()
    assert billing.buckets == (0, 200, 5)

    billing.double.control("subscription_card", subscription=subscription_id, card="pm_card_visa")
    billing.wait(days=4)
    billing.deliver()
    assert billing.buckets == (200, 200, 5)
    assert billing.grants() == [200, 200]


def test_an_end_with_the_period_leaves_the_month_and_its_rollover(billing: Billing) -> None:
    billing.subscribe()
    billing.wait(seconds=5)
    billing.deliver()
    billing.subscriptions.cancel(billing.user_id)
    billing.deliver()
    assert billing.buckets == (200, 0, 5)

    billing.wait(days=MONTH)
    billing.deliver()
    assert billing.subscriptions.state(billing.user_id).is_active is False
    assert billing.account.plan is Plan.FREE
    assert billing.buckets == (0, 200, 5)
    billing.wait(days=MONTH)
    assert billing.buckets == (0, 0, 5)
    assert billing.grants() == [200]


def test_an_immediate_end_leaves_rollover_and_what_was_bought(billing: Billing) -> None:
    subscription_id = billing.subscribe()
    billing.deliver()
    billing.pay(billing.buy())
    billing.wait(days=MONTH)
    billing.deliver()
    assert billing.buckets == (200, 200, 105)

    billing.payments.client.v1.subscriptions.cancel(subscription_id)
    billing.deliver()
    assert billing.buckets == (0, 200, 105)
    billing.wait(days=MONTH)
    assert billing.buckets == (0, 0, 105)


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("seconds", [0, 5])
def test_what_is_stale_does_not_revive_what_is_over(billing: Billing, seconds: int, number: int) -> None:
    """Also if it began and ended within one second, whatever the ids of its events are."""
    subscription_id = billing.subscribe()
    billing.wait(seconds=seconds)
    told = billing.new_events()
    billing.payments.client.v1.subscriptions.cancel(subscription_id)
    told += billing.new_events()
    for event in [*told, *reversed(told), *told[:-1]]:
        billing.send(event)

    assert billing.account.plan is Plan.FREE
    assert billing.buckets == (0, 0, 5)
    assert billing.subscriptions.state(billing.user_id).is_active is False


@pytest.mark.parametrize("seed", range(8))
def test_events_of_one_second_come_to_the_same_in_any_order(billing: Billing, seed: int) -> None:
    """A page that is paid makes created, updated and paid at once; which id is greater means nothing."""
    billing.subscribe()
    events = billing.new_events()
    random.Random(seed).shuffle(events)
    for event in events:
        billing.send(event)

    assert billing.subscriptions.state(billing.user_id).status == "active"
    assert billing.buckets == (200, 0, 5)


CHANGED: dict[str, tuple[Callable[[dict[str, object]], None], str]] = {
    "amount": (lambda invoice: invoice["lines"]["data"][0].update(amount=1), "amount"),
    "currency": (lambda invoice: invoice["lines"]["data"][0].update(currency="eur"), "currency"),
    "no line": (lambda invoice: invoice["lines"].update(data=[]), "lines"),
    "another's": (lambda invoice: invoice["parent"]["subscription_details"].update(metadata={}), "product"),
    "a year": (lambda invoice: invoice["lines"]["data"][0]["period"].update(end=START + 366 * 86_400), "interval"),
}


@pytest.mark.parametrize("name", CHANGED)
def test_an_invoice_of_another_price_is_put_into_quarantine(billing: Billing, name: str) -> None:
    change, reason = CHANGED[name]
    billing.subscribe()
    [paid] = [event for event in billing.new_events() if event["type"] == "invoice.paid"]
    change(paid["data"]["object"])

    applied = billing.send(paid)
    assert (applied.outcome, applied.reason) == (Outcome.QUARANTINED, reason)
    assert billing.buckets == (0, 0, 5)


def test_on_a_laptop_the_pay_page_redirects_to_the_front_end_by_either_of_its_names(billing: Billing) -> None:
    other = "http://localhost:3000"
    subscriptions = ManageSubscription(
        ledger=billing.ledger,
        records=billing.records,
        payments=lambda: billing.payments,
        prices=billing.prices,
        live=False,
        clock=billing.clock,
        frontend_url="http://127.0.0.1:3000",
        subscription_page="/plus",
        extra_origins=(other,),
    )
    for url in (other, f"{other}.evil.test/", "http://localhost:3001/", "https://evil.test/"):
        with pytest.raises(InvalidRequestError):
            subscriptions.subscribe(billing.user_id, success_url=url)
    subscriptions.subscribe(billing.user_id, success_url=f"{other}/done", cancel_url="http://127.0.0.1:3000/no")
    (session,) = billing.double.account.world.all("checkout.session")
    assert (session["success_url"], session["cancel_url"]) == (f"{other}/done", "http://127.0.0.1:3000/no")


# --- where Stripe's pages lead back to --------------------------------------------------------------------------------


def pages_of(billing: Billing) -> list[tuple[str, str]]:
    """Status and success address of each checkout page, in the order in which they were opened."""
    sessions = sorted(billing.double.account.world.all("checkout.session"), key=lambda each: each["created"])
    return [(session["status"], session["success_url"]) for session in sessions]


def test_a_page_that_leads_back_elsewhere_is_closed_and_replaced(billing: Billing) -> None:
    subscribe, user_id = billing.subscriptions.subscribe, billing.user_id
    first = subscribe(user_id, success_url=f"{FRONTEND}/a")
    assert subscribe(user_id, success_url=f"{FRONTEND}/a") == first
    second = subscribe(user_id, success_url=f"{FRONTEND}/b")
    third = subscribe(user_id, success_url=f"{FRONTEND}/b", cancel_url=f"{FRONTEND}/no")
    again = subscribe(user_id, success_url=f"{FRONTEND}/a")
    assert subscribe(user_id, success_url=f"{FRONTEND}/a") == again

    assert len({first, second, third, again}) == 4
    pages = pages_of(billing)
    assert sorted(status for status, _ in pages) == ["expired"] * 3 + ["open"], "one page at most can be paid on"
    assert [address for status, address in pages if status == "open"] == [f"{FRONTEND}/a"]


def test_a_page_that_is_paid_is_not_replaced(billing: Billing) -> None:
    """Also if it is paid after it was looked at: there is no second page to pay on."""
    subscribe, user_id = billing.subscriptions.subscribe, billing.user_id
    first = subscribe(user_id)

    class PaidMeanwhile(StripePayments):
        def checkout_page(self, checkout_id: str, *, customer_id: str) -> CheckoutPage | None:
            page = super().checkout_page(checkout_id, customer_id=customer_id)
            if page is not None and not page.is_complete:
                billing.double.control("checkout", session=checkout_id)
            return page

    payments = PaidMeanwhile(api_key="sk_test_1")
    payments.client = billing.payments.client
    meanwhile = replace(billing.subscriptions, payments=lambda: payments)

    assert meanwhile.subscribe(user_id, success_url=f"{FRONTEND}/b") == first
    assert subscribe(user_id, success_url=f"{FRONTEND}/c") == first
    assert [status for status, _ in pages_of(billing)] == ["complete"]


def test_closing_a_page_can_be_repeated(billing: Billing) -> None:
    billing.subscriptions.subscribe(billing.user_id)
    (session,) = billing.double.account.world.all("checkout.session")

    assert [billing.payments.close_checkout(session["id"]) for _ in range(2)] == [True, True]
    assert billing.payments.close_checkout("cs_test_unknown") is True


def test_the_portal_leads_back_to_the_page_that_was_asked_for(billing: Billing) -> None:
    billing.subscribe()
    billing.double.control("portal")
    portal, user_id = billing.subscriptions.portal, billing.user_id
    for url, expected in ((None, f"{FRONTEND}/plus"), (f"{FRONTEND}/here?a=1", f"{FRONTEND}/here?a=1")):
        portal(user_id, return_url=url)
        session = billing.double.account.world.all("billing_portal.session")[-1]
        assert session["return_url"] == expected
    for url in ("https://evil.test/", f"{FRONTEND}.evil.test/", FRONTEND):
        with pytest.raises(InvalidRequestError):
            portal(user_id, return_url=url)
