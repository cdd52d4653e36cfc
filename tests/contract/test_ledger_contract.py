"""What a ledger promises, for the one in memory and the one on a real engine alike; and how its items look there."""

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local.engine import Engine
from local.resources import client
from operate.operator_request import OperatorRequest
from operate.take_credits import TakeCredits
from playground.adapters import dynamo_items as items
from playground.adapters.dynamo_index import DynamoLeases
from playground.adapters.dynamo_keys import (
    account_key,
    entry_key,
    entry_sk,
    run_key,
    shard_of,
    turn_sk,
    user_pk,
)
from playground.adapters.dynamo_ledger import MAX_PAGES, DynamoLedger
from playground.adapters.dynamo_payments import DynamoPurchaseRecords
from playground.adapters.dynamo_sessions import DynamoSessions
from playground.adapters.dynamo_store import DynamoStore, Key, RawItem
from playground.domain.account import (
    Account,
    Change,
    Hold,
    Plan,
    cross_boundary,
    grant,
    note_payment,
    start_plus,
    write_entry,
)
from playground.domain.allowance import Allowance
from playground.domain.calendar import boundary, instant, iso
from playground.domain.credits import Buckets, Deltas
from playground.domain.entries import Entry, EntryType
from playground.domain.errors import CorruptLedgerError, SessionConflictError, StoreUnavailableError
from playground.domain.pricing import Price, Usage
from playground.domain.purchases import Claim, Purchase, PurchaseState, Stage, book_purchase
from playground.domain.runs import Failure, Measured, Run, RunFilter, RunPlace, RunStatus, UnpaidCost
from playground.domain.sessions import Session, Turn
from playground.domain.subscriptions import Subscription, SubscriptionSnapshot
from playground.ports import (
    AllowanceUsedUp,
    AlreadyHeld,
    Amend,
    Booking,
    CannotAfford,
    Conversation,
    Ended,
    Held,
    HoldOutcome,
    Leases,
    Ledger,
    NoSuchPlan,
    Paused,
    Sessions,
    TooManyHolds,
)
from playground.usecases.expire_holds import ExpireHolds
from tests.fakes import InMemoryLeases, InMemoryLedger, a_hold, charging, conversation, receipt
from tests.support import LEDGER_TABLE, SESSIONS_TABLE, all_entries, check_invariants

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
LIMIT = 20
ALL_RUNS = RunFilter()
ORDER = OperatorRequest(reference="order", reason="To be tried", operator="ops")


@dataclass(frozen=True)
class Books:
    """A ledger, the sessions that it writes, and its index of leases."""

    ledger: Ledger
    sessions: Sessions
    leases: Leases


@pytest.fixture(params=["memory", "dynamo"])
def books(request: pytest.FixtureRequest) -> Books:
    if request.param == "memory":
        ledger = InMemoryLedger()
        return Books(ledger, ledger.sessions, InMemoryLeases(ledger))
    store: DynamoStore = request.getfixturevalue("store")
    return Books(
        request.getfixturevalue("ledger"), DynamoSessions(store, SESSIONS_TABLE), DynamoLeases(store, LEDGER_TABLE)
    )


@pytest.fixture
def subject(books: Books) -> Ledger:
    return books.ledger


def checked(ledger: Ledger, user_id: str, now: datetime = NOW) -> Account:
    """The account, which adds up."""
    account = ledger.account(user_id, now)
    check_invariants(account, all_entries(ledger, user_id))
    return account


def hold_on(ledger: Ledger, user_id: str, hold: Hold, *, limit: int = LIMIT, now: datetime = NOW) -> Account:
    outcome = ledger.place_hold(user_id, hold, limit=limit, now=now)
    assert isinstance(outcome, Held)
    return outcome.account


def give_to(account: Account, credits_: int, key: str = "bonus", now: datetime = NOW) -> tuple[Account, Entry]:
    return grant(account, credits_, type_=EntryType.BONUS, business_key=key, reason="For you", now=now)


def bonus(credits_: int, key: str = "bonus", now: datetime = NOW) -> Amend:
    def amend(account: Account) -> Change | None:
        after, entry = give_to(account, credits_, key, now)
        return after, (entry,)

    return amend


def give(ledger: Ledger, user_id: str, credits_: int, key: str = "bonus", now: datetime = NOW) -> Account:
    return ledger.change(user_id, bonus(credits_, key, now), business_key=key, now=now)


def plus(ledger: Ledger, user_id: str, *, anchor: datetime = NOW, entitled_until: datetime | None = None) -> Account:
    return ledger.change(
        user_id,
        lambda account: start_plus(account, allowance=200, entitled_until=entitled_until, now=anchor),
        business_key="plus",
        now=anchor,
    )


def settle(ledger: Ledger, account: Account, hold: Hold, cost: int, at: datetime = NOW) -> Ended:
    return ledger.settle(account, hold, charging(hold, cost, at), conversation(account.user_id, hold, at))


def release(ledger: Ledger, user_id: str, hold: Hold, at: datetime = NOW) -> Ended:
    return ledger.release(user_id, receipt(user_id, hold, RunStatus.RELEASED, at))


def expire(ledger: Ledger, user_id: str, hold: Hold, at: datetime = NOW) -> Ended:
    return ledger.release(user_id, receipt(user_id, hold, RunStatus.EXPIRED, at))


# --- opening ----------------------------------------------------------------------------------------------------------

FIRST_TOUCHES: Mapping[str, Callable[[Ledger, str], object]] = {
    "account": lambda ledger, user_id: ledger.account(user_id, NOW),
    "hold": lambda ledger, user_id: ledger.place_hold(user_id, a_hold("run_1", 1, NOW), limit=LIMIT, now=NOW),
    "hold that is too dear": lambda ledger, user_id: ledger.place_hold(
        user_id, a_hold("run_1", 6, NOW), limit=LIMIT, now=NOW
    ),
    "change": lambda ledger, user_id: give(ledger, user_id, 7),
    "change of nothing": lambda ledger, user_id: ledger.change(user_id, lambda _: None, business_key="no", now=NOW),
}


@pytest.mark.parametrize("touch", FIRST_TOUCHES.values(), ids=FIRST_TOUCHES.keys())
def test_whatever_comes_first_opens_the_account_once(
    subject: Ledger, user_id: str, touch: Callable[[Ledger, str], object]
) -> None:
    touch(subject, user_id)
    touch(subject, user_id)

    account = checked(subject, user_id, NOW + timedelta(days=1))
    entries = all_entries(subject, user_id)
    assert [entry.type for entry in entries].count(EntryType.SIGNUP) == 1
    assert entries[0].type is EntryType.SIGNUP
    assert entries[0].deltas == Deltas(purchased=5)
    assert (account.created_at, account.plan, account.due_at, account.debt) == (NOW, Plan.FREE, None, 0)


def test_accounts_of_different_users_have_nothing_in_common(subject: Ledger, user_id: str) -> None:
    other = f"{user_id}-other"
    hold = a_hold("run_1", 2, NOW)
    settle(subject, hold_on(subject, user_id, hold), hold, 2)
    give(subject, user_id, 10)

    assert checked(subject, other).balance == 5
    assert subject.run(other, "run_1") is None
    assert give(subject, other, 10).balance == 15


# --- place hold -------------------------------------------------------------------------------------------------------


def test_a_hold_is_set_aside_as_it_was_placed(subject: Ledger, user_id: str) -> None:
    hold = a_hold("run_1", 3, NOW)

    outcome = subject.place_hold(user_id, hold, limit=LIMIT, now=NOW)

    account = checked(subject, user_id)
    assert outcome == Held(account, ended_before=False)
    assert account.holds == {"run_1": hold}
    assert (account.balance, account.held, account.available) == (5, 3, 2)
    assert subject.run(user_id, "run_1") is None


def test_everything_that_is_available_can_be_held_and_nothing_more(subject: Ledger, user_id: str) -> None:
    hold_on(subject, user_id, a_hold("run_1", 3, NOW))

    refused = subject.place_hold(user_id, a_hold("run_2", 3, NOW), limit=LIMIT, now=NOW)
    assert refused == CannotAfford(checked(subject, user_id))
    assert isinstance(refused, CannotAfford)
    assert refused.account.available == 2

    assert hold_on(subject, user_id, a_hold("run_2", 2, NOW)).available == 0
    assert isinstance(subject.place_hold(user_id, a_hold("run_3", 1, NOW), limit=LIMIT, now=NOW), CannotAfford)
    assert checked(subject, user_id).held == 5


def test_no_more_holds_than_the_limit(subject: Ledger, user_id: str) -> None:
    give(subject, user_id, 100)
    for number in range(3):
        hold_on(subject, user_id, a_hold(f"run_{number}", 1, NOW), limit=3)

    refused = subject.place_hold(user_id, a_hold("run_3", 1, NOW), limit=3, now=NOW)
    assert refused == TooManyHolds(checked(subject, user_id))
    assert isinstance(refused, TooManyHolds)
    assert len(refused.account.holds) == 3

    release(subject, user_id, a_hold("run_1", 1, NOW))
    assert set(hold_on(subject, user_id, a_hold("run_3", 1, NOW), limit=3).holds) == {"run_0", "run_2", "run_3"}


def test_the_limit_is_named_before_the_price(subject: Ledger, user_id: str) -> None:
    hold_on(subject, user_id, a_hold("run_1", 5, NOW), limit=1)

    assert isinstance(subject.place_hold(user_id, a_hold("run_2", 99, NOW), limit=1, now=NOW), TooManyHolds)


def test_another_attempt_of_a_held_run_gets_already_held(subject: Ledger, user_id: str) -> None:
    """Also at the limit and without a credit left: what it is told is that its run is at work."""
    there = a_hold("run_1", 5, NOW)
    hold_on(subject, user_id, there, limit=1)

    outcome = subject.place_hold(user_id, a_hold("run_1", 1, NOW, nonce="try_2"), limit=1, now=NOW)

    assert outcome == AlreadyHeld(checked(subject, user_id), there)
    assert subject.account(user_id, NOW).holds == {"run_1": there}


def test_the_same_attempt_holds_once(subject: Ledger, user_id: str) -> None:
    hold = a_hold("run_1", 5, NOW)
    first = subject.place_hold(user_id, hold, limit=1, now=NOW)

    again = subject.place_hold(user_id, hold, limit=1, now=NOW)

    assert again == first == Held(checked(subject, user_id), ended_before=False)
    assert subject.account(user_id, NOW).held == 5


@pytest.mark.parametrize(("late", "known"), [(5, 2), (2, 5)])
def test_a_hold_that_took_effect_late_gives_way_to_the_one_that_its_attempt_knows(
    subject: Ledger, user_id: str, late: int, known: int
) -> None:
    """Its write was refused when it was repeated, and took effect all the same while the attempt worked out what it can
    afford by then."""
    first = a_hold("run_1", late, NOW)
    hold = replace(first, ceiling=known)
    hold_on(subject, user_id, first, limit=1)

    outcome = subject.place_hold(user_id, hold, limit=1, now=NOW)

    account = checked(subject, user_id)
    assert outcome == Held(account, ended_before=True)
    assert (account.holds, account.available) == ({"run_1": hold}, 5 - known)
    assert settle(subject, account, hold, known).by_us
    account = checked(subject, user_id)
    assert (account.balance, account.held, account.available) == (5 - known, 0, 5 - known)


END: Mapping[str, Callable[[Ledger, Account, Hold], Ended]] = {
    "settled": lambda ledger, account, hold: settle(ledger, account, hold, 1),
    "released": lambda ledger, account, hold: release(ledger, account.user_id, hold),
    "expired": lambda ledger, account, hold: expire(ledger, account.user_id, hold),
}


@pytest.mark.parametrize("end", END.values(), ids=END.keys())
def test_the_account_remembers_that_a_run_has_ended(
    subject: Ledger, user_id: str, end: Callable[[Ledger, Account, Hold], Ended]
) -> None:
    """Also if the reply is lost and the attempt holds again."""
    first, second = a_hold("run_1", 2, NOW), a_hold("run_1", 2, NOW, nonce="try_2")
    assert end(subject, hold_on(subject, user_id, first), first).by_us

    placed = [subject.place_hold(user_id, second, limit=LIMIT, now=NOW) for _ in range(2)]

    assert placed == [Held(subject.account(user_id, NOW), ended_before=True)] * 2


def test_a_due_boundary_is_crossed_before_the_hold(subject: Ledger, user_id: str) -> None:
    """What was not there before the boundary can be held after it, and the other way round."""
    plus(subject, user_id)  # 205
    spent = a_hold("run_1", 200, NOW)
    settle(subject, hold_on(subject, user_id, spent), spent, 200)
    due = boundary(NOW, 1)
    late = due + SECOND
    hold = a_hold("run_2", 205, late)

    assert isinstance(subject.place_hold(user_id, hold, limit=LIMIT, now=due - SECOND), CannotAfford)
    account = hold_on(subject, user_id, hold, now=late)

    assert account == checked(subject, user_id, late)
    assert (account.period, account.due_at, account.buckets) == (
        1,
        boundary(NOW, 2),
        Buckets(monthly=200, purchased=5),
    )


def test_what_a_boundary_takes_cannot_be_held_after_it(subject: Ledger, user_id: str) -> None:
    due = boundary(NOW, 1)
    plus(subject, user_id, entitled_until=due)
    late = boundary(NOW, 2)  # one boundary made rollover of 200, the next takes it

    outcome = subject.place_hold(user_id, a_hold("run_1", 6, late), limit=LIMIT, now=late)

    assert outcome == CannotAfford(checked(subject, user_id, late))
    assert isinstance(outcome, CannotAfford)
    assert outcome.account.buckets == Buckets(purchased=5)


