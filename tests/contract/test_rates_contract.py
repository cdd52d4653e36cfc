"""Rate limits of runs and purchases: what the ledger in memory and the one on the engine promise alike."""

import itertools
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest

from playground.adapters.dynamo_store import DynamoStore
from playground.domain.account import Account, Change, Hold, grant, note_payment, take_back
from playground.domain.allowance import Allowance
from playground.domain.entries import EntryType
from playground.domain.errors import CorruptLedgerError
from playground.domain.purchases import Purchase
from playground.domain.rates import RateLimit
from playground.domain.runs import RunStatus
from playground.ports import (
    AllowanceUsedUp,
    AlreadyHeld,
    Begun,
    BegunBefore,
    CannotAfford,
    Held,
    HoldOutcome,
    Ledger,
    Paused,
    PurchaseOutcome,
    TooFast,
    TooManyHolds,
    TooManyPurchases,
)
from tests.fakes import InMemoryLedger, a_hold, charging, conversation, receipt
from tests.support import all_entries, check_invariants, new_ledger, records_of

NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MILLISECOND = timedelta(milliseconds=1)
FIVE = RateLimit(name="runs", per_minute=5)
THREE = RateLimit(name="purchases", per_minute=3)


@dataclass
class Subject:
    """One user of a ledger. If `seen`, the account is read before each write, as by the use cases; otherwise the write
    has to find out for itself."""

    ledger: Ledger
    user_id: str
    seen: bool

    def __post_init__(self) -> None:
        self._numbers = itertools.count(1)

    @property
    def account(self) -> Account:
        account = self.ledger.account(self.user_id, NOW)
        check_invariants(account, all_entries(self.ledger, self.user_id))
        return account

    def give(self, credits_: int) -> None:
        def amend(account: Account) -> Change:
            after, entry = grant(
                account, credits_, type_=EntryType.BONUS, business_key="bonus", reason="For you", now=NOW
            )
            return after, (entry,)

        self.ledger.change(self.user_id, amend, business_key="bonus", now=NOW)

    def hold(self, now: datetime = NOW, *, ceiling: int = 1) -> Hold:
        return a_hold(f"run_{next(self._numbers)}", ceiling, now)

    def place(
        self, *holds: Hold, limit: int = 20, allowance: Allowance | None = None, rate: RateLimit = FIVE
    ) -> HoldOutcome:
        seen = self.ledger.account(self.user_id, NOW) if self.seen else None
        return self.ledger.place_hold(
            self.user_id, *holds, limit=limit, now=holds[0].placed_at, allowance=allowance, rate=rate, seen=seen
        )

    def placed(self, now: datetime = NOW) -> Hold:
        hold = self.hold(now)
        assert isinstance(self.place(hold), Held)
        return hold

    def buy(self, name: str | None = None, now: datetime = NOW, *, pack: str = "small") -> PurchaseOutcome:
        purchase = Purchase(
            purchase_id=f"pur_{name or next(self._numbers)}",
            user_id=self.user_id,
            pack=pack,
            credits=100,
            amount=500,
            currency="usd",
            live=False,
            price_version="1",
            created_at=now,
        )
        seen = self.ledger.account(self.user_id, NOW)
        if not self.seen:
            seen = replace(seen, purchases_at=None)
        return records_of(self.ledger).begin(purchase, seen, limit=THREE, now=now)


@pytest.fixture(params=["memory", "engine"])
def ledger(request: pytest.FixtureRequest, store: DynamoStore) -> Ledger:
    return InMemoryLedger() if request.param == "memory" else new_ledger(store)


@pytest.fixture(params=[True, False], ids=["seen", "not seen"])
def subject(request: pytest.FixtureRequest, ledger: Ledger, user_id: str) -> Subject:
    return Subject(ledger, user_id, request.param)


# --- runs -------------------------------------------------------------------------------------------------------------


