"""Accounts under any order of events, beside a second account made of plain numbers that moves one credit at a time."""

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from playground.domain.account import (
    Account,
    Change,
    Hold,
    Plan,
    cross_boundary,
    drop_hold,
    grant,
    open_account,
    place_hold,
    settle,
    start_plus,
    with_debt_repaid,
)
from playground.domain.calendar import boundary
from playground.domain.credits import Deltas
from playground.domain.entries import GENESIS, Entry, EntryType
from playground.domain.purchases import Claim, Purchase, PurchaseState, Stage, book_purchase
from tests.kit.extent import examples
from tests.support import check_invariants

TICK = timedelta(milliseconds=1)
BUCKETS = ("monthly", "rollover", "purchased")


def hold_of(run_id: str, ceiling: int, now: datetime) -> Hold:
    return Hold(
        run_id=run_id,
        nonce="try_1",
        ceiling=ceiling,
        lease_at=now + timedelta(minutes=30),
        request_hash="hash",
        session_id="ses_1",
        model="haiku",
        placed_at=now,
    )


class Numbers:
    """The model. It knows the rules in words: take from the first bucket that has one; expire one that is not held."""

    def __init__(self) -> None:
        self.monthly, self.rollover, self.purchased = 0, 0, 5
        self.holds: dict[str, int] = {}
        self.ended: set[str] = set()
        self.allowance = 0
        self.crossed = 0
        self.paid_until: int | None = 0  # number of the first boundary that is not paid for; None: there is none
        self.has_boundary = False
        self.lapsed = 0  # credits of rollover that should have gone, and were held
        self.debt = 0
        self.within = False
        self.old_rollover = False  # is left of an earlier plan, and expires before the first boundary of this one

    def total(self) -> int:
        return self.monthly + self.rollover + self.purchased

    def free(self) -> int:
        return self.total() - sum(self.holds.values())

    def give_back(self, run_id: str, cost: int) -> None:
        """One credit after the other comes back: to go, if it has lapsed; for what is owed; or to be had again."""
        back = self.holds.pop(run_id) - cost
        self.spend(cost)
        while back and self.lapsed and self.rollover:
            self.rollover, self.lapsed, back = self.rollover - 1, self.lapsed - 1, back - 1
        self.lapsed = min(self.lapsed, self.rollover, sum(self.holds.values()))
        self.repay()

    def repay(self) -> None:
        while self.debt and self.purchased and self.free():
            self.debt, self.purchased = self.debt - 1, self.purchased - 1

    def take_back(self, credits_: int) -> None:
        for _ in range(credits_):
            if self.purchased and self.free():
                self.purchased -= 1
            else:
                self.debt += 1

    def spend(self, credits_: int) -> None:
        for _ in range(credits_):
            if self.monthly:
                self.monthly -= 1
            elif self.rollover:
                self.rollover -= 1
            else:
                self.purchased -= 1

    def start(self, paid_until: int | None, *, within: bool, due_before: bool) -> None:
        self.monthly += 200
        self.old_rollover = self.rollover > 0 and due_before
        self.allowance, self.crossed, self.paid_until, self.has_boundary = 200, 0, paid_until, True
        self.within = within

    def cross(self) -> None:
        if self.ends_next:
            self.allowance, self.within = 0, False
            while self.monthly and self.free():
                self.monthly -= 1
            self.has_boundary = self.rollover + self.monthly > 0
            return
        while self.rollover and self.free():
            self.rollover -= 1
        self.lapsed = self.rollover
        if self.old_rollover:
            self.old_rollover = False
            return
        self.crossed += 1
        while self.monthly > self.allowance and self.free():
            self.monthly -= 1
        self.lapsed += max(self.monthly - self.allowance, 0)
        self.rollover += self.monthly
        self.monthly = 0
        if self.paid_until is None or self.paid_until > self.crossed or self.ends_next:
            self.monthly = self.allowance
        else:
            self.allowance = 0
            self.has_boundary = self.rollover > 0
        self.repay()

    @property
    def ends_next(self) -> bool:
        """Whether the plan ends within the month that is on."""
        return self.within and self.allowance > 0 and self.paid_until == self.crossed


