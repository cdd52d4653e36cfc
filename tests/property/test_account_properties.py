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
)
from playground.domain.calendar import boundary
from playground.domain.credits import Deltas
from playground.domain.entries import GENESIS, Entry, EntryType
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
        self.old_rollover = False  # is left of an earlier plan, and expires before the first boundary of this one

    def total(self) -> int:
        return self.monthly + self.rollover + self.purchased

    def free(self) -> int:
        return self.total() - sum(self.holds.values())

    def spend(self, credits_: int) -> None:
        for _ in range(credits_):
            if self.monthly:
                self.monthly -= 1
            elif self.rollover:
                self.rollover -= 1
            else:
                self.purchased -= 1

    def start(self, paid_until: int | None, *, due_before: bool) -> None:
        self.monthly += 200
        self.old_rollover = self.rollover > 0 and due_before
        self.allowance, self.crossed, self.paid_until, self.has_boundary = 200, 0, paid_until, True

    def cross(self) -> None:
        while self.rollover and self.free():
            self.rollover -= 1
        if self.old_rollover:
            self.old_rollover = False
            return
        self.crossed += 1
        while self.monthly > self.allowance and self.free():
            self.monthly -= 1
        self.rollover += self.monthly
        self.monthly = 0
        if self.paid_until is None or self.paid_until > self.crossed:
            self.monthly = self.allowance
        else:
            self.allowance = 0
            self.has_boundary = self.rollover > 0


class AccountLife(RuleBasedStateMachine):
    """I1 to I4 after every step, and the same numbers as the model."""

    @initialize()
    def opens(self) -> None:
        self.now = datetime(2027, 1, 31, 12, tzinfo=UTC)
        self.account, entries = open_account("alice", self.now)
        self.entries: list[Entry] = list(entries)
        self.numbers = Numbers()
        self.runs = 0

    def keep(self, change: Change | tuple[Account, Entry]) -> None:
        self.account, written = change
        self.entries += written if isinstance(written, tuple) else (written,)

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
        self.keep(settle(self.account, run_id, cost, reason="", now=self.now))
        del self.numbers.holds[run_id]
        self.numbers.ended.add(run_id)
        self.numbers.spend(cost)
        [entry] = self.entries[before:]
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
        self.account = drop_hold(self.account, run_id)
        del self.numbers.holds[run_id]
        self.numbers.ended.add(run_id)

    @precondition(lambda self: self.numbers.ended)
    @rule(data=st.data())
    def an_ended_run_cannot_end_again(self, data: st.DataObject) -> None:
        run_id = data.draw(st.sampled_from(sorted(self.numbers.ended)), label="run")
        with pytest.raises(KeyError):
            settle(self.account, run_id, 1, reason="", now=self.now)
        with pytest.raises(KeyError):
            drop_hold(self.account, run_id)

    @rule(credits_=st.integers(1, 700), type_=st.sampled_from([EntryType.PURCHASE, EntryType.BONUS]))
    def grants(self, credits_: int, type_: EntryType) -> None:
        key = f"grant:{len(self.entries)}"
        self.keep(grant(self.account, credits_, type_=type_, business_key=key, reason="", now=self.now))
        self.numbers.purchased += credits_

    @rule(paid_until=st.none() | st.integers(0, 3))
    def starts_plus(self, paid_until: int | None) -> None:
        self.now += TICK
        until = None if paid_until is None else boundary(self.now, paid_until)
        due = self.account.due_at
        self.numbers.start(paid_until, due_before=due is not None and due < boundary(self.now, 1))
        self.keep(start_plus(self.account, entitled_until=until, now=self.now))

    @precondition(lambda self: self.numbers.has_boundary)
    @rule()
    def crosses(self) -> None:
        before, entries = self.account, len(self.entries)
        assert before.due_at is not None
        assert before.anchor is not None
        self.now = max(self.now, before.due_at)
        self.keep(cross_boundary(before))
        self.numbers.cross()
        written = self.entries[entries:]
        expired = -sum(entry.amount for entry in written if entry.type is EntryType.EXPIRE)
        assert expired <= before.available  # nothing that is held
        assert all(entry.deltas.purchased == 0 for entry in written)
        assert all(entry.created_at == before.due_at for entry in written)
        assert (self.account.holds, self.account.debt) == (before.holds, before.debt)
        assert self.account.due_at in (None, boundary(before.anchor, self.account.period + 1))
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

    after, entry = settle(
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
    account, more = start_plus(account, entitled_until=None, now=NOON)
    entries += more
    for run in range(3):
        account = place_hold(account, hold_of(f"run_{run}", 70, NOON))
        account, entry = settle(account, f"run_{run}", 60 + run, reason="Run", now=NOON)
        entries += (entry,)
    for _ in range(2):
        account, more = cross_boundary(account)
        entries += more
    return account, list(entries)


ACCOUNT, HISTORY = a_history()


def test_the_history_is_sound_to_begin_with() -> None:
    check_invariants(ACCOUNT, HISTORY)
    assert {entry.type for entry in HISTORY} >= {EntryType.SPEND, EntryType.ROLLOVER, EntryType.EXPIRE}


@pytest.mark.parametrize("name", [field.name for field in fields(Entry)])
def test_whoever_changes_any_field_of_any_line_breaks_the_chain(name: str) -> None:
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