def test_at_the_very_moment_of_the_boundary_it_is_crossed(subject: Ledger, user_id: str) -> None:
    plus(subject, user_id)

    assert hold_on(subject, user_id, a_hold("run_1", 1, NOW), now=boundary(NOW, 1)).period == 1


# --- several holds in one step ----------------------------------------------------------------------------------------


def three_holds(ceiling: int = 1, *, nonce: str = "try") -> list[Hold]:
    return [a_hold(f"run_{number}", ceiling, NOW, nonce=f"{nonce}_{number}") for number in range(3)]


def test_several_holds_are_placed_together(subject: Ledger, user_id: str) -> None:
    holds = three_holds()

    outcome = subject.place_hold(user_id, *holds, limit=LIMIT, now=NOW)

    account = checked(subject, user_id)
    assert outcome == Held(account, ended_before=False)
    assert account.holds == {hold.run_id: hold for hold in holds}
    assert (account.balance, account.held, account.available) == (5, 3, 2)


def test_several_holds_are_refused_together(subject: Ledger, user_id: str) -> None:
    """By the sum of their credits, and by their number; each of them alone would be placed."""
    give(subject, user_id, 1)

    assert subject.place_hold(user_id, *three_holds(3), limit=LIMIT, now=NOW) == CannotAfford(checked(subject, user_id))
    assert subject.place_hold(user_id, *three_holds(), limit=2, now=NOW) == TooManyHolds(checked(subject, user_id))
    assert subject.account(user_id, NOW).holds == {}
    assert set(hold_many(subject, user_id, *three_holds(2), limit=3).holds) == {"run_0", "run_1", "run_2"}


def test_several_holds_leave_room_for_those_that_are_open(subject: Ledger, user_id: str) -> None:
    hold_on(subject, user_id, a_hold("run_9", 1, NOW))

    assert isinstance(subject.place_hold(user_id, *three_holds(), limit=3, now=NOW), TooManyHolds)
    assert isinstance(subject.place_hold(user_id, *three_holds(2), limit=4, now=NOW), CannotAfford)
    assert len(hold_many(subject, user_id, *three_holds(), limit=4).holds) == 4


@pytest.mark.parametrize("which", range(3))
def test_one_run_that_is_held_refuses_all(subject: Ledger, user_id: str, which: int) -> None:
    there = a_hold(f"run_{which}", 1, NOW, nonce="somebody else")
    hold_on(subject, user_id, there)

    outcome = subject.place_hold(user_id, *three_holds(), limit=LIMIT, now=NOW)

    assert outcome == AlreadyHeld(checked(subject, user_id), there)
    assert subject.account(user_id, NOW).holds == {there.run_id: there}


def test_the_same_holds_are_placed_once(subject: Ledger, user_id: str) -> None:
    first = subject.place_hold(user_id, *three_holds(), limit=3, now=NOW)

    assert subject.place_hold(user_id, *three_holds(), limit=3, now=NOW) == first
    assert checked(subject, user_id).held == 3


def test_several_holds_that_took_effect_late_give_way_together(subject: Ledger, user_id: str) -> None:
    """Also those whose ceilings are the same."""
    late = three_holds(2)
    known = [late[0], replace(late[1], ceiling=1), replace(late[2], ceiling=1)]
    give(subject, user_id, 1)
    hold_many(subject, user_id, *late)

    outcome = subject.place_hold(user_id, *known, limit=3, now=NOW)

    account = checked(subject, user_id)
    assert outcome == Held(account, ended_before=True)
    assert (account.holds, account.held) == ({hold.run_id: hold for hold in known}, 4)


def test_holds_of_which_one_has_ended_say_so_when_they_are_placed_again(subject: Ledger, user_id: str) -> None:
    """The reply was lost, and another worker ended one of the runs before the repeat."""
    hold_many(subject, user_id, *three_holds())
    expire(subject, user_id, three_holds()[1])

    outcome = subject.place_hold(user_id, *three_holds(), limit=LIMIT, now=NOW)

    assert outcome == Held(checked(subject, user_id), ended_before=True)
    assert set(subject.account(user_id, NOW).holds) == {"run_0", "run_2"}


@pytest.mark.parametrize("which", range(3))
def test_the_account_remembers_any_of_several_that_ended(subject: Ledger, user_id: str, which: int) -> None:
    hold = a_hold(f"run_{which}", 1, NOW)
    release(subject, hold_on(subject, user_id, hold).user_id, hold)

    outcome = subject.place_hold(user_id, *three_holds(), limit=LIMIT, now=NOW)

    assert outcome == Held(checked(subject, user_id), ended_before=True)


def test_several_holds_end_one_by_one(books: Books, user_id: str) -> None:
    ledger, (first, second, third) = books.ledger, three_holds()
    account = hold_many(ledger, user_id, first, second, third)

    assert settle(ledger, account, first, 1).by_us
    assert release(ledger, user_id, second).by_us
    assert settle(ledger, account, third, 1).by_us

    account = checked(ledger, user_id)
    assert (account.balance, account.held, account.holds) == (3, 0, {})


def test_several_holds_are_cancelled_together_or_not_at_all(subject: Ledger, user_id: str) -> None:
    holds = three_holds()
    hold_many(subject, user_id, *holds)
    foreign = replace(holds[1], nonce="somebody else")

    subject.cancel_hold(user_id, holds[0], foreign, holds[2], now=NOW)
    assert checked(subject, user_id).held == 3

    subject.cancel_hold(user_id, *holds, now=NOW)
    assert (checked(subject, user_id).holds, subject.run(user_id, "run_0")) == ({}, None)
    outcome = subject.place_hold(user_id, *three_holds(nonce="again"), limit=LIMIT, now=NOW)
    assert isinstance(outcome, Held)
    assert outcome.ended_before


def test_several_holds_that_are_cancelled_repay_debt_one_after_the_other(subject: Ledger, user_id: str) -> None:
    """Everything is held while four credits are taken back."""
    holds = three_holds()
    hold_many(subject, user_id, *holds, a_hold("run_9", 2, NOW))
    taken = TakeCredits(subject)(user_id, 4, ORDER, now=NOW).account
    assert (taken.debt, taken.available) == (4, 0)

    subject.cancel_hold(user_id, *holds, now=NOW)

    account = checked(subject, user_id)
    assert (account.debt, account.available, set(account.holds)) == (1, 0, {"run_9"})


def test_several_holds_count_as_so_many_failures(subject: Ledger, user_id: str) -> None:
    for_two = Allowance(failed_runs_per_hour=2, unpaid_nano_per_day=10**12, nano_per_credit=1)

    refused = subject.place_hold(user_id, *three_holds()[:2], a_hold("run_9", 1, NOW), limit=3, now=NOW)
    assert isinstance(refused, Held)
    subject.cancel_hold(user_id, *three_holds()[:2], now=NOW)

    outcome = subject.place_hold(user_id, *three_holds()[:2], limit=LIMIT, now=NOW, allowance=for_two)
    assert outcome == AllowanceUsedUp(checked(subject, user_id))
    subject.cancel_hold(user_id, a_hold("run_9", 1, NOW), now=NOW)
    outcome = subject.place_hold(user_id, *three_holds()[:2], limit=LIMIT, now=NOW, allowance=for_two)
    assert isinstance(outcome, Held)


def test_more_at_once_than_may_fail_in_an_hour_need_an_unused_allowance(subject: Ledger, user_id: str) -> None:
    for_two = Allowance(failed_runs_per_hour=2, unpaid_nano_per_day=10**12, nano_per_credit=1)

    def place(*holds: Hold) -> HoldOutcome:
        return subject.place_hold(user_id, *holds, limit=LIMIT, now=NOW, allowance=for_two)

    assert isinstance(place(a_hold("run_9", 1, NOW)), Held)
    assert isinstance(place(*three_holds()), AllowanceUsedUp)
    subject.cancel_hold(user_id, a_hold("run_9", 1, NOW), now=NOW)
    assert isinstance(place(*three_holds()), Held)


def test_what_several_runs_may_cost_is_admitted_as_one_sum(subject: Ledger, user_id: str) -> None:
    """A day's cost covers two credits: one hold of 1 beside another, but not two beside it."""
    small = Allowance(failed_runs_per_hour=20, unpaid_nano_per_day=200, nano_per_credit=100)

    def place(*holds: Hold) -> HoldOutcome:
        return subject.place_hold(user_id, *holds, limit=LIMIT, now=NOW, allowance=small)

    assert isinstance(place(a_hold("run_9", 1, NOW)), Held)
    assert isinstance(place(*three_holds()[:2]), AllowanceUsedUp)
    assert isinstance(place(three_holds()[0]), Held)


def hold_many(ledger: Ledger, user_id: str, *holds: Hold, limit: int = LIMIT) -> Account:
    outcome = ledger.place_hold(user_id, *holds, limit=limit, now=NOW)
    assert isinstance(outcome, Held)
    return outcome.account


# --- settle -----------------------------------------------------------------------------------------------------------


def test_settling_pays_and_stores_the_answer_at_once(books: Books, user_id: str) -> None:
    ledger, hold, other = books.ledger, a_hold("run_1", 4, NOW), a_hold("run_2", 1, NOW)
    hold_on(ledger, user_id, other)
    account = hold_on(ledger, user_id, hold)

    ended = settle(ledger, account, hold, 3, NOW + SECOND)

    account = checked(ledger, user_id)
    entry = all_entries(ledger, user_id)[-1]
    run = ledger.run(user_id, "run_1")
    assert run is not None
    assert ended == Ended(run, by_us=True)
    assert account.holds == {"run_2": other}
    assert (account.buckets, account.held, account.available) == (Buckets(purchased=2), 1, 1)
    assert (entry.type, entry.deltas, entry.run_id, entry.session_id) == (
        EntryType.SPEND,
        Deltas(purchased=-3),
        "run_1",
        hold.session_id,
    )
    assert (run.status, run.charged, run.deltas, run.balance_after, run.entry_seq, run.entry_hash) == (
        RunStatus.SETTLED,
        3,
        entry.deltas,
        2,
        entry.seq,
        entry.hash,
    )
    assert books.sessions.turns(hold.session_id) == [conversation(user_id, hold, NOW + SECOND).turn]
    assert books.sessions.turn(hold.session_id, 1) == conversation(user_id, hold, NOW + SECOND).turn


def test_spends_monthly_then_rollover_then_purchased(subject: Ledger, user_id: str) -> None:
    plus(subject, user_id)
    now = boundary(NOW, 1)  # 200 monthly, 200 rollover, 5 purchased
    holds = [a_hold("run_1", 150, now), a_hold("run_2", 100, now), a_hold("run_3", 155, now)]
    for hold in holds:
        hold_on(subject, user_id, hold, now=now)
    for hold in holds:
        assert settle(subject, subject.account(user_id, now), hold, hold.ceiling, now).by_us

    spends = [entry.deltas for entry in all_entries(subject, user_id) if entry.type is EntryType.SPEND]
    assert spends == [
        Deltas(monthly=-150),
        Deltas(monthly=-50, rollover=-50),
        Deltas(rollover=-150, purchased=-5),
    ]
    assert checked(subject, user_id, now).balance == 0


def test_a_settlement_is_worked_out_again_when_the_account_has_moved(subject: Ledger, user_id: str) -> None:
    """Before it was written, and while it was worked out."""
    hold = a_hold("run_1", 5, NOW)
    account = hold_on(subject, user_id, hold)
    give(subject, user_id, 10, "first")
    charge, seen = charging(hold, 5, NOW), list[int]()

    def conclude(account: Account) -> tuple[Account, Run, Sequence[Entry]]:
        seen.append(account.version)
        if len(seen) == 2:
            give(subject, user_id, 20, "second")
            hold_on(subject, user_id, a_hold("run_2", 1, NOW))
        return charge(account)

    ended = subject.settle(account, hold, conclude, conversation(user_id, hold, NOW))

    assert (ended.by_us, ended.run.entry_seq, ended.run.balance_after) == (True, 4, 30)
    assert seen == [1, 2, 3]
    account = checked(subject, user_id)
    assert (account.balance, account.held) == (30, 1)


def test_a_hold_placed_meanwhile_does_not_disturb_a_settlement(subject: Ledger, user_id: str) -> None:
    """Holds leave the version alone: the settlement goes through at the first try, and keeps them."""
    hold, other = a_hold("run_1", 2, NOW), a_hold("run_2", 2, NOW)
    account = hold_on(subject, user_id, hold)
    hold_on(subject, user_id, other)
    charge, calls = charging(hold, 2, NOW), list[Account]()

    def conclude(account: Account) -> tuple[Account, Run, Sequence[Entry]]:
        calls.append(account)
        return charge(account)

    assert subject.settle(account, hold, conclude, conversation(user_id, hold, NOW)).by_us

    assert len(calls) == 1
    account = checked(subject, user_id)
    assert (account.holds, account.held, account.available) == ({"run_2": other}, 2, 1)


def test_settling_twice_charges_once_and_is_ours_both_times(books: Books, user_id: str) -> None:
    ledger, hold = books.ledger, a_hold("run_1", 3, NOW)
    account = hold_on(ledger, user_id, hold)
    first = settle(ledger, account, hold, 2)

    assert settle(ledger, account, hold, 2) == first == Ended(first.run, by_us=True)

    assert checked(ledger, user_id).balance == 3
    assert len(books.sessions.turns(hold.session_id)) == 1