class AccountLife(RuleBasedStateMachine):
    """I1 to I4 after every step, and the same numbers as the model."""

    @initialize()
    def opens(self) -> None:
        self.now = datetime(2027, 1, 31, 12, tzinfo=UTC)
        self.account, entries = open_account("alice", self.now)
        self.entries: list[Entry] = list(entries)
        self.numbers = Numbers()
        self.runs = 0

    def record(self, change: Change) -> None:
        """As a ledger does."""
        self.account, written = with_debt_repaid(change, now=self.now)
        self.entries += written

    @precondition(lambda self: self.numbers.free() > 0)
    @rule(data=st.data())
    def holds(self, data: st.DataObject) -> None:
        self.runs += 1
        run_id, ceiling = f"run_{self.runs}", data.draw(st.integers(1, self.numbers.free()), label="ceiling")
        self.account = place_hold(self.account, hold_of(run_id, ceiling, self.now))
        self.numbers.holds[run_id] = ceiling

    @rule(more=st.integers(1, 500))
    def cannot_hold_more_than_is_free(self, more: int) -> None:
        with pytest.raises(ValueError, match="available"):
            place_hold(self.account, hold_of("run_x", self.numbers.free() + more, self.now))

    @precondition(lambda self: self.numbers.holds)
    @rule(data=st.data())
    def settles(self, data: st.DataObject) -> None:
        run_id = data.draw(st.sampled_from(sorted(self.numbers.holds)), label="run")
        cost = data.draw(st.integers(1, self.numbers.holds[run_id]), label="cost")
        before = len(self.entries)
        self.record(settle(self.account, run_id, cost, reason="", now=self.now))
        self.numbers.ended.add(run_id)
        self.numbers.give_back(run_id, cost)
        entry = self.entries[-1]
        assert all(other.type in (EntryType.EXPIRE, EntryType.DEBT) for other in self.entries[before:-1])
        assert (entry.type, entry.amount, entry.run_id) == (EntryType.SPEND, -cost, run_id)

    @precondition(lambda self: self.numbers.holds)
    @rule(data=st.data(), more=st.integers(1, 500))
    def cannot_charge_outside_of_the_hold(self, data: st.DataObject, more: int) -> None:
        run_id = data.draw(st.sampled_from(sorted(self.numbers.holds)), label="run")
        for cost in (0, -more, self.numbers.holds[run_id] + more):
            with pytest.raises(ValueError, match="cannot cost"):
                settle(self.account, run_id, cost, reason="", now=self.now)

    @precondition(lambda self: self.numbers.holds)
    @rule(data=st.data())
    def drops(self, data: st.DataObject) -> None:
        run_id = data.draw(st.sampled_from(sorted(self.numbers.holds)), label="run")
        self.record(drop_hold(self.account, run_id, now=self.now))
        self.numbers.ended.add(run_id)
        self.numbers.give_back(run_id, 0)

    @precondition(lambda self: self.numbers.ended)
    @rule(data=st.data())
    def an_ended_run_cannot_end_again(self, data: st.DataObject) -> None:
        run_id = data.draw(st.sampled_from(sorted(self.numbers.ended)), label="run")
        with pytest.raises(KeyError):
            settle(self.account, run_id, 1, reason="", now=self.now)
        with pytest.raises(KeyError):
            drop_hold(self.account, run_id, now=self.now)

    @rule(credits_=st.integers(1, 700), type_=st.sampled_from([EntryType.PURCHASE, EntryType.BONUS]))
    def grants(self, credits_: int, type_: EntryType) -> None:
        key = f"grant:{len(self.entries)}"
        after, entry = grant(self.account, credits_, type_=type_, business_key=key, reason="", now=self.now)
        self.record((after, (entry,)))
        self.numbers.purchased += credits_
        self.numbers.repay()

    @rule(credits_=st.integers(1, 700), disputed=st.booleans())
    def takes_back(self, credits_: int, disputed: bool) -> None:
        """A pack of that size is refunded, or disputed, as a whole."""
        paid, change = book_purchase(self.account, a_pack(len(self.entries), credits_), now=self.now)
        self.record(change)
        self.numbers.purchased += credits_
        self.numbers.repay()
        taken = paid.with_dispute("dp_1", Claim(500, Stage.OPEN)) if disputed else paid.with_refunded(500)
        self.record(book_purchase(self.account, taken, now=self.now)[1])
        self.numbers.take_back(credits_)

    @rule(paid_until=st.none() | st.integers(1, 3), within=st.booleans())
    def starts_plus(self, paid_until: int | None, within: bool) -> None:
        """`within`: it ends ten days after a boundary, and not with one."""
        self.now += TICK
        until = None if paid_until is None else boundary(self.now, paid_until) + timedelta(days=10 * within)
        due = self.account.due_at
        self.numbers.start(paid_until, within=within, due_before=due is not None and due < boundary(self.now, 1))
        self.record(start_plus(self.account, allowance=200, entitled_until=until, now=self.now))
        self.numbers.repay()

    @precondition(lambda self: self.numbers.has_boundary)
    @rule()
    def crosses(self) -> None:
        before, entries = self.account, len(self.entries)
        assert before.due_at is not None
        assert before.anchor is not None
        self.now = max(self.now, before.due_at)
        self.record(cross_boundary(before))
        self.numbers.cross()
        written = self.entries[entries:]
        expired = -sum(entry.amount for entry in written if entry.type is EntryType.EXPIRE)
        assert expired <= before.available  # nothing that is held
        assert all(entry.deltas.purchased == 0 for entry in written if entry.type is not EntryType.DEBT)
        assert all(entry.created_at == before.due_at for entry in written)
        assert self.account.holds == before.holds
        ends = self.account.entitled_until if self.account.allowance else None
        assert self.account.due_at in (None, boundary(before.anchor, self.account.period + 1), ends)
        assert self.account.period - before.period == (before.due_at >= boundary(before.anchor, before.period + 1))

    @precondition(lambda self: not self.numbers.has_boundary)
    @rule()
    def cannot_cross_what_is_not_there(self) -> None:
        with pytest.raises(ValueError, match="no monthly boundary"):
            cross_boundary(self.account)

    @rule(days=st.integers(1, 40))
    def time_passes(self, days: int) -> None:
        self.now += timedelta(days=days)

    @invariant()
    def invariants_hold(self) -> None:
        check_invariants(self.account, self.entries)

    @invariant()
    def numbers_agree(self) -> None:
        account, numbers = self.account, self.numbers
        assert [getattr(account.buckets, name) for name in BUCKETS] == [getattr(numbers, name) for name in BUCKETS]
        assert {run_id: hold.ceiling for run_id, hold in account.holds.items()} == numbers.holds
        assert (account.available, account.allowance) == (numbers.free(), numbers.allowance)
        assert (account.debt, account.lapsed) == (numbers.debt, numbers.lapsed)
        assert (account.plan is Plan.PLUS) == (numbers.allowance > 0)
        assert (account.due_at is not None) == numbers.has_boundary

    @invariant()
    def a_run_is_charged_once_and_within_its_hold(self) -> None:
        spends = [entry for entry in self.entries if entry.type is EntryType.SPEND]
        assert {entry.run_id for entry in spends} <= self.numbers.ended
        assert len({entry.run_id for entry in spends}) == len(spends)