def test_five_are_held_at_once_and_then_one_every_twelve_seconds(subject: Subject) -> None:
    subject.give(100)
    outcomes = [subject.place(subject.hold()) for _ in range(5)]
    assert [type(outcome) for outcome in outcomes] == [Held] * 5
    assert [outcome.account.runs_at for outcome in outcomes] == [NOW + n * 12 * SECOND for n in range(1, 6)]

    before = subject.account
    refused = subject.place(subject.hold())

    assert refused == TooFast(before)
    assert isinstance(subject.place(subject.hold(NOW + 12 * SECOND - MILLISECOND)), TooFast)
    assert subject.account == before, "refusals move nothing"
    assert isinstance(subject.place(subject.hold(NOW + 12 * SECOND)), Held)
    assert isinstance(subject.place(subject.hold(NOW + 12 * SECOND)), TooFast)


def test_after_a_pause_the_whole_limit_is_there_and_no_more(subject: Subject) -> None:
    for _ in range(5):
        subject.ledger.cancel_hold(subject.user_id, subject.placed(), now=NOW)
    later = NOW + timedelta(hours=3)

    for _ in range(5):
        subject.ledger.cancel_hold(subject.user_id, subject.placed(later), now=later)

    assert isinstance(subject.place(subject.hold(later)), TooFast)
    assert subject.account.runs_at == later + 60 * SECOND


@pytest.mark.parametrize("status", [RunStatus.RELEASED, RunStatus.EXPIRED])
def test_a_run_without_an_answer_counts(subject: Subject, status: RunStatus) -> None:
    for _ in range(5):
        hold = subject.placed()
        assert subject.ledger.release(subject.user_id, receipt(subject.user_id, hold, status, NOW)).by_us

    assert (subject.account.available, subject.account.runs_at) == (5, NOW + 60 * SECOND)
    assert isinstance(subject.place(subject.hold()), TooFast)


def test_a_paid_run_counts(subject: Subject) -> None:
    hold = subject.hold()
    outcome = subject.place(hold)
    subject.ledger.settle(outcome.account, hold, charging(hold, 1, NOW), conversation(subject.user_id, hold, NOW))
    assert subject.account.runs_at == NOW + 12 * SECOND


def test_a_run_that_is_refused_for_something_else_does_not_count(subject: Subject) -> None:
    subject.placed()
    ledger, user_id, before = subject.ledger, subject.user_id, NOW + 12 * SECOND
    never = Allowance(failed_runs_per_hour=1, unpaid_nano_per_day=1, nano_per_credit=1)

    for _ in range(10):
        assert isinstance(subject.place(subject.hold(ceiling=100)), CannotAfford)
        assert isinstance(subject.place(subject.hold(), limit=1), TooManyHolds)
        assert isinstance(subject.place(subject.hold(), allowance=never), AllowanceUsedUp)
        assert isinstance(subject.place(replace(a_hold("run_1", 1, NOW), nonce="other")), AlreadyHeld)
    ledger.change(user_id, lambda account: (replace(account, paused_at=NOW), ()), business_key="pause", now=NOW)
    assert isinstance(subject.place(subject.hold()), Paused)
    assert subject.account.runs_at == before


def test_the_same_attempt_counts_once(subject: Subject) -> None:
    hold = subject.hold()
    for _ in range(7):
        assert isinstance(subject.place(hold), Held)
    assert subject.account.runs_at == NOW + 12 * SECOND


def test_an_attempt_whose_hold_took_effect_late_counts_once(subject: Subject) -> None:
    hold = subject.hold(ceiling=2)
    assert isinstance(subject.place(hold), Held)
    assert isinstance(subject.place(replace(hold, ceiling=1)), Held)
    assert subject.account.runs_at == NOW + 12 * SECOND