@pytest.mark.parametrize(
    ("end", "status"), [(release, RunStatus.RELEASED), (expire, RunStatus.EXPIRED)], ids=["released", "expired"]
)
def test_what_was_given_back_is_not_charged_any_more(
    books: Books, user_id: str, end: Callable[[Ledger, str, Hold], Ended], status: RunStatus
) -> None:
    ledger, hold = books.ledger, a_hold("run_1", 3, NOW)
    account = hold_on(ledger, user_id, hold)
    end(ledger, user_id, hold)

    ended = settle(ledger, account, hold, 2)

    assert ended == Ended(receipt(user_id, hold, status, NOW), by_us=False)
    account = checked(ledger, user_id)
    assert (account.balance, account.held, account.version) == (5, 0, 1)
    assert not books.sessions.turns(hold.session_id)
    assert ledger.run(user_id, "run_1") == ended.run


@pytest.mark.parametrize("end", [release, expire], ids=["release", "expire"])
def test_what_was_charged_is_not_given_back_any_more(
    subject: Ledger, user_id: str, end: Callable[[Ledger, str, Hold], Ended]
) -> None:
    hold = a_hold("run_1", 3, NOW)
    settled = settle(subject, hold_on(subject, user_id, hold), hold, 2)

    assert end(subject, user_id, hold) == Ended(settled.run, by_us=False)

    account = checked(subject, user_id)
    assert (account.balance, account.available) == (3, 3)


@pytest.mark.parametrize("end", END.values(), ids=END.keys())
@pytest.mark.parametrize("last", END.values(), ids=END.keys())
def test_a_hold_that_outlived_its_run_is_given_back_with_the_outcome_on_record(
    subject: Ledger,
    user_id: str,
    end: Callable[[Ledger, Account, Hold], Ended],
    last: Callable[[Ledger, Account, Hold], Ended],
) -> None:
    """A second attempt held after the first had ended the run: it ends as the first did."""
    first, second = a_hold("run_1", 2, NOW), a_hold("run_1", 3, NOW, nonce="try_2")
    recorded = end(subject, hold_on(subject, user_id, first), first).run
    account = hold_on(subject, user_id, second)

    assert last(subject, account, second) == Ended(recorded, by_us=False)

    account = checked(subject, user_id)
    assert (account.held, account.balance) == (0, 5 - recorded.charged)
    assert subject.run(user_id, "run_1") == recorded


@pytest.mark.parametrize("end", END.values(), ids=END.keys())
def test_only_the_attempt_that_holds_can_end_the_run(
    subject: Ledger, user_id: str, end: Callable[[Ledger, Account, Hold], Ended]
) -> None:
    hold, impostor = a_hold("run_1", 2, NOW), a_hold("run_1", 2, NOW, nonce="try_2")
    account = hold_on(subject, user_id, hold)

    with pytest.raises(CorruptLedgerError):  # it claims a hold that is not there, and there is no receipt
        end(subject, account, impostor)

    account = checked(subject, user_id)
    assert account.holds == {"run_1": hold}
    assert (account.balance, account.held) == (5, 2)
    assert subject.run(user_id, "run_1") is None


# --- release and expire -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [release, expire], ids=["release", "expire"])
def test_giving_back_twice_gives_back_once(
    subject: Ledger, user_id: str, end: Callable[[Ledger, str, Hold], Ended]
) -> None:
    hold, other = a_hold("run_1", 3, NOW), a_hold("run_2", 1, NOW)
    hold_on(subject, user_id, hold)
    hold_on(subject, user_id, other)

    first = end(subject, user_id, hold)
    again = end(subject, user_id, hold)

    assert again == first == Ended(first.run, by_us=True)
    account = checked(subject, user_id)
    assert (account.holds, account.held, account.available) == ({"run_2": other}, 1, 4)
    assert subject.run(user_id, "run_1") == first.run


@pytest.mark.parametrize(("first", "second"), [(release, expire), (expire, release)], ids=["release", "expire"])
def test_who_comes_second_reads_how_the_run_ended(
    subject: Ledger,
    user_id: str,
    first: Callable[[Ledger, str, Hold], Ended],
    second: Callable[[Ledger, str, Hold], Ended],
) -> None:
    hold = a_hold("run_1", 3, NOW)
    hold_on(subject, user_id, hold)
    run = first(subject, user_id, hold).run

    assert second(subject, user_id, hold) == Ended(run, by_us=False)
    assert checked(subject, user_id).available == 5


def test_a_dead_hold_is_counted_by_the_one_who_gave_it_back(subject: Ledger, user_id: str) -> None:
    """Two sweeps have seen the same account: the hold's nonce is in both receipts, the credits came back once."""
    later = NOW + timedelta(hours=2)
    account = hold_on(subject, user_id, a_hold("run_1", 3, NOW))
    sweep = ExpireHolds(subject)

    assert sweep(account, now=later) == 1
    assert sweep(account, now=later + SECOND) == 0
    assert checked(subject, user_id, later).available == 5


def test_a_cancelled_hold_leaves_nothing_behind(subject: Ledger, user_id: str) -> None:
    hold = a_hold("run_1", 3, NOW)
    hold_on(subject, user_id, hold)

    subject.cancel_hold(user_id, hold, now=NOW)
    subject.cancel_hold(user_id, hold, now=NOW)

    account = checked(subject, user_id)
    assert (account.holds, account.available) == ({}, 5)
    assert subject.run(user_id, "run_1") is None
    assert hold_on(subject, user_id, replace(hold, nonce="try_2")).held == 3


def test_cancelling_concerns_only_the_hold_of_the_attempt(subject: Ledger, user_id: str) -> None:
    hold = a_hold("run_1", 3, NOW)
    account = hold_on(subject, user_id, hold)

    subject.cancel_hold(user_id, replace(hold, nonce="try_2"), now=NOW)
    subject.cancel_hold(user_id, a_hold("run_2", 3, NOW), now=NOW)
    assert checked(subject, user_id).holds == {"run_1": hold}

    settle(subject, account, hold, 2)
    subject.cancel_hold(user_id, hold, now=NOW)
    account = checked(subject, user_id)
    assert (account.balance, account.available) == (3, 3)
    assert isinstance(run := subject.run(user_id, "run_1"), Run)
    assert run.status is RunStatus.SETTLED


def test_a_run_is_asked_to_stop(subject: Ledger, user_id: str) -> None:
    hold, other = a_hold("run_1", 2, NOW), a_hold("run_2", 2, NOW)
    hold_on(subject, user_id, hold)
    before = hold_on(subject, user_id, other)
    assert not subject.should_stop(user_id, hold)

    assert subject.ask_to_stop(user_id, "run_1")
    assert subject.ask_to_stop(user_id, "run_1")

    assert subject.should_stop(user_id, hold)
    assert not subject.should_stop(user_id, other)
    account = checked(subject, user_id)
    assert account == before
    assert [each.stop for each in account.holds.values()] == [True, False]
    ended = settle(subject, before, hold, 1)  # as if it had not been asked: what comes first counts
    assert (ended.by_us, ended.run.status) == (True, RunStatus.SETTLED)


def test_a_run_that_has_no_hold_is_not_asked_and_goes_no_further(subject: Ledger, user_id: str) -> None:
    hold = a_hold("run_1", 2, NOW)
    assert not subject.ask_to_stop(user_id, "run_1")
    assert subject.should_stop(user_id, hold)

    hold_on(subject, user_id, hold)
    assert subject.should_stop(user_id, replace(hold, nonce="try_2"))
    release(subject, user_id, hold)

    assert not subject.ask_to_stop(user_id, "run_1")
    assert subject.should_stop(user_id, hold)
    assert checked(subject, user_id).available == 5


def test_cancelling_does_nothing_for_a_user_who_was_never_here(subject: Ledger, user_id: str) -> None:
    subject.cancel_hold(user_id, a_hold("run_1", 3, NOW), now=NOW)

    assert checked(subject, user_id).available == 5


# --- leases -----------------------------------------------------------------------------------------------------------


def due(leases: Leases, user_id: str, now: datetime) -> bool:
    """Whether the index has this user as one to look after at `now`."""
    for shard in range(leases.shards):
        after: str | None = None
        for _ in range(1000):
            users, after = leases.due(shard, now=now, after=after, limit=7)
            if user_id in users:
                return True
            if after is None:
                break
    return False


def test_an_account_is_in_the_index_of_leases_while_it_may_have_a_dead_one(books: Books, user_id: str) -> None:
    ledger, leases = books.ledger, books.leases
    first, second = a_hold("run_1", 1, NOW), a_hold("run_2", 1, NOW + SECOND)
    assert not due(leases, user_id, first.lease_at)

    hold_on(ledger, user_id, first)
    hold_on(ledger, user_id, second)
    assert not due(leases, user_id, first.lease_at - SECOND)
    assert due(leases, user_id, first.lease_at)

    release(ledger, user_id, first)
    assert due(leases, user_id, first.lease_at)  # too early does no harm
    assert ledger.correct_lease(ledger.account(user_id, NOW))
    assert not due(leases, user_id, first.lease_at)
    assert due(leases, user_id, second.lease_at)

    release(ledger, user_id, second)
    assert ledger.correct_lease(ledger.account(user_id, NOW))
    assert not due(leases, user_id, second.lease_at)
    hold_on(ledger, user_id, a_hold("run_3", 1, NOW))
    assert due(leases, user_id, first.lease_at)


def test_a_hold_with_an_earlier_lease_than_the_first_is_found_when_that_ends(books: Books, user_id: str) -> None:
    """Who began before the others and took longer than they to place a hold: its lease ends first."""
    ledger, leases = books.ledger, books.leases
    quick, slow = a_hold("run_1", 1, NOW + 20 * SECOND), a_hold("run_2", 1, NOW)

    hold_on(ledger, user_id, quick)
    hold_on(ledger, user_id, slow)

    assert not due(leases, user_id, slow.lease_at - SECOND)
    assert due(leases, user_id, slow.lease_at)
    assert checked(ledger, user_id).holds == {"run_1": quick, "run_2": slow}
    release(ledger, user_id, slow)
    assert ledger.correct_lease(ledger.account(user_id, NOW))
    assert not due(leases, user_id, quick.lease_at - SECOND)
    assert due(leases, user_id, quick.lease_at)


@pytest.mark.parametrize("seen", ["nothing", "the first"])
def test_a_lease_is_not_corrected_by_who_has_not_seen_the_hold(books: Books, user_id: str, seen: str) -> None:
    ledger, leases = books.ledger, books.leases
    first, second = a_hold("run_1", 1, NOW), a_hold("run_2", 1, NOW + SECOND)
    account = ledger.account(user_id, NOW)
    if seen == "the first":
        account = hold_on(ledger, user_id, first)
        release(ledger, user_id, first)
    hold_on(ledger, user_id, second)

    assert not ledger.correct_lease(account)

    assert due(leases, user_id, second.lease_at)
    assert checked(ledger, user_id).holds == {"run_2": second}


def test_there_is_no_lease_to_correct_of_a_user_who_was_never_here(books: Books, user_id: str) -> None:
    nobody = Account(user_id=user_id, created_at=NOW)

    assert not books.ledger.correct_lease(nobody)

    assert checked(books.ledger, user_id).version == 1


# --- turns of a session -----------------------------------------------------------------------------------------------


def test_turns_of_a_session_follow_each_other(books: Books, user_id: str) -> None:
    ledger, session_id = books.ledger, f"ses_{user_id}"
    for number in (1, 2, 3):
        hold = a_hold(f"run_{number}", 1, NOW, session_id=session_id)
        account = hold_on(ledger, user_id, hold)
        ledger.settle(account, hold, charging(hold, 1, NOW), conversation(user_id, hold, NOW, turns=number))

    assert [turn.run_id for turn in books.sessions.turns(session_id)] == ["run_1", "run_2", "run_3"]
    assert books.sessions.turn(session_id, 4) is None
    assert checked(ledger, user_id).balance == 2


@pytest.mark.parametrize("turns", [1, 3], ids=["opened already", "behind"])
def test_a_session_that_moved_meanwhile_takes_no_turn_and_no_credit(books: Books, user_id: str, turns: int) -> None:
    ledger, session_id = books.ledger, f"ses_{user_id}"
    first, second = (a_hold(f"run_{number}", 1, NOW, session_id=session_id) for number in (1, 2))
    ledger.settle(
        hold_on(ledger, user_id, first), first, charging(first, 1, NOW), conversation(user_id, first, NOW, turns=1)
    )
    account = hold_on(ledger, user_id, second)

    with pytest.raises(SessionConflictError):
        ledger.settle(account, second, charging(second, 1, NOW), conversation(user_id, second, NOW, turns=turns))

    account = checked(ledger, user_id)
    assert (account.holds, account.balance) == ({"run_2": second}, 4)
    assert ledger.run(user_id, "run_2") is None
    assert [turn.run_id for turn in books.sessions.turns(session_id)] == ["run_1"]
    assert release(ledger, user_id, second).by_us


def test_a_foreign_session_cannot_be_continued(books: Books, user_id: str) -> None:
    ledger, session_id = books.ledger, f"ses_{user_id}"
    mine = a_hold("run_1", 1, NOW, session_id=session_id)
    settle(ledger, hold_on(ledger, user_id, mine), mine, 1)
    theirs = a_hold("run_2", 1, NOW, session_id=session_id)
    other = f"{user_id}-other"
    account = hold_on(ledger, other, theirs)

    with pytest.raises(SessionConflictError):
        ledger.settle(account, theirs, charging(theirs, 1, NOW), conversation(other, theirs, NOW, turns=2))

    assert checked(ledger, other).balance == 5
    assert len(books.sessions.turns(session_id)) == 1