TestAccountLife = AccountLife.TestCase
TestAccountLife.settings = settings(max_examples=examples(150), stateful_step_count=40, deadline=None)


# --- draw-down --------------------------------------------------------------------------------------------------------


@given(st.integers(0, 300), st.integers(0, 300), st.integers(0, 300), st.data())
def test_a_later_bucket_is_touched_only_when_the_earlier_ones_are_empty(
    monthly: int, rollover: int, purchased: int, data: st.DataObject
) -> None:
    account = write(monthly=monthly, rollover=rollover, purchased=purchased)
    if not account.available:
        return
    ceiling = data.draw(st.integers(1, account.available))
    cost = data.draw(st.integers(1, ceiling))

    after, [entry] = settle(
        place_hold(account, hold_of("run_1", ceiling, account.created_at)), "run_1", cost, reason="", now=NOON
    )

    event(f"touches {sum(delta != 0 for delta in deltas_of(entry))} buckets")
    assert entry.amount == -cost
    assert max(deltas_of(entry)) <= 0
    if entry.deltas.rollover:
        assert after.buckets.monthly == 0
    if entry.deltas.purchased:
        assert (after.buckets.monthly, after.buckets.rollover) == (0, 0)


NOON = datetime(2027, 1, 1, 12, tzinfo=UTC)


