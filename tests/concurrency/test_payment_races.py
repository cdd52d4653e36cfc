"""Many workers hear of one payment at the same moment, on a real engine: it counts once, and nothing is lost."""

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, TypeVar
from uuid import uuid4

import pytest

from doubles.stripe import StripeDouble
from local.engine import Engine
from local.template import Description
from playground.adapters.dynamo_payments import DynamoPurchaseRecords
from playground.adapters.dynamo_store import Backoff, DynamoStore
from playground.adapters.stripe_events import READERS
from playground.adapters.stripe_payments import StripePayments
from playground.domain.account import Account
from playground.domain.calendar import instant
from playground.domain.errors import PaymentsUnavailableError
from playground.domain.purchases import Purchase, PurchaseState
from playground.domain.rates import RateLimit
from playground.ports import Held
from playground.usecases.apply_payment import Applied, Outcome
from playground.usecases.buy_credits import Offer
from tests.fakes import a_hold, charging, conversation
from tests.kit.billing import Billing, payment_of, stripe_in_process
from tests.kit.extent import HANG_SECONDS
from tests.support import LEDGER_TABLE, new_ledger, new_store

THREADS = 30
CONNECTIONS = 8

T = TypeVar("T")


@pytest.fixture(scope="module")
def stores(engine: Engine, description: Description) -> Iterator[Sequence[DynamoStore]]:
    patient = Backoff(most_seconds=HANG_SECONDS)  # here is one small machine for all of it
    stores = [new_store(engine, patient) for _ in range(CONNECTIONS)]
    clients = [store.client for store in stores]
    yield stores
    for client in clients:
        client.close()


@pytest.fixture(scope="module")
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(THREADS) as pool:
        yield pool


class Race:
    """One user, and as many workers as are asked for, each with a connection that a few share."""

    def __init__(
        self,
        stores: Sequence[DynamoStore],
        pool: ThreadPoolExecutor,
        double: StripeDouble,
        payments: StripePayments,
        user_id: str,
    ) -> None:
        self._pool = pool
        self._workers = itertools.cycle(
            Billing(new_ledger(store), DynamoPurchaseRecords(store, LEDGER_TABLE), double, payments, user_id)
            for store in stores
        )
        self.first = next(self._workers)

    def __call__(self, *runners: Callable[[Billing], T]) -> list[T]:
        """The result of each; all begin at the same moment."""
        barrier = threading.Barrier(len(runners), timeout=HANG_SECONDS)

        def start(runner: Callable[[Billing], T], billing: Billing) -> T:
            barrier.wait()
            return runner(billing)

        futures = [self._pool.submit(start, runner, next(self._workers)) for runner in runners]
        return [future.result(timeout=HANG_SECONDS) for future in futures]


@pytest.fixture
def race(stores: Sequence[DynamoStore], pool: ThreadPoolExecutor, stripe_double: StripeDouble, user_id: str) -> Race:
    return Race(stores, pool, stripe_double, stripe_in_process(stripe_double), user_id)


def sending(event: dict[str, Any]) -> Callable[[Billing], Applied]:
    return lambda billing: billing.send(event)


def applied(outcomes: Sequence[Applied]) -> int:
    assert {each.outcome for each in outcomes} <= {Outcome.APPLIED, Outcome.NOTHING_NEW}
    return sum(each.outcome is Outcome.APPLIED for each in outcomes)


def paid(race: Race) -> tuple[Offer, dict[str, Any]]:
    """A pack, and the event that says that it is paid."""
    offer = race.first.buy()
    race.first.pay(offer)
    [event] = [event for event in race.first.new_events() if event["type"] == "payment_intent.succeeded"]
    return offer, event


def test_one_event_in_thirty_deliveries_at_once_is_granted_once(race: Race) -> None:
    _, event = paid(race)
    assert applied(race(*[sending(event)] * THREADS)) == 1
    assert race.first.buckets == (0, 0, 105)