# --- change -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("amount", [10, 99], ids=["the same", "another amount"])
def test_a_business_key_has_one_effect_for_ever(subject: Ledger, user_id: str, amount: int) -> None:
    assert give(subject, user_id, 10).balance == 15
    years_later = NOW + timedelta(days=3650)

    again = subject.change(
        user_id, bonus(amount, "a key of its own", years_later), business_key="bonus", now=years_later
    )

    assert again.balance == 15
    assert checked(subject, user_id, years_later).version == 2


def test_other_keys_are_other_changes(subject: Ledger, user_id: str) -> None:
    give(subject, user_id, 10, "first")

    assert give(subject, user_id, 10, "second").balance == 25
    assert checked(subject, user_id).version == 3


def test_a_change_that_comes_to_nothing_does_not_use_up_its_key(subject: Ledger, user_id: str) -> None:
    unchanged = subject.change(user_id, lambda account: None, business_key="bonus", now=NOW)

    assert unchanged.balance == 5
    assert give(subject, user_id, 10).balance == 15


def test_a_change_is_worked_out_again_when_the_account_has_moved(subject: Ledger, user_id: str) -> None:
    seen: list[int] = []

    def amend(account: Account) -> Change:
        seen.append(account.balance)
        if len(seen) == 1:
            give(subject, user_id, 20, "meanwhile")
        after, entry = give_to(account, account.balance, "doubled")
        return after, (entry,)

    after = subject.change(user_id, amend, business_key="doubled", now=NOW)

    assert seen == [5, 25]
    assert after.balance == checked(subject, user_id).balance == 50


def test_a_change_without_entries_is_not_undone_by_one_that_began_before(subject: Ledger, user_id: str) -> None:
    """What belongs to the plan has no entry, and is not lost either."""
    until = NOW + timedelta(days=400)
    plus(subject, user_id, entitled_until=NOW + timedelta(days=31))

    def extend(account: Account) -> Change:
        return replace(account, entitled_until=until), ()

    def amend(account: Account) -> Change:
        subject.change(user_id, extend, business_key="extend", now=NOW)
        after, entry = give_to(account, 10)
        return after, (entry,)

    subject.change(user_id, amend, business_key="bonus", now=NOW)

    account = checked(subject, user_id)
    assert (account.balance, account.entitled_until) == (215, until)


def test_a_hold_placed_meanwhile_survives_a_change(subject: Ledger, user_id: str) -> None:
    hold = a_hold("run_1", 4, NOW)

    def amend(account: Account) -> Change:
        subject.place_hold(user_id, hold, limit=LIMIT, now=NOW)
        after, entry = give_to(account, 10)
        return after, (entry,)

    subject.change(user_id, amend, business_key="bonus", now=NOW)

    account = checked(subject, user_id)
    assert (account.balance, account.held, account.available, account.holds) == (15, 4, 11, {"run_1": hold})


def test_a_change_takes_nothing_that_is_held_meanwhile(subject: Ledger, user_id: str) -> None:
    hold = a_hold("run_1", 4, NOW)

    def amend(account: Account) -> Change:
        taken = account.available
        subject.place_hold(user_id, hold, limit=LIMIT, now=NOW)
        after, entry = take(account, taken)
        return after, (entry,)

    subject.change(user_id, amend, business_key="taken", now=NOW)

    account = checked(subject, user_id)
    assert (account.balance, account.held, account.available) == (4, 4, 0)


@pytest.mark.parametrize("entries", [0, 1])
def test_a_run_that_begins_and_ends_meanwhile_survives_a_change(subject: Ledger, user_id: str, entries: int) -> None:
    """The holds are the same before and after, and a settlement leaves the revision alone: the version has moved."""
    until = NOW + timedelta(days=400)
    plus(subject, user_id, entitled_until=NOW + timedelta(days=31))
    runs = iter(range(1))

    def amend(account: Account) -> Change:
        for _ in runs:
            hold = a_hold("run_1", 4, NOW)
            settle(subject, hold_on(subject, user_id, hold), hold, 3)
        after, entry = give_to(account, 10)
        return (after, (entry,)) if entries else (replace(account, entitled_until=until), ())

    subject.change(user_id, amend, business_key="bonus", now=NOW)

    account = checked(subject, user_id)
    assert (account.balance, account.available, account.held) == (202 + 10 * entries,) * 2 + (0,)


def take(account: Account, credits_: int) -> tuple[Account, Entry]:
    return write_entry(
        account, EntryType.ADMIN, Deltas(purchased=-credits_), business_key="taken", reason="Taken", now=NOW
    )


# --- pause ------------------------------------------------------------------------------------------------------------


def pausing(ledger: Ledger, user_id: str, paused_at: datetime | None, key: str) -> Account:
    return ledger.change(
        user_id, lambda account: (replace(account, paused_at=paused_at), ()), business_key=key, now=NOW
    )


def test_a_hold_that_needs_a_plan_is_refused_without_one(subject: Ledger, user_id: str) -> None:
    """By the plan as of now: one whose end nobody has written yet is over all the same."""
    plans = frozenset({Plan.PLUS})

    def place(run: str, now: datetime, plans: frozenset[Plan] | None = plans) -> object:
        return subject.place_hold(user_id, a_hold(run, 1, now), limit=LIMIT, now=now, plans=plans)

    refused = place("run_1", NOW)
    assert isinstance(refused, NoSuchPlan)
    assert (refused.account.plan, refused.account.held, refused.account.balance) == (Plan.FREE, 0, 5)
    assert isinstance(place("run_1", NOW, frozenset(Plan)), Held)
    assert isinstance(place("run_2", NOW, frozenset()), NoSuchPlan)
    until = NOW + timedelta(days=5)
    subject.change(
        user_id,
        lambda account: start_plus(account, allowance=200, entitled_until=until, now=NOW),
        business_key="plus",
        now=NOW,
    )
    assert isinstance(place("run_3", NOW), Held)
    assert isinstance(place("run_4", until - timedelta(seconds=1)), Held)
    ended = place("run_5", until)
    assert isinstance(ended, NoSuchPlan)
    assert (ended.account.plan, ended.account.held) == (Plan.FREE, 3)
    again = place("run_3", until)
    assert isinstance(again, Held), "what is held stays held, and its repeat finds it"


def test_a_paused_account_holds_nothing_new_and_its_open_runs_end(books: Books, user_id: str) -> None:
    ledger, hold = books.ledger, a_hold("run_1", 3, NOW)
    account = hold_on(ledger, user_id, hold)
    pausing(ledger, user_id, NOW, "pause")

    refused = ledger.place_hold(user_id, a_hold("run_2", 1, NOW), limit=LIMIT, now=NOW)
    assert isinstance(refused, Paused)
    assert (refused.account.paused_at, refused.account.held) == (NOW, 3)
    assert isinstance(ledger.place_hold(user_id, hold, limit=LIMIT, now=NOW), Held), "a repeat of the same attempt"
    other = ledger.place_hold(user_id, replace(hold, nonce="other"), limit=LIMIT, now=NOW)
    assert isinstance(other, AlreadyHeld)

    assert settle(ledger, account, hold, 2).by_us
    assert give(ledger, user_id, 10).balance == 13
    assert ledger.account(user_id, NOW).paused_at == NOW, "other changes leave it"

    pausing(ledger, user_id, None, "resume")
    assert isinstance(ledger.place_hold(user_id, a_hold("run_2", 1, NOW), limit=LIMIT, now=NOW), Held)


def test_a_pause_survives_boundaries(subject: Ledger, user_id: str) -> None:
    plus(subject, user_id)
    pausing(subject, user_id, NOW, "pause")
    account = subject.account(user_id, boundary(NOW, 2))
    assert (account.paused_at, account.buckets.monthly) == (NOW, 200)


# --- history ----------------------------------------------------------------------------------------------------------


def pages(ledger: Ledger, user_id: str, limit: int, type_: EntryType | None) -> Iterator[Sequence[Entry]]:
    before: int | None = None
    for _ in range(1000):
        page, before, _ = ledger.entries(user_id, before=before, limit=limit, type_=type_)
        yield page
        if before is None:
            return
    raise AssertionError("a history without end")


@pytest.mark.parametrize("type_", [None, EntryType.BONUS, EntryType.SPEND, EntryType.DEBT])
@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8, 100])
def test_pages_of_a_history_are_the_history(books: Books, user_id: str, limit: int, type_: EntryType | None) -> None:
    """Newest first, each entry once, whatever the size of the pages, and with holes where other types are."""
    ledger = books.ledger
    for number, kind in enumerate("bsbbsb"):  # with the first: seven entries
        if kind == "b":
            give(ledger, user_id, 1, f"bonus {number}")
        else:
            hold = a_hold(f"run_{number}", 1, NOW)
            settle(ledger, hold_on(ledger, user_id, hold), hold, 1)

    found = list(pages(ledger, user_id, limit, type_))

    assert all(len(page) <= limit for page in found)
    expected = [EntryType.BONUS, EntryType.SPEND, EntryType.BONUS, EntryType.BONUS, EntryType.SPEND, EntryType.BONUS]
    numbered = [(1, EntryType.SIGNUP), *enumerate(expected, 2)]
    assert [(entry.seq, entry.type) for page in found for entry in page] == [
        (seq, kind) for seq, kind in reversed(numbered) if type_ in (None, kind)
    ]
    assert all(found[:-1]), "a page is empty although there are more"


def test_the_last_page_says_that_it_is_the_last(subject: Ledger, user_id: str) -> None:
    give(subject, user_id, 1)

    page, before, _ = subject.entries(user_id, before=None, limit=2, type_=None)

    assert ([entry.seq for entry in page], before) == ([2, 1], None)


def test_a_page_begins_below_its_cursor(subject: Ledger, user_id: str) -> None:
    for number in range(4):
        give(subject, user_id, 1, f"bonus {number}")

    page, before, _ = subject.entries(user_id, before=4, limit=2, type_=None)
    assert ([entry.seq for entry in page], before) == ([3, 2], 2)
    assert subject.entries(user_id, before=1, limit=2, type_=None) == ([], None, [])
    page, *_ = subject.entries(user_id, before=10**12 - 1, limit=1, type_=None)
    assert [entry.seq for entry in page] == [5]


def test_a_history_before_the_account_exists_is_empty(subject: Ledger, user_id: str) -> None:
    assert subject.entries(user_id, before=None, limit=10, type_=None) == ([], None, [])


# --- runs -------------------------------------------------------------------------------------------------------------


def ended_run(
    ledger: Ledger,
    user_id: str,
    run_id: str,
    at: datetime = NOW,
    *,
    status: RunStatus = RunStatus.RELEASED,
    package: str | None = "@acme/reviewer",
    model: str = "sonnet",
) -> Run:
    """A run that ended at `at`, with its receipt."""
    hold = replace(a_hold(run_id, 1, NOW), model=model)
    account = hold_on(ledger, user_id, hold)
    if status is not RunStatus.SETTLED:
        return ledger.release(user_id, replace(receipt(user_id, hold, status, at), package=package)).run
    charge = charging(hold, 1, at)

    def conclude(account: Account) -> tuple[Account, Run, Sequence[Entry]]:
        after, run, entries = charge(account)
        return after, replace(run, package=package, model=model), entries

    return ledger.settle(account, hold, conclude, conversation(user_id, hold, at)).run


def run_pages(
    ledger: Ledger, user_id: str, limit: int, wanted: RunFilter = ALL_RUNS, after: RunPlace | None = None
) -> Iterator[Sequence[Run]]:
    for _ in range(1000):
        page, after, unreadable = ledger.ended_runs(user_id, wanted, after=after, limit=limit)
        assert unreadable == []
        assert len(page) <= limit
        yield page
        if after is None:
            return
    raise AssertionError("a list without end")


def listed_runs(ledger: Ledger, user_id: str, limit: int = 100, wanted: RunFilter = ALL_RUNS) -> Sequence[Run]:
    return [run for page in run_pages(ledger, user_id, limit, wanted) for run in page]


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 100])
def test_runs_are_listed_by_their_end_whatever_became_of_them(subject: Ledger, user_id: str, limit: int) -> None:
    """Not by their ids, which are hashes if there was a key; and those of others are not among them."""
    paid = ended_run(subject, user_id, "run_z", NOW, status=RunStatus.SETTLED)
    failed = ended_run(subject, user_id, "run_a", NOW + SECOND)
    expired = ended_run(subject, user_id, "run_m", NOW + 2 * SECOND, status=RunStatus.EXPIRED, package=None)
    again = ended_run(subject, user_id, "run_b", NOW + 3 * SECOND, status=RunStatus.SETTLED)
    hold_on(subject, user_id, a_hold("run_open", 1, NOW))
    ended_run(subject, f"{user_id} 2", "run_other", NOW + SECOND)

    assert listed_runs(subject, user_id, limit) == [again, expired, failed, paid]


def test_nobody_has_runs_before_the_first_one(subject: Ledger, user_id: str) -> None:
    assert subject.ended_runs(user_id, ALL_RUNS, after=None, limit=10) == ([], None, [])
    assert subject.receipts(user_id, ["run_1"]) == {}
    assert subject.receipts(user_id, []) == {}


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_runs_that_end_in_the_same_millisecond_are_all_listed_once(subject: Ledger, user_id: str, limit: int) -> None:
    runs = [ended_run(subject, user_id, f"run_{number}", NOW) for number in range(5)]
    runs.append(ended_run(subject, user_id, "run_5", NOW - SECOND))

    found = listed_runs(subject, user_id, limit)

    assert sorted(run.run_id for run in found) == [f"run_{number}" for number in range(6)]
    assert found[-1] == runs[-1]