# --- what is owed -----------------------------------------------------------------------------------------------------


@given(st.data())
@settings(deadline=None)
def test_holding_everything_at_every_boundary_for_14_months_keeps_one_allowance_of_rollover(
    data: st.DataObject,
) -> None:
    """Some of the holds end before the next boundary, some after several, for any cost. When all are over, the rollover
    is one allowance at most, and what expired was due to: at each boundary no more than the rollover that was there."""
    account, entries = open_account("alice", NOON)
    account, more = start_plus(account, allowance=200, entitled_until=None, now=NOON)
    entries += more
    due, runs = 0, 0
    for month in range(1, 15):
        at = boundary(NOON, month)
        while account.available:  # everything is held
            runs += 1
            ceiling = data.draw(st.integers(min(account.available, 100), account.available), label="ceiling")
            account = place_hold(account, hold_of(f"run_{runs}", ceiling, at))
        due += account.buckets.rollover - account.lapsed
        account, more = cross_boundary(account)
        entries += more
        stays = data.draw(st.integers(0, 2), label="holds that go on")
        for run_id in sorted(account.holds)[: max(len(account.holds) - stays, 0)]:
            cost = data.draw(st.integers(0, account.holds[run_id].ceiling), label="cost")
            end = settle(account, run_id, cost, reason="", now=at) if cost else drop_hold(account, run_id, now=at)
            account, more = end
            entries += more
            check_invariants(account, entries)
    for run_id in list(account.holds):
        account, more = drop_hold(account, run_id, now=at)
        entries += more

    check_invariants(account, entries)
    assert (account.held, account.lapsed) == (0, 0)
    assert account.buckets.rollover <= 200
    assert -sum(entry.amount for entry in entries if entry.type is EntryType.EXPIRE) <= due


@given(
    packs=st.lists(st.integers(1, 300), min_size=1, max_size=3),
    month=st.integers(0, 200),
    data=st.data(),
)
@settings(deadline=None)
def test_runs_at_the_same_time_as_refunds_come_to_what_they_come_to_before_them(
    packs: list[int], month: int, data: st.DataObject
) -> None:
    """I7 for what is owed: holds, refunds and ends in any order, against the runs one after the other and the refunds
    after them. The second knows no holds beside a refund, so no mistake about them is in both."""
    account, _ = open_account("alice", NOON)
    for number, credits_ in enumerate(packs):
        account, _ = book_purchase(account, a_pack(number, credits_), now=NOON)[1]
    account = replace(account, buckets=replace(account.buckets, monthly=month))
    serial, costs, todo = account, dict[str, int](), list[tuple[str, str]]()
    for number in range(data.draw(st.integers(1, 4), label="runs")):
        if not account.available:
            break
        run_id, ceiling = f"run_{number}", data.draw(st.integers(1, account.available), label="ceiling")
        costs[run_id] = data.draw(st.integers(0, ceiling), label="cost")
        account = place_hold(account, hold_of(run_id, ceiling, NOON))
        todo.append(("end", run_id))
    todo += [("refund", str(number)) for number in range(len(packs))]
    for what, name in data.draw(st.permutations(todo), label="order"):
        if what == "refund":
            account, _ = _refunded(account, int(name), packs)
        elif costs[name]:
            account, _ = settle(account, name, costs[name], reason="", now=NOON)
        else:
            account, _ = drop_hold(account, name, now=NOON)
        assert not account.payable_debt

    for run_id, cost in costs.items():
        if cost:
            serial, _ = settle(place_hold(serial, hold_of(run_id, cost, NOON)), run_id, cost, reason="", now=NOON)
    for number in range(len(packs)):
        serial, _ = _refunded(serial, number, packs)
    assert (account.buckets, account.debt) == (serial.buckets, serial.debt)


