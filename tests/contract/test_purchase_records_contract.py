"""What a store of payments promises, in memory and on the engine: the same."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest

from playground.adapters.dynamo_payments import DynamoPurchaseRecords
from playground.adapters.dynamo_store import DynamoStore, Key
from playground.domain.account import Account, grant
from playground.domain.entries import EntryType
from playground.domain.purchases import Claim, Customer, PaymentEvent, Purchase, PurchaseState, Stage
from playground.domain.subscriptions import Subscription, SubscriptionSnapshot
from playground.ports import Booking, Ledger, PurchaseRecords
from tests.fakes import InMemoryLedger
from tests.support import LEDGER_TABLE, all_entries, check_invariants, records_of

NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class TextRef:
    ledger: Ledger
    records: PurchaseRecords
    user_id: str

    def purchase(self, name: str = "1", payment: str | None = None) -> Purchase:
        return Purchase(
            purchase_id=f"pur_{name}",
            user_id=self.user_id,
            pack="small",
            credits=100,
            amount=500,
            currency="usd",
            live=False,
            price_version="1",
            created_at=NOW,
            payment_id=f"pi_{payment}_{self.user_id}" if payment is not None else None,
        )

    def event(self, name: str, quarantined: str | None = None) -> PaymentEvent:
        return PaymentEvent(
            event_id=f"evt_{name}_{self.user_id}",
            type="payment",
            user_id=self.user_id,
            subject="pur_1",
            occurred_at=NOW,
            received_at=NOW,
            quarantined=quarantined,
        )

    def there(self, name: str = "1") -> Purchase:
        purchase = self.records.purchase(self.user_id, f"pur_{name}")
        assert purchase is not None
        return purchase


@pytest.fixture(params=["memory", "engine"])
def kept(request: pytest.FixtureRequest, user_id: str) -> TextRef:
    ledger: Ledger = InMemoryLedger() if request.param == "memory" else request.getfixturevalue("ledger")
    return TextRef(ledger, records_of(ledger), user_id)


def test_what_was_kept_is_read_as_it_was(kept: TextRef) -> None:
    purchase = replace(
        kept.purchase(payment="1"),
        state=PurchaseState.PAID,
        paid_at=NOW,
        granted=True,
        refunded=100,
        refunds={"re_1": Claim(100, Stage.OPEN)},
        disputes={"dp_1": Claim(5, Stage.KEPT)},
        taken_refund=20,
        taken_dispute=1,
        moves=2,
    )
    customer = Customer(user_id=kept.user_id, customer_id=f"cus_{kept.user_id}", live=False, created_at=NOW)
    told = SubscriptionSnapshot(
        subscription_id="sub_1",
        status="active",
        cancel_at_period_end=True,
        current_period_end=NOW,
        started_at=NOW,
        ended_at=None,
        occurred_at=NOW,
        event_id="evt_1",
    )
    subscription = Subscription(user_id=kept.user_id, described=told, ended={"sub_0": NOW}, checkouts=2)
    event = replace(kept.event("1", "amount"), resolved_at=NOW)
    assert kept.records.save(purchase, customer, subscription, event)

    assert kept.there() == purchase
    assert kept.records.customer(kept.user_id, live=False) == customer
    assert kept.records.customer(kept.user_id, live=True) is None
    assert kept.records.user_of(customer.customer_id) == kept.user_id
    assert kept.records.purchase_of(purchase.payment_id or "") == (kept.user_id, "pur_1")
    assert kept.records.subscription(kept.user_id) == subscription
    assert kept.records.event(event.event_id) == event


def test_what_is_not_there_is_not_there(kept: TextRef) -> None:
    assert kept.records.purchase(kept.user_id, "pur_1") is None
    assert kept.records.purchase_of("pi_none") is None
    assert kept.records.user_of("cus_none") is None
    assert kept.records.event("evt_none") is None
    assert kept.records.subscription(kept.user_id) == Subscription(user_id=kept.user_id)


def test_a_record_is_only_written_over_the_one_that_was_read(kept: TextRef) -> None:
    assert kept.records.save(kept.purchase())
    seen = kept.there()
    assert kept.records.save(replace(seen, moves=1))
    assert not kept.records.save(replace(seen, moves=7))
    assert kept.there().moves == 1


def test_of_several_records_all_are_written_or_none(kept: TextRef) -> None:
    assert kept.records.save(kept.purchase())
    assert not kept.records.save(kept.purchase("2"), replace(kept.purchase(), moves=9))
    assert kept.records.purchase(kept.user_id, "pur_2") is None


def test_a_payment_is_of_one_purchase_and_a_customer_of_one_user(kept: TextRef) -> None:
    assert kept.records.save(kept.purchase(payment="1"))
    assert not kept.records.save(kept.purchase("2", payment="1"))
    customer = Customer(user_id=kept.user_id, customer_id=f"cus_{kept.user_id}", live=False, created_at=NOW)
    assert kept.records.save(customer)
    assert not kept.records.save(replace(customer, user_id=f"{kept.user_id}-other"))


def test_a_customer_who_was_replaced_is_found_by_both_names(kept: TextRef) -> None:
    first = Customer(user_id=kept.user_id, customer_id=f"cus_1_{kept.user_id}", live=False, created_at=NOW)
    assert kept.records.save(first)
    seen = kept.records.customer(kept.user_id, live=False)
    assert seen == first
    assert kept.records.save(replace(seen, gone=True))
    assert not kept.records.save(replace(seen, gone=True, number=9))
    gone = kept.records.customer(kept.user_id, live=False)
    assert gone == replace(first, gone=True)
    later = gone.replaced_by(f"cus_2_{kept.user_id}", NOW)
    assert kept.records.save(later)

    there = kept.records.customer(kept.user_id, live=False)
    assert there == later
    assert (there.number, there.former, there.gone) == (1, (first.customer_id,), False)
    assert {kept.records.user_of(each) for each in (first.customer_id, later.customer_id)} == {kept.user_id}
    assert there.is_known_as(first.customer_id)
    assert there.is_known_as(later.customer_id)
    assert not there.is_known_as(None)
    assert not there.is_known_as("cus_of_another")


def test_a_customer_of_an_earlier_release_was_never_replaced(store: DynamoStore, user_id: str) -> None:
    raw = {
        "customer_id": {"S": f"cus_{user_id}"},
        "live": {"BOOL": False},
        "created_at": {"S": "2026-11-01T12:00:00.000Z"},
        "revision": {"N": "1"},
    }
    store.put_all({Key(LEDGER_TABLE, f"USER#{user_id}", "CUSTOMER#test"): raw})
    records = DynamoPurchaseRecords(store, LEDGER_TABLE)
    customer = records.customer(user_id, live=False)
    assert customer == Customer(user_id=user_id, customer_id=f"cus_{user_id}", live=False, created_at=NOW)
    assert (customer.gone, customer.number, customer.former) == (False, 0, ())
    assert records.save(customer.replaced_by(f"cus_2_{user_id}", NOW))


def test_all_purchases_and_quarantined_events_are_found(kept: TextRef) -> None:
    purchases = {f"pur_{number}" for number in range(30)}
    for name in purchases:
        assert kept.records.save(kept.purchase(name.removeprefix("pur_")))
    odd = kept.event("odd", "amount")
    assert kept.records.save(odd, kept.event("fine"))

    found, after = list[Purchase | PaymentEvent](), None
    for _ in range(1000):
        page, after = kept.records.all(after=after)
        found += page
        if after is None:
            break
    ours = [each for each in found if each.user_id == kept.user_id]
    assert {each.purchase_id for each in ours if isinstance(each, Purchase)} == purchases
    assert [each for each in ours if isinstance(each, PaymentEvent)] == [odd]


def test_purchases_of_a_user_are_listed_the_newest_first(kept: TextRef) -> None:
    """More than a page of the store; ids do not sort by time."""
    times = {f"{number * 7919 % 331:03d}": NOW + timedelta(seconds=number) for number in range(331)}
    for name, at in times.items():
        assert kept.records.save(replace(kept.purchase(name), created_at=at))
    found = [each.purchase_id for each in kept.records.purchases(kept.user_id)]
    assert found == [f"pur_{name}" for name in reversed(times)]
    assert kept.records.purchases("nobody") == []


def test_the_time_of_a_refund_is_kept_and_may_be_missing(kept: TextRef) -> None:
    dated, undated = Claim(5, Stage.OPEN, NOW), Claim(6, Stage.OPEN)
    assert kept.records.save(replace(kept.purchase("1"), refunds={"re_1": dated, "re_2": undated}))
    refunds = kept.there().refunds
    assert [refunds[name].made_at for name in ("re_1", "re_2")] == [NOW, None]
    assert undated.merged(dated).made_at == dated.merged(undated).made_at == NOW


def granting(kept: TextRef, purchase: Purchase, account: Account) -> Booking:
    after, entry = grant(account, 10, type_=EntryType.BONUS, business_key="b", reason="For you", now=NOW)
    return Booking(after, (entry,), [purchase, kept.event("1")])


def test_a_booking_writes_account_entries_and_records_together(kept: TextRef) -> None:
    assert kept.records.save(kept.purchase())
    after = kept.ledger.book(
        kept.user_id, lambda account: granting(kept, replace(kept.there(), granted=True), account), now=NOW
    )

    assert after == kept.ledger.account(kept.user_id, NOW)
    assert (after.balance, kept.there().granted) == (15, True)
    assert kept.records.event(kept.event("1").event_id) == kept.event("1")
    check_invariants(after, all_entries(kept.ledger, kept.user_id))


def test_a_booking_whose_record_has_moved_is_worked_out_again(kept: TextRef) -> None:
    """Nothing of the first attempt is left."""
    assert kept.records.save(kept.purchase())
    looks: list[int] = []

    def book(account: Account) -> Booking:
        seen = kept.there()
        looks.append(seen.moves)
        if len(looks) == 1:  # somebody else is faster
            assert kept.records.save(replace(seen, moves=1))
        return granting(kept, replace(seen, granted=True), account)

    after = kept.ledger.book(kept.user_id, book, now=NOW)

    assert looks == [0, 1]
    assert (after.balance, kept.there().moves, kept.there().granted) == (15, 1, True)
    check_invariants(after, all_entries(kept.ledger, kept.user_id))


def test_a_booking_of_nothing_writes_nothing(kept: TextRef) -> None:
    before = kept.ledger.account(kept.user_id, NOW)
    assert kept.ledger.book(kept.user_id, lambda _: None, now=NOW) == before
    assert kept.ledger.account(kept.user_id, NOW) == before