def test_runs_that_end_while_pages_are_read_move_none_of_the_others(subject: Ledger, user_id: str) -> None:
    """Those that end later are above the first page. One whose worker's clock is slow may be on a later page, once."""
    before = [ended_run(subject, user_id, f"run_{each}", NOW + each * SECOND) for each in range(6)]
    found: list[str] = []
    for number, page in enumerate(run_pages(subject, user_id, 2)):
        found += [run.run_id for run in page]
        ended_run(subject, user_id, f"run_new_{number}", NOW + (10 + number) * SECOND)
        ended_run(subject, user_id, f"run_slow_{number}", NOW - (10 + number) * SECOND)

    assert [run_id for run_id in found if not run_id.startswith("run_slow")] == [run.run_id for run in reversed(before)]
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("limit", [1, 2, 100])
@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (RunFilter(package="@acme/reviewer"), ["run_5", "run_4", "run_2", "run_1"]),
        (RunFilter(package="@acme/unknown"), []),
        (RunFilter(model="opus"), ["run_4", "run_3"]),
        (RunFilter(status=RunStatus.SETTLED), ["run_5", "run_1"]),
        (RunFilter(status=RunStatus.RELEASED), ["run_4", "run_3", "run_2"]),
        (RunFilter(status=RunStatus.EXPIRED), ["run_6"]),
        (RunFilter(status=RunStatus.HELD), []),
        (RunFilter(since=NOW + 2 * SECOND), ["run_6", "run_5", "run_4", "run_3", "run_2"]),
        (RunFilter(until=NOW + 2 * SECOND), ["run_1"]),
        (RunFilter(since=NOW + 2 * SECOND, until=NOW + 4 * SECOND), ["run_3", "run_2"]),
        (RunFilter(model="opus", package="@acme/reviewer", status=RunStatus.RELEASED, since=NOW), ["run_4"]),
    ],
)
def test_a_list_of_runs_has_those_that_fit(
    subject: Ledger, user_id: str, wanted: RunFilter, expected: Sequence[str], limit: int
) -> None:
    ended_run(subject, user_id, "run_1", NOW + SECOND, status=RunStatus.SETTLED)
    ended_run(subject, user_id, "run_2", NOW + 2 * SECOND)
    ended_run(subject, user_id, "run_3", NOW + 3 * SECOND, package="@acme/other", model="opus")
    ended_run(subject, user_id, "run_4", NOW + 4 * SECOND, model="opus")
    ended_run(subject, user_id, "run_5", NOW + 5 * SECOND, status=RunStatus.SETTLED)
    ended_run(subject, user_id, "run_6", NOW + 6 * SECOND, package=None, status=RunStatus.EXPIRED)

    assert [run.run_id for run in listed_runs(subject, user_id, limit, wanted)] == expected


def test_a_list_goes_on_behind_any_place(subject: Ledger, user_id: str) -> None:
    """Also behind that of somebody else's run: it is a time and an id, and gives away nothing."""
    mine = [ended_run(subject, user_id, f"run_{number}", NOW + number * SECOND) for number in range(3)]
    theirs = ended_run(subject, f"{user_id} 2", "run_theirs", NOW + SECOND)

    after = RunPlace(ended_at=iso(theirs.ended_at), key=theirs.run_id)
    found = [run for page in run_pages(subject, user_id, 10, after=after) for run in page]

    assert found in (mine[:1], mine[1::-1])  # which of those of one moment comes first does not matter


def test_receipts_of_several_runs_are_read_at_once(subject: Ledger, user_id: str) -> None:
    runs = {f"run_{number}": ended_run(subject, user_id, f"run_{number}") for number in range(3)}
    hold_on(subject, user_id, a_hold("run_open", 1, NOW))
    ended_run(subject, f"{user_id} 2", "run_theirs")

    wanted = ["run_2", "run_0", "run_open", "run_theirs", "run_unknown", "run_2"]
    assert subject.receipts(user_id, wanted) == {"run_2": runs["run_2"], "run_0": runs["run_0"]}


# --- boundaries -------------------------------------------------------------------------------------------------------


def crossed(account: Account, now: datetime) -> tuple[Account, list[Entry]]:
    """The account and its new entries when every boundary up to `now` is crossed in order."""
    entries: list[Entry] = []
    while account.is_due(now):
        account, more = cross_boundary(account)
        account = replace(account, revision=account.revision + 1)
        entries += more
    return account, entries


@pytest.mark.parametrize("touch", ["account", "hold", "change"])
def test_fourteen_missed_months_are_caught_up_by_whatever_comes_next(subject: Ledger, user_id: str, touch: str) -> None:
    """The anchor is on the 31st; the account is as if it had been there on every boundary."""
    started = plus(subject, user_id)
    known = len(all_entries(subject, user_id))
    late = boundary(NOW, 14) + SECOND
    expected, entries = crossed(started, late)

    if touch == "account":
        assert subject.account(user_id, late) == expected
    elif touch == "hold":
        hold = a_hold("run_1", 405, late)
        assert hold_on(subject, user_id, hold, now=late) == replace(expected, held=405, holds={"run_1": hold})
        subject.cancel_hold(user_id, hold, now=NOW)
    else:
        assert give(subject, user_id, 1, now=late).balance == expected.balance + 1
        entries.append(all_entries(subject, user_id)[-1])

    account = checked(subject, user_id, late)
    assert all_entries(subject, user_id)[known:] == entries
    assert (account.period, account.due_at) == (14, datetime(2027, 4, 30, 12, 0, tzinfo=UTC))
    assert account.anchor == NOW
    assert account.buckets == Buckets(monthly=200, rollover=200, purchased=5 + (touch == "change"))


def test_reading_twice_crosses_once(subject: Ledger, user_id: str) -> None:
    plus(subject, user_id)
    late = boundary(NOW, 3)

    assert subject.account(user_id, late) == subject.account(user_id, late + SECOND)
    assert subject.account(user_id, NOW) == checked(subject, user_id, late)  # a clock that is behind undoes nothing


def test_a_plan_that_ended_is_carried_to_its_end(subject: Ledger, user_id: str) -> None:
    plus(subject, user_id, entitled_until=boundary(NOW, 2))

    account = checked(subject, user_id, boundary(NOW, 9))

    assert (account.plan, account.allowance, account.due_at, account.buckets) == (
        Plan.FREE,
        0,
        None,
        Buckets(purchased=5),
    )


def test_what_is_held_survives_a_boundary_and_can_be_charged_after_it(subject: Ledger, user_id: str) -> None:
    plus(subject, user_id, entitled_until=boundary(NOW, 1))
    first = boundary(NOW, 1)
    subject.account(user_id, first)  # 200 rollover and 5
    hold = a_hold("run_1", 100, first)
    hold_on(subject, user_id, hold, now=first)
    second = boundary(NOW, 2)

    account = checked(subject, user_id, second)
    assert (account.buckets, account.held, account.available) == (Buckets(rollover=95, purchased=5), 100, 0)

    ended = settle(subject, account, hold, 90, second)
    account = checked(subject, user_id, second)
    assert account.buckets == Buckets(purchased=5)  # the remainder was due to go, and has come back
    assert (ended.by_us, ended.run.balance_after) == (True, 5)
    assert [(entry.type, entry.amount) for entry in all_entries(subject, user_id)[-2:]] == [
        (EntryType.EXPIRE, -5),
        (EntryType.SPEND, -90),
    ]


@pytest.mark.parametrize("read_before", [True, False], ids=["read before", "not read before"])
def test_a_settlement_comes_after_the_boundaries_before_it(subject: Ledger, user_id: str, read_before: bool) -> None:
    """Whether somebody looked at the account between the boundary and the settlement makes no difference."""
    plus(subject, user_id)
    hold = a_hold("run_1", 50, NOW)
    account = hold_on(subject, user_id, hold)
    late = boundary(NOW, 1) + SECOND
    if read_before:
        subject.account(user_id, late)

    assert settle(subject, account, hold, 50, late).by_us

    assert checked(subject, user_id, late).buckets == Buckets(monthly=150, rollover=200, purchased=5)


@pytest.mark.parametrize("read_before", [True, False], ids=["read before", "not read before"])
def test_a_release_comes_after_the_boundaries_before_it(subject: Ledger, user_id: str, read_before: bool) -> None:
    """What was held at the boundary did not expire there but when it came back, whether somebody looked in between or
    not."""
    plus(subject, user_id, entitled_until=boundary(NOW, 1))
    first, second = boundary(NOW, 1), boundary(NOW, 2)
    hold = a_hold("run_1", 100, first)
    hold_on(subject, user_id, hold, now=first)
    if read_before:
        subject.account(user_id, second + SECOND)

    assert release(subject, user_id, hold, second + SECOND).by_us

    assert checked(subject, user_id, second + SECOND).buckets == Buckets(purchased=5)
    expired = [(entry.amount, entry.created_at) for entry in all_entries(subject, user_id)[-2:]]
    assert expired == [(-105, second), (-95, second + SECOND)]


# --- what is owed -----------------------------------------------------------------------------------------------------

End = Callable[[Ledger, Account, Hold, datetime], object]
ENDS: Mapping[str, tuple[End, int]] = {
    "settled": (lambda ledger, account, hold, at: settle(ledger, account, hold, 3, at), 3),
    "released": (lambda ledger, account, hold, at: release(ledger, account.user_id, hold, at), 0),
    "expired": (lambda ledger, account, hold, at: expire(ledger, account.user_id, hold, at), 0),
    "cancelled": (lambda ledger, account, hold, at: ledger.cancel_hold(account.user_id, hold, now=at), 0),
}
ALL_ENDS = pytest.mark.parametrize(("end", "cost"), ENDS.values(), ids=ENDS.keys())


def a_pack(ledger: Ledger, user_id: str) -> Callable[[Callable[[Purchase], Purchase]], Account]:
    """100 credits that are paid for. Returns what tells something about it."""
    known = [
        Purchase(
            purchase_id=f"pur_{user_id}",
            user_id=user_id,
            pack="small",
            credits=100,
            amount=500,
            currency="usd",
            live=False,
            price_version="1",
            created_at=NOW,
        )
    ]

    def tell(what: Callable[[Purchase], Purchase]) -> Account:
        def book(account: Account) -> Booking:
            purchase, (after, entries) = book_purchase(account, what(known[0]), now=NOW)
            known[1:] = [purchase]
            return Booking(after, entries, ())

        account = ledger.book(user_id, book, now=NOW)
        known[:] = known[1:]
        return account

    tell(lambda pack: pack.reached(PurchaseState.PAID, NOW))
    return tell


TAKEN: Mapping[str, Callable[[Purchase], Purchase]] = {
    "refund": lambda pack: pack.with_refunded(500),
    "dispute": lambda pack: pack.with_dispute("dp_1", Claim(500, Stage.OPEN)),
}


@pytest.mark.parametrize("taken", TAKEN.values(), ids=TAKEN.keys())
@ALL_ENDS
def test_what_is_taken_back_while_a_run_is_held_is_as_if_it_had_come_later(
    subject: Ledger, user_id: str, end: End, cost: int, taken: Callable[[Purchase], Purchase]
) -> None:
    """105 credits, a run holds 24, 100 are taken back: 19 are owed. What the hold gives back repays them at once."""
    tell = a_pack(subject, user_id)
    hold = a_hold("run_1", 24, NOW)
    placed = hold_on(subject, user_id, hold)
    owed = tell(taken)
    assert (owed.balance, owed.debt, owed.available) == (24, 19, 0)
    checked(subject, user_id)

    end(subject, placed, hold, NOW)

    account = checked(subject, user_id)
    assert (account.buckets, account.debt, account.held) == (Buckets(purchased=5 - cost), 0, 0)
    end(subject, placed, hold, NOW)  # again
    assert checked(subject, user_id) == account
    run = subject.run(user_id, "run_1")
    assert run is None or run.balance_after in (None, 2)


def test_a_dispute_that_is_won_while_a_run_is_held_gives_back_what_was_taken(subject: Ledger, user_id: str) -> None:
    tell = a_pack(subject, user_id)
    hold = a_hold("run_1", 24, NOW)
    account = hold_on(subject, user_id, hold)
    tell(TAKEN["dispute"])

    account = tell(lambda pack: pack.with_dispute("dp_1", Claim(500, Stage.GIVEN_BACK)))

    assert (account.balance, account.debt) == (105, 0)
    settle(subject, account, hold, 3)
    assert checked(subject, user_id).buckets == Buckets(purchased=102)


def test_a_bonus_repays_debt_first(subject: Ledger, user_id: str) -> None:
    tell = a_pack(subject, user_id)
    spent = a_hold("run_1", 24, NOW)
    settle(subject, hold_on(subject, user_id, spent), spent, 24)
    assert tell(TAKEN["refund"]).debt == 19

    first = give(subject, user_id, 10, "first")
    assert (first.balance, first.debt) == (0, 9)
    second = give(subject, user_id, 10, "second")

    assert (second.balance, second.debt) == (1, 0)
    assert give(subject, user_id, 10, "second") == second == checked(subject, user_id)