def a_pack(number: int, credits_: int) -> Purchase:
    return Purchase(
        purchase_id=f"pur_{number}",
        user_id="alice",
        pack="small",
        credits=credits_,
        amount=500,
        currency="usd",
        live=False,
        price_version="1",
        created_at=NOON,
        state=PurchaseState.PAID,
    )


def _refunded(account: Account, number: int, packs: list[int]) -> Change:
    return book_purchase(account, replace(a_pack(number, packs[number]).with_refunded(500), granted=True), now=NOON)[1]


def write(**buckets: int) -> Account:
    account, _ = open_account("alice", NOON)
    return replace(account, buckets=replace(account.buckets, **buckets))


def deltas_of(entry: Entry) -> list[int]:
    return [getattr(entry.deltas, name) for name in BUCKETS]


# --- the chain --------------------------------------------------------------------------------------------------------

CHANGED: dict[str, Any] = {
    "user_id": lambda entry: entry.user_id + "x",
    "seq": lambda entry: entry.seq + 1,
    "type": lambda entry: EntryType.ADMIN,
    "deltas": lambda entry: Deltas(
        monthly=entry.deltas.monthly + 1, rollover=entry.deltas.rollover - 1, purchased=entry.deltas.purchased
    ),
    "balance_after": lambda entry: entry.balance_after + 1,
    "business_key": lambda entry: entry.business_key + "x",
    "reason": lambda entry: entry.reason + "x",
    "created_at": lambda entry: entry.created_at + TICK,
    "previous_hash": lambda entry: "f" * 64,
    "run_id": lambda entry: "run_other",
    "session_id": lambda entry: "ses_other",
    "purchase_id": lambda entry: "pur_other",
}


def a_history() -> tuple[Account, list[Entry]]:
    account, entries = open_account("alice", NOON)
    account, more = start_plus(account, allowance=200, entitled_until=None, now=NOON)
    entries += more
    for run in range(3):
        account = place_hold(account, hold_of(f"run_{run}", 70, NOON))
        account, [entry] = settle(account, f"run_{run}", 60 + run, reason="Run", now=NOON)
        entries += (entry,)
    for _ in range(2):
        account, more = cross_boundary(account)
        entries += more
    return account, list(entries)


ACCOUNT, HISTORY = a_history()


def test_the_history_is_sound_to_begin_with() -> None:
    check_invariants(ACCOUNT, HISTORY)
    assert {entry.type for entry in HISTORY} >= {EntryType.SPEND, EntryType.ROLLOVER, EntryType.EXPIRE}


@pytest.mark.parametrize("name", [field.name for field in fields(Entry) if field.name != "operator"])
def test_changing_any_field_of_any_entry_breaks_the_chain(name: str) -> None:
    for place, entry in enumerate(HISTORY):
        forged = [*HISTORY]
        forged[place] = replace(entry, **{name: CHANGED[name](entry)})
        following = forged[place + 1].previous_hash if place + 1 < len(forged) else ACCOUNT.last_hash

        assert forged[place].hash != following
        with pytest.raises(AssertionError):
            check_invariants(ACCOUNT, forged)


@given(st.data())
def test_lines_can_be_neither_left_out_nor_repeated_nor_swapped(data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(HISTORY) - 1))
    other = data.draw(st.integers(0, len(HISTORY) - 1).filter(lambda number: number != place))
    missing = HISTORY[:place] + HISTORY[place + 1 :]
    repeated = [*HISTORY[: place + 1], *HISTORY[place:]]
    swapped = [*HISTORY]
    swapped[place], swapped[other] = swapped[other], swapped[place]

    for forged in (missing, repeated, swapped):
        hashes = [GENESIS, *(entry.hash for entry in forged)]
        assert [entry.previous_hash for entry in forged] != hashes[:-1] or hashes[-1] != ACCOUNT.last_hash
        with pytest.raises(AssertionError):
            check_invariants(ACCOUNT, forged)