def test_a_run_that_is_held_already_is_told_so_and_not_that_it_is_too_fast(subject: Subject) -> None:
    holds = [subject.placed() for _ in range(4)]
    subject.ledger.cancel_hold(subject.user_id, subject.placed(), now=NOW)

    assert isinstance(subject.place(subject.hold()), TooFast)
    assert isinstance(subject.place(replace(holds[0], nonce="other")), AlreadyHeld)
    assert isinstance(subject.place(holds[0]), Held)


def test_a_refused_repeat_is_told_that_its_run_may_have_ended(subject: Subject) -> None:
    holds = [subject.placed() for _ in range(5)]
    subject.ledger.release(subject.user_id, receipt(subject.user_id, holds[4], RunStatus.RELEASED, NOW))

    outcome = subject.place(replace(holds[4], nonce="repeat"))

    assert outcome == TooFast(subject.account, ended_before=True)


def test_a_cancelled_hold_does_not_count(subject: Subject) -> None:
    for _ in range(12):
        hold = subject.placed()
        subject.ledger.cancel_hold(subject.user_id, hold, now=NOW, rate=FIVE)
        subject.ledger.cancel_hold(subject.user_id, hold, now=NOW, rate=FIVE)  # a repeat gives nothing back

    assert subject.account.runs_at == NOW
    subject.placed()
    assert subject.account.runs_at == NOW + 12 * SECOND


def test_a_cancelled_hold_does_not_count_on_an_account_that_owes(subject: Subject) -> None:
    hold = subject.hold(ceiling=5)
    assert isinstance(subject.place(hold), Held)

    def owe(account: Account) -> Change:
        return take_back(account, 3, type_=EntryType.ADMIN, business_key="take", reason="Because", now=NOW)

    subject.ledger.change(subject.user_id, owe, business_key="take", now=NOW)
    assert subject.account.debt == 3

    subject.ledger.cancel_hold(subject.user_id, hold, now=NOW, rate=FIVE)

    assert (subject.account.debt, subject.account.available, subject.account.runs_at) == (0, 2, NOW)


def test_changes_of_the_account_leave_the_count(subject: Subject) -> None:
    subject.placed()
    subject.buy()
    before = subject.account

    subject.ledger.change(subject.user_id, lambda account: (note_payment(account), ()), business_key="paid", now=NOW)

    after = subject.account
    assert (after.runs_at, after.purchases_at) == (before.runs_at, before.purchases_at)
    assert (after.runs_at, after.purchases_at) == (NOW + 12 * SECOND, NOW + 20 * SECOND)


def test_microseconds_of_a_clock_make_no_difference(subject: Subject) -> None:
    odd = NOW + timedelta(microseconds=999)
    for _ in range(5):
        subject.ledger.cancel_hold(subject.user_id, subject.placed(odd), now=NOW)
    assert subject.account.runs_at == NOW + 60 * SECOND
    assert isinstance(subject.place(subject.hold(odd)), TooFast)


# --- purchases --------------------------------------------------------------------------------------------------------


def test_three_purchases_at_once_and_then_one_every_twenty_seconds(subject: Subject) -> None:
    outcomes = [subject.buy() for _ in range(5)]

    assert [type(outcome) for outcome in outcomes] == [Begun] * 3 + [TooManyPurchases] * 2
    assert outcomes[-1] == TooManyPurchases(NOW + 60 * SECOND)
    assert subject.account.purchases_at == NOW + 60 * SECOND
    assert isinstance(subject.buy(now=NOW + 20 * SECOND - MILLISECOND), TooManyPurchases)
    assert isinstance(subject.buy(now=NOW + 20 * SECOND), Begun)
    assert isinstance(subject.buy(now=NOW + 20 * SECOND), TooManyPurchases)
    later = NOW + timedelta(hours=3)
    assert [type(subject.buy(now=later)) for _ in range(4)] == [Begun] * 3 + [TooManyPurchases]
    assert len(records_of(subject.ledger).purchases(subject.user_id)) == 7