def test_several_holds_repay_debt_one_after_the_other(subject: Ledger, user_id: str) -> None:
    tell = a_pack(subject, user_id)
    holds = [a_hold(f"run_{number}", 10, NOW) for number in range(4)]
    account = [hold_on(subject, user_id, hold) for hold in holds][-1]
    assert tell(TAKEN["refund"]).debt == 35

    for number, hold in enumerate(holds):
        settle(subject, account, hold, 1) if number % 2 else release(subject, user_id, hold)
        checked(subject, user_id)

    account = checked(subject, user_id)
    assert (account.buckets, account.debt) == (Buckets(purchased=3), 0)


@ALL_ENDS
def test_what_was_held_over_a_boundary_expires_when_it_comes_back(
    subject: Ledger, user_id: str, end: End, cost: int
) -> None:
    """200 of rollover and 5 are held when the rollover should go. The new month is not touched."""
    plus(subject, user_id)
    first, second = boundary(NOW, 1), boundary(NOW, 2)
    subject.account(user_id, first)
    hold = a_hold("run_1", 405, first)
    placed = hold_on(subject, user_id, hold, now=first)
    account = checked(subject, user_id, second)
    assert (account.buckets, account.lapsed) == (Buckets(monthly=200, rollover=400, purchased=5), 200)

    end(subject, placed, hold, second)

    account = checked(subject, user_id, second)
    assert (account.buckets, account.lapsed) == (Buckets(monthly=200 - cost, rollover=200, purchased=5), 0)
    end(subject, placed, hold, second)  # again
    assert checked(subject, user_id, second) == account


@ALL_ENDS
def test_who_has_not_seen_a_boundary_that_another_clock_crossed_learns_what_lapsed_there(
    subject: Ledger, user_id: str, end: End, cost: int
) -> None:
    """The plan is over and all is held, so that the boundary is crossed without an entry: the version says nothing."""
    plus(subject, user_id, entitled_until=boundary(NOW, 1))
    first, second = boundary(NOW, 1), boundary(NOW, 2)
    subject.account(user_id, first)
    hold = a_hold("run_1", 205, first)
    placed = hold_on(subject, user_id, hold, now=first)
    crossed = subject.account(user_id, second)
    assert (crossed.version, crossed.lapsed) == (placed.version, 200)

    end(subject, placed, hold, second - SECOND)

    account = checked(subject, user_id, second)
    assert (account.buckets, account.lapsed) == (Buckets(purchased=5), 0)


def test_holding_everything_at_every_boundary_keeps_nothing_alive(subject: Ledger, user_id: str) -> None:
    plus(subject, user_id)
    for month in range(1, 6):
        at = boundary(NOW, month)
        hold = a_hold(f"run_{month}", subject.account(user_id, at - SECOND).available, at - SECOND)
        hold_on(subject, user_id, hold, now=at - SECOND)
        subject.account(user_id, at)
        assert release(subject, user_id, hold, at + SECOND).by_us

        account = checked(subject, user_id, at + SECOND)
        assert account.buckets == Buckets(monthly=200, rollover=200, purchased=5)


# --- receipts ---------------------------------------------------------------------------------------------------------


def test_a_receipt_is_read_as_it_was_written(books: Books, user_id: str) -> None:
    """Every field, and the turn with it."""
    ledger, hold = books.ledger, replace(a_hold("run_1", 4, NOW), trace_id="1-58406520-a006649127e371903a2de979")
    account = hold_on(ledger, user_id, hold)
    charge = charging(hold, 2, NOW + SECOND)
    said = "Zażółć gęślą jaźń 🦆 \x00\u2028 " * 50

    def conclude(account: Account) -> tuple[Account, Run, Sequence[Entry]]:
        after, run, entries = charge(account)
        return after, replace(run, **EVERYTHING), entries

    about = conversation(user_id, hold, NOW + SECOND)
    about = Conversation(replace(about.session, title="🦆"), replace(about.turn, input="", answer=said))
    ended = ledger.settle(account, hold, conclude, about)

    assert all(
        getattr(ended.run, field.name) is not None for field in fields(Run) if field.name not in ("failure", "unpaid")
    )
    assert ledger.run(user_id, "run_1") == ended.run
    assert books.sessions.turn(hold.session_id, 1) == about.turn


EVERYTHING: dict[str, Any] = {
    "package": "@acme/tidy",
    "package_version": "1.0.0-rc.1+build",
    "model_id": "claude-sonnet-5-5",
    "price_version": "2026-11-01",
    "prompt_tokens": 0,
    "max_tokens": 512,
    "wanted_max_tokens": 4096,
    "overrun": 3,
    "measured": Measured(
        usage=Usage(input_tokens=1, output_tokens=2, cache_write_tokens=3, cache_read_tokens=4),
        price=Price(credits=5, tier=2, factor=3, floor=4, cost_nano=10**15 + 1),
        stop_reason="end_turn",
        duration_ms=0,
    ),
}


@pytest.mark.parametrize("retry_after", [None, 7])
def test_a_failure_is_read_as_it_was_written(subject: Ledger, user_id: str, retry_after: int | None) -> None:
    hold = a_hold("run_1", 4, NOW)
    hold_on(subject, user_id, hold)
    failure = Failure(code="model_overloaded", reason="rate_limited", retry_after=retry_after)
    run = replace(receipt(user_id, hold, RunStatus.RELEASED, NOW), failure=failure)

    assert subject.release(user_id, run).run == subject.run(user_id, "run_1") == run


# --- the allowance for runs without an answer -------------------------------------------------------------------------

HOURLY = Allowance(failed_runs_per_hour=4, unpaid_nano_per_day=1_000_000_000, nano_per_credit=25_000_000)


def place_allowed(
    ledger: Ledger,
    user_id: str,
    run: str,
    *,
    ceiling: int = 1,
    now: datetime = NOW,
    allowance: Allowance = HOURLY,
    seen: Account | None = None,
) -> HoldOutcome:
    return ledger.place_hold(user_id, a_hold(run, ceiling, now), limit=LIMIT, now=now, allowance=allowance, seen=seen)


def fail(
    ledger: Ledger, user_id: str, run: str, *, ceiling: int = 1, cost_nano: int = 0, now: datetime = NOW
) -> HoldOutcome:
    outcome = place_allowed(ledger, user_id, run, ceiling=ceiling, now=now)
    if isinstance(outcome, Held):
        ended = receipt(user_id, outcome.account.holds[run], RunStatus.RELEASED, now)
        assert ledger.release(user_id, ended, HOURLY.use(cost_nano), seen=outcome.account).by_us
    return outcome


def test_so_many_runs_may_fail_and_a_refusal_uses_nothing_up(subject: Ledger, user_id: str) -> None:
    outcomes = [fail(subject, user_id, f"run_{number}") for number in range(6)]

    assert [type(outcome) for outcome in outcomes] == [Held] * 4 + [AllowanceUsedUp] * 2
    account = checked(subject, user_id)
    assert account.failures_at == NOW + timedelta(hours=1)
    assert outcomes[-1].account == account
    assert isinstance(
        place_allowed(subject, user_id, "late", now=NOW + timedelta(minutes=15) - timedelta(milliseconds=1)),
        AllowanceUsedUp,
    )
    assert isinstance(place_allowed(subject, user_id, "late", now=NOW + timedelta(minutes=15)), Held)


def test_open_runs_count_as_if_they_failed(subject: Ledger, user_id: str) -> None:
    fail(subject, user_id, "run_0")

    outcomes = [place_allowed(subject, user_id, f"run_{number}") for number in range(1, 6)]

    assert [type(outcome) for outcome in outcomes] == [Held] * 3 + [AllowanceUsedUp] * 2
    subject.cancel_hold(user_id, a_hold("run_1", 1, NOW), now=NOW)
    assert isinstance(place_allowed(subject, user_id, "run_6"), Held)


def test_what_has_failed_since_the_account_was_read_counts(subject: Ledger, user_id: str) -> None:
    """The condition is made for the account that was read. Since then two runs have failed, and two more may."""
    give(subject, user_id, 1000)
    before = subject.account(user_id, NOW)
    for number in range(2):
        fail(subject, user_id, f"run_{number}", ceiling=10, cost_nano=200_000_000)

    outcomes = [place_allowed(subject, user_id, f"open_{number}", seen=before) for number in range(3)]

    assert [type(outcome) for outcome in outcomes] == [Held, Held, AllowanceUsedUp]
    subject.cancel_hold(user_id, *(a_hold(f"open_{number}", 1, NOW) for number in range(2)), now=NOW)
    many = replace(HOURLY, failed_runs_per_hour=100)
    assert isinstance(
        place_allowed(subject, user_id, "dear", ceiling=25, allowance=many, seen=before, now=NOW), AllowanceUsedUp
    )
    assert isinstance(place_allowed(subject, user_id, "dear", ceiling=24, allowance=many, seen=before), Held)
    assert isinstance(place_allowed(subject, user_id, "next", allowance=many, seen=before), AllowanceUsedUp)


def test_what_was_given_back_since_the_account_was_read_counts(subject: Ledger, user_id: str) -> None:
    """The account that was read had used up its allowance; then something was paid for, which begins it anew."""
    for number in range(4):
        fail(subject, user_id, f"run_{number}")
    before = subject.account(user_id, NOW)
    assert isinstance(place_allowed(subject, user_id, "late", seen=before), AllowanceUsedUp)

    subject.change(user_id, lambda account: (note_payment(account), ()), business_key="paid", now=NOW)

    outcomes = [place_allowed(subject, user_id, f"open_{number}", seen=before) for number in range(5)]
    assert [type(outcome) for outcome in outcomes] == [Held] * 4 + [AllowanceUsedUp]


def test_so_much_may_be_unpaid(subject: Ledger, user_id: str) -> None:
    """$1 a day; 10 credits can cost 25 cents, and do."""
    give(subject, user_id, 1000)
    many = replace(HOURLY, failed_runs_per_hour=100)
    outcomes: list[HoldOutcome] = []
    for number in range(5):
        outcomes.append(place_allowed(subject, user_id, f"run_{number}", ceiling=10, allowance=many))
        if isinstance(outcomes[-1], Held):
            ended = receipt(user_id, outcomes[-1].account.holds[f"run_{number}"], RunStatus.RELEASED, NOW)
            subject.release(user_id, ended, many.use(250_000_000))

    assert [type(outcome) for outcome in outcomes] == [Held] * 4 + [AllowanceUsedUp]
    assert checked(subject, user_id).unpaid_at == NOW + timedelta(days=1)
    assert isinstance(place_allowed(subject, user_id, "dear", ceiling=10, allowance=many), AllowanceUsedUp)
    later = NOW + timedelta(hours=6)
    assert isinstance(place_allowed(subject, user_id, "later", ceiling=10, allowance=many, now=later), Held)
    assert isinstance(place_allowed(subject, user_id, "more", ceiling=1, allowance=many, now=later), AllowanceUsedUp)


def test_a_failure_is_counted_from_now_or_from_where_the_count_is(subject: Ledger, user_id: str) -> None:
    for number, minutes in enumerate((0, 1, 20)):
        fail(subject, user_id, f"run_{number}", cost_nano=1000, now=NOW + timedelta(minutes=minutes))

    account = checked(subject, user_id, NOW + timedelta(minutes=20))
    assert account.failures_at == NOW + timedelta(minutes=45)
    long_after = NOW + timedelta(days=9)
    fail(subject, user_id, "run_9", cost_nano=1000, now=long_after)
    assert checked(subject, user_id, long_after).failures_at == long_after + timedelta(minutes=15)


def test_what_is_settled_or_cancelled_uses_nothing_up(subject: Ledger, user_id: str) -> None:
    hold = a_hold("run_1", 2, NOW)
    settle(subject, hold_on(subject, user_id, hold), hold, 1)
    hold_on(subject, user_id, a_hold("run_2", 2, NOW))
    subject.cancel_hold(user_id, a_hold("run_2", 2, NOW), now=NOW)

    account = checked(subject, user_id)
    assert (account.failures_at, account.unpaid_at) == (None, None)


def test_a_failure_is_counted_once_however_often_it_is_released(subject: Ledger, user_id: str) -> None:
    hold = a_hold("run_1", 1, NOW)
    hold_on(subject, user_id, hold)
    ended = receipt(user_id, hold, RunStatus.RELEASED, NOW)
    for _ in range(3):
        subject.release(user_id, ended, HOURLY.use(1000))
    subject.release(user_id, replace(ended, nonce="try_9", status=RunStatus.EXPIRED), HOURLY.use(1000))

    assert checked(subject, user_id).failures_at == NOW + timedelta(minutes=15)


def test_a_hold_whose_worker_died_is_a_failure_and_no_cost(subject: Ledger, user_id: str) -> None:
    later = NOW + timedelta(hours=2)
    hold = replace(a_hold("run_1", 1, NOW), cost_nano=900_000_000, interval=HOURLY.interval)
    account = hold_on(subject, user_id, hold)

    assert ExpireHolds(subject)(account, now=later) == 1

    run = subject.run(user_id, "run_1")
    assert run is not None
    assert run.unpaid == UnpaidCost(cost_nano=900_000_000, estimated=True)
    account = checked(subject, user_id, later)
    assert (account.failures_at, account.unpaid_at) == (later + timedelta(minutes=15), None)


def test_the_first_payment_forgives_what_was_used(subject: Ledger, user_id: str) -> None:
    for number in range(4):
        fail(subject, user_id, f"run_{number}", cost_nano=1000)

    subject.change(user_id, lambda account: (note_payment(account), ()), business_key="paid", now=NOW)

    account = checked(subject, user_id)
    assert (account.has_paid, account.failures_at, account.unpaid_at) == (True, None, None)
    fail(subject, user_id, "run_5")
    subject.change(user_id, lambda account: (note_payment(account), ()), business_key="again", now=NOW)
    assert checked(subject, user_id).failures_at == NOW + timedelta(minutes=15)