def test_two_endpoints_at_once_grant_once(race: Race) -> None:
    """Each has an id of its own for what happened once."""
    _, event = paid(race)
    events = [{**event, "id": f"{event['id']}_{endpoint}"} for endpoint in range(2)]
    assert applied(race(*[sending(each) for each in events * (THREADS // 2)])) == 1
    assert race.first.buckets == (0, 0, 105)


def test_an_invoice_in_thirty_deliveries_at_once_is_granted_once(race: Race) -> None:
    race.first.subscribe()
    [event] = [event for event in race.first.new_events() if event["type"] == "invoice.paid"]
    events = [{**event, "id": f"{event['id']}_{number}"} for number in range(THREADS)]
    assert applied(race(*map(sending, events))) == 1
    assert race.first.buckets == (200, 0, 5)


def test_everything_about_a_payment_at_once_comes_to_the_same(race: Race) -> None:
    """Paid, two refunds with their sums, a dispute that is won: all of it at the same moment, twice."""
    offer, event = paid(race)
    for cents in (100, 150):
        race.first.double.control("refund", payment_intent=payment_of(offer), amount=cents)
    dispute = race.first.double.control("dispute", payment_intent=payment_of(offer), amount=50)["id"]
    race.first.double.control("close_dispute", dispute=dispute, outcome="won")
    race(*[sending(each) for each in [event, *race.first.new_events()] * 2])

    assert race.first.buckets == (0, 0, 55)
    purchase = race.first.records.purchase(race.first.user_id, offer.purchase.purchase_id)
    assert purchase is not None
    assert (purchase.taken_refund, purchase.taken_dispute, purchase.amount_refunded) == (50, 0, 250)


@pytest.mark.parametrize("number", range(5))
def test_a_refund_and_spending_at_once_lose_and_make_no_credit(race: Race, number: int) -> None:
    """In either order, balance less debt is what was bought, less what was spent and given back."""
    offer, event = paid(race)
    race.first.send(event)
    race.first.double.control("refund", payment_intent=payment_of(offer))
    events = [each for each in race.first.new_events() if each["type"] in ("refund.created", "charge.refunded")]

    def spend() -> Callable[[Billing], int]:
        def run(billing: Billing) -> int:
            now = billing.clock()
            hold = a_hold(f"run_{uuid4().hex}", 10, now)
            placed = billing.ledger.place_hold(billing.user_id, hold, limit=20, now=now)
            if not isinstance(placed, Held):
                return 0
            about = conversation(billing.user_id, hold, now)
            assert billing.ledger.settle(placed.account, hold, charging(hold, 10, now), about).by_us
            return 10

        return run

    def deliver(billing: Billing) -> int:
        for each in events:
            billing.send(each)
        return 0

    spent = sum(race(*[spend() for _ in range(12)], deliver, deliver))

    account = race.first.account
    assert account.balance - account.debt == 5 - spent
    assert account.held == 0


def test_a_customer_is_made_once_however_many_ask(
    stores: Sequence[DynamoStore], pool: ThreadPoolExecutor, stripe_double: StripeDouble, user_id: str
) -> None:
    """Stripe refuses a key that is at work this moment; who is refused asks again, and finds the same customer."""
    payments = StripePayments(api_key="sk_test_1", base_url=stripe_double.url)
    race = Race(stores, pool, stripe_double, payments, user_id)

    def buy(billing: Billing) -> Offer:
        for _ in range(1000):
            try:
                return billing.buy()
            except PaymentsUnavailableError:
                time.sleep(0.05)
        raise AssertionError("Stripe never had time")

    offers = race(*[buy] * 12)

    customers = [
        each["id"]
        for each in stripe_double.account.world.all("customer")
        if each.get("metadata", {}).get("user_id") == user_id
    ]
    assert len(customers) == 1
    owners = {stripe_double.account.world.objects[payment_of(offer)]["customer"] for offer in offers}
    assert owners == {*customers}
    assert len({offer.purchase.purchase_id for offer in offers}) == 12


def test_a_customer_who_is_gone_is_replaced_once_however_many_notice(
    stores: Sequence[DynamoStore], pool: ThreadPoolExecutor, stripe_double: StripeDouble, user_id: str
) -> None:
    """All of them are refused with the old one, and ask for a new one with the same key."""
    payments = StripePayments(api_key="sk_test_1", base_url=stripe_double.url)
    race = Race(stores, pool, stripe_double, payments, user_id)
    race.first.buy()
    before = race.first.records.customer(user_id, live=False)
    assert before is not None
    payments.client.v1.customers.delete(before.customer_id)

    def ask(billing: Billing) -> str:
        for _ in range(40):
            try:
                return payment_of(billing.buy())
            except PaymentsUnavailableError:
                time.sleep(0.05)
        raise AssertionError("Stripe never had time")

    started = race(*[ask] * 12)

    after = race.first.records.customer(user_id, live=False)
    assert after is not None
    assert (after.number, after.former, after.gone) == (1, (before.customer_id,), False)
    world = stripe_double.account.world
    made = [each["id"] for each in world.all("customer") if each.get("metadata", {}).get("user_id") == user_id]
    assert made == [after.customer_id]
    assert {world.objects[payment]["customer"] for payment in started} == {after.customer_id}


def test_one_key_at_once_is_one_purchase_and_one_payment(race: Race) -> None:
    race.first.buy()  # so that there is a customer
    offers = race(*[lambda billing: billing.buy("medium", "one key")] * 16)

    assert len({offer.purchase.purchase_id for offer in offers}) == 1
    assert len({offer.client_secret for offer in offers}) == 1
    purchase = race.first.records.purchase(race.first.user_id, offers[0].purchase.purchase_id)
    assert purchase is not None
    assert (purchase.state, purchase.payment_id) == (PurchaseState.OPEN, payment_of(offers[0]))


def test_an_end_and_an_invoice_at_once_leave_no_month(race: Race) -> None:
    """Paid and ended at the same moment: whichever event arrives first, nothing of the month is left."""
    subscription = race.first.subscribe()
    race.first.payments.client.v1.subscriptions.cancel(subscription)
    events = [event for event in race.first.new_events() if event["type"] in READERS]
    race(*[sending(event) for event in events * 3])

    account: Account = race.first.account
    assert (account.plan.value, race.first.buckets) == ("free", (0, 0, 5))


def test_of_thirty_purchases_at_once_those_of_the_limit_are_begun(race: Race) -> None:
    """While holds of the account are placed, too."""
    limit, user_id, now = RateLimit(name="purchases", per_minute=3), race.first.user_id, race.first.clock()
    account = race.first.ledger.account(user_id, now)

    def begin(number: int) -> Callable[[Billing], str]:
        def run(billing: Billing) -> str:
            purchase = Purchase(
                purchase_id=f"pur_{number}_{user_id}",
                user_id=user_id,
                pack="small",
                credits=100,
                amount=500,
                currency="usd",
                live=False,
                price_version="1",
                created_at=now,
            )
            outcome = billing.records.begin(purchase, account, limit=limit, now=now)
            if number < 5:
                placed = billing.ledger.place_hold(user_id, a_hold(f"run_{number}", 1, now), limit=20, now=now)
                assert isinstance(placed, Held)
            return type(outcome).__name__

        return run

    assert Counter(race(*map(begin, range(THREADS)))) == {"Begun": 3, "TooManyPurchases": THREADS - 3}
    assert len(race.first.records.purchases(user_id)) == 3
    after = race.first.ledger.account(user_id, now)
    assert (after.purchases_at, after.held) == (instant(now) + timedelta(minutes=1), 5)