def test_a_purchase_that_is_begun_is_stored_as_it_is_returned(subject: Subject) -> None:
    outcome = subject.buy("one")
    assert isinstance(outcome, Begun)
    assert records_of(subject.ledger).purchase(subject.user_id, "pur_one") == outcome.purchase
    assert outcome.purchases_at == NOW + 20 * SECOND


def test_a_purchase_of_the_same_id_is_found_and_not_counted(subject: Subject) -> None:
    first = subject.buy("one")
    assert isinstance(first, Begun)

    for number in range(6):
        again = subject.buy("one", NOW + number * SECOND, pack="large")
        assert again == BegunBefore(first.purchase)
    assert subject.account.purchases_at == NOW + 20 * SECOND
    subject.buy("two")
    subject.buy("three")
    assert subject.buy("one", pack="large") == BegunBefore(first.purchase), "also when the limit is used up"
    assert isinstance(subject.buy("four"), TooManyPurchases)
    assert records_of(subject.ledger).purchase(subject.user_id, "pur_four") is None


def test_a_purchase_needs_an_account(ledger: Ledger, user_id: str) -> None:
    subject = Subject(ledger, user_id, seen=True)
    account = replace(subject.account, user_id=f"{user_id} who is not there")
    purchase = replace(_begun(subject.buy()), user_id=account.user_id, purchase_id="pur_x", revision=0)
    with pytest.raises(CorruptLedgerError):
        records_of(ledger).begin(purchase, account, limit=THREE, now=NOW)
    assert records_of(ledger).purchase(account.user_id, "pur_x") is None


def _begun(outcome: PurchaseOutcome) -> Purchase:
    assert isinstance(outcome, Begun)
    return outcome.purchase


# --- several runs at once ---------------------------------------------------------------------------------------------


def test_several_runs_at_once_count_as_so_many(subject: Subject) -> None:
    """Of five, two and two are admitted, two more are not, and one is. A refusal counts nothing."""
    subject.give(100)
    for _ in range(2):
        assert isinstance(subject.place(subject.hold(), subject.hold()), Held)

    before = subject.account
    assert before.runs_at == NOW + 4 * FIVE.interval
    assert subject.place(subject.hold(), subject.hold()) == TooFast(before)
    assert subject.account == before

    assert isinstance(subject.place(subject.hold()), Held)
    later = NOW + 2 * FIVE.interval
    assert isinstance(subject.place(subject.hold(later - MILLISECOND), subject.hold(later - MILLISECOND)), TooFast)
    assert isinstance(subject.place(subject.hold(later), subject.hold(later)), Held)


def test_several_runs_at_once_that_are_cancelled_are_not_counted(subject: Subject) -> None:
    subject.give(100)
    subject.placed()
    pair = subject.hold(), subject.hold()
    assert isinstance(subject.place(*pair), Held)

    subject.ledger.cancel_hold(subject.user_id, *pair, now=NOW, rate=FIVE)

    assert subject.account.runs_at == NOW + FIVE.interval


def test_more_runs_at_once_than_the_limit_need_an_unused_one(subject: Subject) -> None:
    subject.give(100)
    three = RateLimit(name="runs", per_minute=3)
    assert isinstance(subject.place(*(subject.hold() for _ in range(4)), rate=three), Held)
    assert subject.account.runs_at == NOW + 4 * three.interval

    late = NOW + 4 * three.interval
    assert isinstance(subject.place(*(subject.hold(late - MILLISECOND) for _ in range(4)), rate=three), TooFast)
    assert isinstance(subject.place(*(subject.hold(late) for _ in range(4)), rate=three), Held)


def test_the_same_runs_at_once_are_counted_once(subject: Subject) -> None:
    pair = subject.hold(), subject.hold()

    first = subject.place(*pair)

    assert subject.place(*pair) == first
    assert subject.account.runs_at == NOW + 2 * FIVE.interval