@pytest.mark.parametrize("usage", [None, Usage(input_tokens=7, output_tokens=5, cache_write_tokens=3)])
def test_an_unpaid_cost_is_read_as_it_was_written(subject: Ledger, user_id: str, usage: Usage | None) -> None:
    hold = a_hold("run_1", 4, NOW)
    hold_on(subject, user_id, hold)
    unpaid = UnpaidCost(cost_nano=12_345, estimated=usage is None, usage=usage)
    run = replace(receipt(user_id, hold, RunStatus.RELEASED, NOW), unpaid=unpaid)

    assert subject.release(user_id, run).run == subject.run(user_id, "run_1") == run


# --- how it is stored -------------------------------------------------------------------------------------------------

texts = st.text(max_size=40)
credits_ = st.integers(0, 10**9)
numbers = st.integers(0, 10**15)
moments = st.datetimes(datetime(1970, 1, 1), datetime(2999, 1, 1), timezones=st.just(UTC)).map(instant)  # noqa: DTZ001
signed = st.integers(-(10**9), 10**9)
deltas = st.builds(Deltas, monthly=signed, rollover=signed, purchased=signed)
maybe_text, maybe_number, maybe_moment = st.none() | texts, st.none() | numbers, st.none() | moments
usages = st.builds(
    Usage, input_tokens=numbers, output_tokens=numbers, cache_write_tokens=numbers, cache_read_tokens=numbers
)
prices = st.builds(Price, credits=numbers, tier=numbers, factor=numbers, floor=numbers, cost_nano=numbers)
runs = st.builds(
    Run,
    run_id=texts,
    user_id=st.just("u"),
    status=st.sampled_from(RunStatus),
    nonce=texts,
    request_hash=texts,
    session_id=texts,
    model=texts,
    ceiling=credits_,
    started_at=moments,
    ended_at=moments,
    package=maybe_text,
    package_version=maybe_text,
    model_id=maybe_text,
    price_version=maybe_text,
    prompt_tokens=maybe_number,
    max_tokens=maybe_number,
    wanted_max_tokens=maybe_number,
    charged=credits_,
    overrun=credits_,
    deltas=deltas,
    balance_after=maybe_number,
    entry_seq=maybe_number,
    entry_hash=maybe_text,
    turn=maybe_number,
    measured=st.none() | st.builds(Measured, usage=usages, price=prices, stop_reason=texts, duration_ms=numbers),
    failure=st.none() | st.builds(Failure, code=texts, reason=texts, retry_after=maybe_number),
)
entries = st.builds(
    Entry,
    user_id=st.just("u"),
    seq=st.integers(1, 10**12 - 1),
    type=st.sampled_from(EntryType),
    deltas=deltas,
    balance_after=numbers,
    business_key=texts,
    reason=texts,
    created_at=moments,
    previous_hash=texts,
    run_id=maybe_text,
    session_id=maybe_text,
    purchase_id=maybe_text,
)
turns = st.builds(
    Turn,
    number=st.integers(1, 999_999),
    run_id=texts,
    input=st.text(),
    answer=st.text() | st.text(min_size=1).map(lambda text: text * 500),
    input_tokens=numbers,
    output_tokens=numbers,
    asked_at=moments,
    answered_at=moments,
)
sessions = st.builds(
    Session,
    session_id=texts,
    user_id=texts,
    package_id=texts,
    package=texts,
    package_version=texts,
    use_no_prompt=st.booleans(),
    model=texts,
    title=texts,
    created_at=moments,
    updated_at=moments,
    turns=numbers,
    credits=numbers,
    tokens=numbers,
    duration_ms=numbers,
)
holds = st.builds(
    Hold,
    run_id=st.text(min_size=1, max_size=20),
    nonce=texts,
    ceiling=st.integers(1, 10**6),
    lease_at=moments,
    request_hash=texts,
    session_id=texts,
    model=texts,
    placed_at=moments,
)


@st.composite
def accounts(draw: st.DrawFn) -> Account:
    held = {hold.run_id: hold for hold in draw(st.lists(holds, max_size=4))}
    sum_held = sum(hold.ceiling for hold in held.values())
    anchor = draw(maybe_moment)
    return Account(
        user_id="u",
        created_at=draw(moments),
        buckets=Buckets(monthly=draw(credits_), rollover=draw(credits_), purchased=sum_held + draw(credits_)),
        held=sum_held,
        debt=draw(credits_),
        holds=held,
        version=draw(numbers),
        revision=draw(numbers),
        last_hash=draw(texts),
        plan=draw(st.sampled_from(Plan)),
        allowance=draw(credits_),
        anchor=anchor,
        period=draw(numbers),
        due_at=draw(maybe_moment) if anchor is not None else None,
        entitled_until=draw(maybe_moment),
    )


@given(run=runs)
@settings(deadline=None)
def test_runs_come_back_from_their_items(run: Run) -> None:
    assert items.run_of("u", items.run_item(run)) == run


@given(entry=entries)
@settings(deadline=None)
def test_entries_come_back_from_their_items(entry: Entry) -> None:
    assert items.entry_of("u", items.entry_item(entry)) == entry


@given(turn=turns)
@settings(deadline=None)
def test_turns_come_back_from_their_items(turn: Turn) -> None:
    assert items.turn_of(items.turn_item(turn)) == turn


@given(session=sessions)
@settings(deadline=None)
def test_sessions_come_back_from_their_items(session: Session) -> None:
    assert items.session_of(items.session_item(session)) == session


@given(account=accounts())
@settings(deadline=None)
def test_accounts_come_back_from_their_items(account: Account) -> None:
    item = items.account_item(account)

    assert items.account_of("u", item) == account
    assert int(item["available"]["N"]) == account.available


@given(number=st.integers(1, 999_998))
def test_turns_sort_by_number(number: int) -> None:
    assert turn_sk(number - 1) < turn_sk(number) < turn_sk(number + 1)


def test_long_texts_are_stored_smaller_than_they_are(user_id: str) -> None:
    about = conversation(user_id, a_hold("run_1", 1, NOW), NOW)

    item = items.turn_item(replace(about.turn, answer="all work and no play " * 1000))

    assert len(item["answer"]["B"]) < 1000
    assert item["packed"] == {"L": [{"S": "answer"}]}
    assert item["input"]["B"] == about.turn.input.encode()  # which compressing would make longer
    assert len(zlib.compress(item["input"]["B"], 9)) > len(item["input"]["B"])


# --- what does not add up ---------------------------------------------------------------------------------------------


class Vandal:
    """Changes stored items behind the ledger's back."""

    def __init__(self, dynamodb: Any, user_id: str) -> None:
        self._dynamodb = dynamodb
        self._pk = user_pk(user_id)

    def set(self, sk: str, path: str, value: Mapping[str, Any]) -> None:
        self._update(sk, "SET {} = :value", path, ExpressionAttributeValues={":value": value})

    def remove(self, sk: str, path: str) -> None:
        self._update(sk, "REMOVE {}", path)

    def delete(self, sk: str) -> None:
        self._dynamodb.delete_item(TableName=LEDGER_TABLE, Key={"pk": {"S": self._pk}, "sk": {"S": sk}})

    def put(self, sk: str, item: Mapping[str, Any]) -> None:
        self._dynamodb.put_item(TableName=LEDGER_TABLE, Item={**item, "pk": {"S": self._pk}, "sk": {"S": sk}})

    def _update(self, sk: str, action: str, path: str, **values: Any) -> None:
        names = {f"#n{number}": name for number, name in enumerate(path.split("."))}
        self._dynamodb.update_item(
            TableName=LEDGER_TABLE,
            Key={"pk": {"S": self._pk}, "sk": {"S": sk}},
            UpdateExpression=action.format(".".join(names)),
            ExpressionAttributeNames=names,
            **values,
        )


@pytest.fixture(scope="module")
def dynamodb(engine: Engine) -> Iterator[Any]:
    made = client("dynamodb", engine.endpoint_url)
    yield made
    made.close()


@pytest.fixture
def vandal(dynamodb: Any, user_id: str) -> Vandal:
    return Vandal(dynamodb, user_id)


def _shift(vandal: Vandal, monthly: str, available: str) -> None:
    """Another bucket, and `available` with it."""
    vandal.set("ACCOUNT", "monthly", {"N": monthly})
    vandal.set("ACCOUNT", "available", {"N": available})


BROKEN_ACCOUNTS: Mapping[str, Callable[[Vandal], None]] = {
    "available one too high": lambda vandal: vandal.set("ACCOUNT", "available", {"N": "104"}),
    "available one too low": lambda vandal: vandal.set("ACCOUNT", "available", {"N": "102"}),
    "held one too low": lambda vandal: vandal.set("ACCOUNT", "held", {"N": "1"}),
    "a bucket one too high": lambda vandal: vandal.set("ACCOUNT", "monthly", {"N": "1"}),
    "negative bucket": lambda vandal: _shift(vandal, "-1", "102"),
    "negative debt": lambda vandal: vandal.set("ACCOUNT", "debt", {"N": "-1"}),
    "half a credit": lambda vandal: _shift(vandal, "0.5", "103.5"),
    "text for a number": lambda vandal: vandal.set("ACCOUNT", "purchased", {"S": "105"}),
    "unknown plan": lambda vandal: vandal.set("ACCOUNT", "plan", {"S": "gold"}),
    "no time": lambda vandal: vandal.set("ACCOUNT", "created_at", {"S": "yesterday"}),
    "a hold that holds something else": lambda vandal: vandal.set("ACCOUNT", "holds.run_1.c", {"N": "1"}),
    "a hold without a lease": lambda vandal: vandal.remove("ACCOUNT", "holds.run_1.l"),
    "a hold without a nonce": lambda vandal: vandal.remove("ACCOUNT", "holds.run_1.n"),
    "a hold that is gone": lambda vandal: vandal.remove("ACCOUNT", "holds.run_1"),
    **{
        f"without {name}": lambda vandal, name=name: vandal.remove("ACCOUNT", name)  # type: ignore[misc]
        for name in (
            "created_at",
            "monthly",
            "rollover",
            "purchased",
            "available",
            "debt",
            "version",
            "revision",
            "last_hash",
            "holds",
            "plan",
            "allowance",
            "period",
        )
    },
}
USES: Mapping[str, Callable[[Ledger, Account], object]] = {
    "account": lambda ledger, account: ledger.account(account.user_id, NOW),
    "hold": lambda ledger, account: ledger.place_hold(account.user_id, a_hold("run_2", 1, NOW), limit=LIMIT, now=NOW),
    "refused hold": lambda ledger, account: ledger.place_hold(
        account.user_id, a_hold("run_2", 999, NOW), limit=LIMIT, now=NOW
    ),
    "change": lambda ledger, account: give(ledger, account.user_id, 1, "more"),
}


@pytest.mark.parametrize("break_", BROKEN_ACCOUNTS.values(), ids=BROKEN_ACCOUNTS.keys())
@pytest.mark.parametrize("use", USES.values(), ids=USES.keys())
def test_nothing_is_done_on_top_of_an_account_that_does_not_add_up(
    ledger: DynamoLedger,
    user_id: str,
    vandal: Vandal,
    break_: Callable[[Vandal], None],
    use: Callable[[Ledger, Account], object],
) -> None:
    give(ledger, user_id, 100)
    account = hold_on(ledger, user_id, a_hold("run_1", 2, NOW))  # 105, 103 of them available
    break_(vandal)

    with pytest.raises(CorruptLedgerError):
        use(ledger, account)

    assert len(all_entries(ledger, user_id)) == 2


def test_a_settlement_finds_out_that_the_account_does_not_add_up(
    ledger: DynamoLedger, user_id: str, vandal: Vandal
) -> None:
    hold = a_hold("run_1", 2, NOW)
    account = hold_on(ledger, user_id, hold)
    give(ledger, user_id, 10)
    vandal.set("ACCOUNT", "available", {"N": "14"})

    with pytest.raises(CorruptLedgerError):
        settle(ledger, account, hold, 1)

    assert len(all_entries(ledger, user_id)) == 2
    assert ledger.run(user_id, "run_1") is None


@pytest.mark.parametrize("use", ["change", "settle"])
def test_entries_beyond_the_version_of_the_account_stop_everything(
    ledger: DynamoLedger, user_id: str, vandal: Vandal, use: str
) -> None:
    hold = a_hold("run_1", 2, NOW)
    account = hold_on(ledger, user_id, hold)
    vandal.put(entry_sk(2), items.entry_item(all_entries(ledger, user_id)[0]))

    with pytest.raises(CorruptLedgerError):
        give(ledger, user_id, 1) if use == "change" else settle(ledger, account, hold, 1)

    assert ledger.account(user_id, NOW) == account


def test_an_account_without_its_held_credits_takes_no_hold(ledger: DynamoLedger, user_id: str, vandal: Vandal) -> None:
    """The store itself refuses to add to what is not there."""
    account = ledger.account(user_id, NOW)
    vandal.remove("ACCOUNT", "held")

    with pytest.raises(StoreUnavailableError):
        ledger.place_hold(user_id, a_hold("run_1", 1, NOW), limit=LIMIT, now=NOW)
    for use in (USES["account"], USES["refused hold"], USES["change"]):
        with pytest.raises(CorruptLedgerError):
            use(ledger, account)


def test_an_account_that_is_gone_is_not_opened_again(ledger: DynamoLedger, user_id: str, vandal: Vandal) -> None:
    """Its entries are there: signup credits are given once."""
    ledger.account(user_id, NOW)
    vandal.delete("ACCOUNT")

    for use in USES.values():
        with pytest.raises(CorruptLedgerError):
            use(ledger, Account(user_id=user_id, created_at=NOW))


BROKEN_ENTRIES: Mapping[str, Callable[[Vandal, str], None]] = {
    "changed hash": lambda vandal, sk: vandal.set(sk, "hash", {"S": "0" * 64}),
    "changed amount": lambda vandal, sk: vandal.set(sk, "amount", {"N": "50"}),
    "changed buckets": lambda vandal, sk: vandal.set(sk, "deltas", {"L": [{"N": "5"}, {"N": "0"}, {"N": "0"}]}),
    "too few buckets": lambda vandal, sk: vandal.set(sk, "deltas", {"L": [{"N": "5"}]}),
    "changed balance": lambda vandal, sk: vandal.set(sk, "balance_after", {"N": "50"}),
    "changed reason": lambda vandal, sk: vandal.set(sk, "reason", {"S": "Because"}),
    "changed time": lambda vandal, sk: vandal.set(sk, "created_at", {"S": "2026-01-31T12:00:00.001Z"}),
    "changed key": lambda vandal, sk: vandal.set(sk, "business_key", {"S": "other"}),
    "changed chain": lambda vandal, sk: vandal.set(sk, "previous_hash", {"S": "1" * 64}),
    "changed type": lambda vandal, sk: vandal.set(sk, "type", {"S": "bonus"}),
    "unknown type": lambda vandal, sk: vandal.set(sk, "type", {"S": "gift"}),
    "added run": lambda vandal, sk: vandal.set(sk, "run_id", {"S": "run_1"}),
    **{
        f"without {name}": lambda vandal, sk, name=name: vandal.remove(sk, name)  # type: ignore[misc]
        for name in (
            "seq",
            "type",
            "amount",
            "balance_after",
            "deltas",
            "business_key",
            "reason",
            "created_at",
            "previous_hash",
            "hash",
        )
    },
}


@pytest.mark.parametrize("break_", BROKEN_ENTRIES.values(), ids=BROKEN_ENTRIES.keys())
def test_a_changed_entry_is_not_shown(
    ledger: DynamoLedger, user_id: str, vandal: Vandal, break_: Callable[[Vandal, str], None]
) -> None:
    """It is left out, named and reported; the lines around it are there."""
    ledger.account(user_id, NOW)
    break_(vandal, entry_sk(1))
    errors: list[CorruptLedgerError] = []
    reader = DynamoLedger(ledger._store, ledger_table=LEDGER_TABLE, sessions_table=SESSIONS_TABLE, report=errors.append)

    assert reader.entries(user_id, before=None, limit=10, type_=None) == ([], None, [1])
    assert [user_id in error.what for error in errors] == [True]


BROKEN_RUNS: Mapping[str, Callable[[Vandal], None]] = {
    "unknown status": lambda vandal: vandal.set("RUN#run_1", "status", {"S": "lost"}),
    "text for a number": lambda vandal: vandal.set("RUN#run_1", "charged", {"S": "1"}),
    "half a credit": lambda vandal: vandal.set("RUN#run_1", "charged", {"N": "0.5"}),
    "too few buckets": lambda vandal: vandal.set("RUN#run_1", "deltas", {"L": []}),
    "too few tokens": lambda vandal: vandal.set("RUN#run_1", "usage", {"L": []}),
    **{
        f"without {name}": lambda vandal, name=name: vandal.remove("RUN#run_1", name)  # type: ignore[misc]
        for name in ("status", "nonce", "request_hash", "session_id", "ceiling", "ended_at", "charged", "deltas")
    },
}


@pytest.mark.parametrize("break_", BROKEN_RUNS.values(), ids=BROKEN_RUNS.keys())
def test_a_broken_receipt_is_not_shown(
    ledger: DynamoLedger, user_id: str, vandal: Vandal, break_: Callable[[Vandal], None]
) -> None:
    hold = a_hold("run_1", 2, NOW)
    account, charge = hold_on(ledger, user_id, hold), charging(hold, 1, NOW)

    def conclude(account: Account) -> tuple[Account, Run, Sequence[Entry]]:
        after, run, entries = charge(account)
        return after, replace(run, **EVERYTHING), entries

    ledger.settle(account, hold, conclude, conversation(user_id, hold, NOW))
    break_(vandal)

    with pytest.raises(CorruptLedgerError):
        ledger.run(user_id, "run_1")


@pytest.mark.parametrize("name", [name for name in BROKEN_RUNS if name != "without ended_at"])
def test_a_broken_receipt_is_left_out_of_lists_and_named(
    ledger: DynamoLedger, user_id: str, vandal: Vandal, name: str
) -> None:
    """Those around it are there. Without an end it has no place in the list; an audit finds it."""
    ended_run(ledger, user_id, "run_0", NOW - SECOND)
    hold = a_hold("run_1", 2, NOW)
    account, charge = hold_on(ledger, user_id, hold), charging(hold, 1, NOW)

    def conclude(account: Account) -> tuple[Account, Run, Sequence[Entry]]:
        after, run, entries = charge(account)
        return after, replace(run, **EVERYTHING), entries

    ledger.settle(account, hold, conclude, conversation(user_id, hold, NOW))
    ended_run(ledger, user_id, "run_2", NOW + SECOND)
    BROKEN_RUNS[name](vandal)
    errors: list[CorruptLedgerError] = []
    reader = DynamoLedger(ledger._store, ledger_table=LEDGER_TABLE, sessions_table=SESSIONS_TABLE, report=errors.append)

    runs, following, unreadable = reader.ended_runs(user_id, ALL_RUNS, after=None, limit=10)
    assert ([run.run_id for run in runs], following, unreadable) == (["run_2", "run_0"], None, ["run_1"])
    assert list(reader.receipts(user_id, ["run_0", "run_1"])) == ["run_0"]
    assert ["run_1" in error.what for error in errors] == [True, True]


# --- what only shows in the store -------------------------------------------------------------------------------------


def spends_and_one_bonus(user_id: str, count: int) -> list[Entry]:
    """Entries 2 to `count`, of which number 50 is the only bonus."""
    return [
        Entry(
            user_id=user_id,
            seq=seq,
            type=EntryType.BONUS if seq == 50 else EntryType.SPEND,
            deltas=Deltas(),
            balance_after=5,
            business_key=str(seq),
            reason="",
            created_at=NOW,
            previous_hash="",
        )
        for seq in range(2, count + 1)
    ]


def test_a_filtered_page_is_gathered_from_several_queries(ledger: DynamoLedger, dynamodb: Any, user_id: str) -> None:
    ledger.account(user_id, NOW)
    rows = [
        {"PutRequest": {"Item": {**items.entry_item(entry), **entry_key(LEDGER_TABLE, user_id, entry.seq).raw}}}
        for entry in spends_and_one_bonus(user_id, 230)
    ]
    for first in range(0, len(rows), 25):
        dynamodb.batch_write_item(RequestItems={LEDGER_TABLE: rows[first : first + 25]})

    bonuses = list(pages(ledger, user_id, 10, EntryType.BONUS))
    spends = list(pages(ledger, user_id, 60, EntryType.SPEND))

    assert [[entry.seq for entry in page] for page in bonuses] == [[50]]
    assert [entry.seq for page in spends for entry in page] == [seq for seq in range(230, 1, -1) if seq != 50]


class LongHistory(DynamoStore):
    """Answers queries for a filtered history, a hundred entries at a time, and counts them."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._entries = entries
        self.queries = 0

    def query(
        self,
        table: str,
        pk: str,
        *,
        first: str,
        last: str,
        newest_first: bool = False,
        limit: int,
        condition: Mapping[str, Any] | None = None,
    ) -> tuple[Sequence[Mapping[str, Any]], str | None]:
        self.queries += 1
        read = [entry for entry in reversed(self._entries) if first <= entry_sk(entry.seq) <= last]
        page = [
            {**items.entry_item(entry), **entry_key(LEDGER_TABLE, entry.user_id, entry.seq).raw}
            for entry in read[:limit]
            if entry.type is EntryType.BONUS
        ]
        return page, entry_sk(read[limit - 1].seq) if len(read) > limit else None


def test_one_page_of_a_long_filtered_history_is_a_bounded_number_of_queries(user_id: str) -> None:
    """It may come back short, and still leads on to everything that is there."""
    store = LongHistory(spends_and_one_bonus(user_id, 100 * MAX_PAGES + 51))
    ledger = DynamoLedger(store, ledger_table=LEDGER_TABLE, sessions_table=SESSIONS_TABLE)

    page, before, _ = ledger.entries(user_id, before=None, limit=10, type_=EntryType.BONUS)
    assert (page, before, store.queries) == ([], 52, MAX_PAGES)

    page, before, _ = ledger.entries(user_id, before=before, limit=10, type_=EntryType.BONUS)
    assert ([entry.seq for entry in page], before, store.queries) == ([50], None, MAX_PAGES + 1)


@pytest.mark.parametrize("limit", [1, 2, 3, 4])
def test_a_subscription_that_has_ended_is_no_run(
    ledger: DynamoLedger, store: DynamoStore, user_id: str, limit: int
) -> None:
    """Its item is in the index, for it has an end. It is passed, also in the moment of a run and where a page ends."""
    snapshot = SubscriptionSnapshot(
        subscription_id="sub_1",
        status="canceled",
        cancel_at_period_end=True,
        current_period_end=NOW,
        started_at=NOW - timedelta(days=31),
        ended_at=NOW,
        occurred_at=NOW,
        event_id="evt_1",
    )
    assert DynamoPurchaseRecords(store, LEDGER_TABLE).save(Subscription(user_id=user_id, described=snapshot))
    runs = [ended_run(ledger, user_id, f"run_{number}", NOW + number * SECOND) for number in (-1, 0, 1)]

    assert listed_runs(ledger, user_id, limit) == list(reversed(runs))
    assert listed_runs(ledger, user_id, limit, RunFilter(model="sonnet")) == list(reversed(runs))
    page, _, _ = ledger.ended_runs(user_id, ALL_RUNS, after=None, limit=limit)
    assert len(page) == min(limit, 3)


class ManyRuns(DynamoStore):
    """Answers queries for the runs of a user, and counts them. Run 50 is the only one of its package."""

    def __init__(self, user_id: str, count: int) -> None:
        self._user_id = user_id
        self._numbers = range(count, 0, -1)
        self.queries = 0

    def query_index(
        self,
        table: str,
        index: str,
        *,
        hash_name: str,
        hash_value: str,
        range_name: str,
        first: str | None = None,
        last: str,
        newest_first: bool = False,
        after: Mapping[str, Any] | None,
        limit: int,
        equal: Mapping[str, str] | None = None,
    ) -> tuple[Sequence[Mapping[str, Any]], Mapping[str, Any] | None]:
        self.queries += 1
        assert (newest_first, equal) == (True, {"package": "@acme/rare"})
        read = [
            number for number in self._numbers if after is None or self._entry(number)["sk"]["S"] < after["sk"]["S"]
        ]
        page = [self._entry(number) for number in read[:limit] if number == 50]
        return page, self._entry(read[limit - 1]) if len(read) > limit else None

    def get_all(self, keys: Sequence[Key], *, consistent: frozenset[str] = frozenset()) -> dict[Key, RawItem]:
        hold = a_hold(f"run_{50:06d}", 1, NOW)
        return {key: items.run_item(receipt(self._user_id, hold, RunStatus.RELEASED, NOW)) for key in keys}

    def _entry(self, number: int) -> Mapping[str, Any]:
        return {**run_key("", self._user_id, f"run_{number:06d}").raw, "ended_at": {"S": iso(NOW + number * SECOND)}}


def test_one_page_of_a_long_filtered_list_of_runs_is_a_bounded_number_of_queries(user_id: str) -> None:
    """It may come back short, and still leads on to everything that is there."""
    store = ManyRuns(user_id, 100 * MAX_PAGES + 51)
    ledger = DynamoLedger(store, ledger_table=LEDGER_TABLE, sessions_table=SESSIONS_TABLE)
    rare = RunFilter(package="@acme/rare")

    page, after, _ = ledger.ended_runs(user_id, rare, after=None, limit=10)
    assert (page, after, store.queries) == ([], RunPlace(iso(NOW + 52 * SECOND), "RUN#run_000052"), MAX_PAGES)

    page, after, _ = ledger.ended_runs(user_id, rare, after=after, limit=10)
    assert ([run.run_id for run in page], after, store.queries) == (["run_000050"], None, MAX_PAGES + 1)


def test_an_account_is_in_the_index_of_boundaries_while_it_has_one(
    ledger: DynamoLedger, dynamodb: Any, user_id: str
) -> None:
    def index_entry() -> tuple[Any, Any]:
        item = dynamodb.get_item(TableName=LEDGER_TABLE, Key=account_key(LEDGER_TABLE, user_id).raw)["Item"]
        return item.get("due_at"), item.get("due_shard")

    ledger.account(user_id, NOW)
    assert index_entry() == (None, None)

    plus(ledger, user_id, entitled_until=boundary(NOW, 1))
    assert index_entry() == ({"S": "2026-02-28T12:00:00.000Z"}, {"S": shard_of(user_id)})

    ledger.account(user_id, boundary(NOW, 2))
    assert index_entry() == (None, None)
