"""CountSpend and the rules of the guard, over fakes."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from playground.domain.account import Account, Plan, grant, open_account, start_plus
from playground.domain.credits import Buckets
from playground.domain.entries import EntryType
from playground.domain.errors import CorruptLedgerError, StoreUnavailableError, UnreadableError
from playground.domain.guard import (
    NANO_PER_DOLLAR,
    Guard,
    GuardSettings,
    has_signup_credits_only,
    next_midnight,
    percent_of,
    retry_after_seconds,
)
from playground.domain.outcomes import RunOutcome, outcome_of
from playground.domain.runs import Run
from playground.domain.spend import Counters
from playground.usecases.count_spend import CountSpend, Receipt
from tests.conftest import NOW
from tests.fakes import InMemoryGuard, InMemorySpend, paid_run, unpaid_run

CEILING = 100 * NANO_PER_DOLLAR
SETTINGS = GuardSettings(ceiling_nano=CEILING, pauses=True)
MIDNIGHT = datetime(2026, 11, 2, tzinfo=UTC)


class World:
    def __init__(self, settings: GuardSettings = SETTINGS) -> None:
        self.now = NOW
        self.spend, self.guard = InMemorySpend(), InMemoryGuard()
        self.damage: list[CorruptLedgerError] = []
        self.count = CountSpend(
            spend=self.spend,
            guard=self.guard,
            settings=settings,
            clock=lambda: self.now,
            report=self.damage.append,
        )


def receipts(*runs: Run) -> list[Receipt]:
    return [Receipt(number=str(number), run=lambda run=run: run) for number, run in enumerate(runs)]  # type: ignore[misc]


def a_run(number: int, dollars: int, at: datetime = NOW) -> Run:
    return paid_run("alice", f"run_{number}", at, cost_nano=dollars * NANO_PER_DOLLAR)


def test_counters_of_a_receipt() -> None:
    assert Counters.of(paid_run("alice", "run_1", NOW, cost_nano=700, charged=3)) == Counters(
        runs=1, credits=3, input_tokens=40, output_tokens=60, cost_nano=700
    )
    assert Counters.of(unpaid_run("alice", "run_2", NOW, cost_nano=50)) == Counters(
        failed=1, cost_nano=50, unpaid_nano=50
    )
    assert Counters.of(replace(unpaid_run("alice", "run_3", NOW, cost_nano=50), unpaid=None)) == Counters(failed=1)


def test_the_ceiling_is_compared_with_what_today_has_cost() -> None:
    world = World()
    yesterday = a_run(0, 500, NOW - timedelta(days=1))
    counted = world.count(receipts(yesterday, *(a_run(number, 12) for number in range(1, 5))))

    assert (counted.runs, counted.cost_nano, counted.percent) == (5, 548 * NANO_PER_DOLLAR, 48)
    assert not counted.paused
    assert percent_of(CEILING - 1, CEILING) == 99  # so that 100 means reached


def test_free_runs_are_paused_until_midnight_when_the_ceiling_is_reached_and_not_before() -> None:
    world = World()
    assert not world.count(receipts(a_run(1, 99))).paused
    assert world.guard.guard.paused_until is None
    assert world.count(receipts(a_run(2, 1))).paused
    assert world.guard.guard.paused_until == MIDNIGHT == next_midnight(NOW)
    assert world.guard.guard.pauses_at(MIDNIGHT - timedelta(milliseconds=1))
    assert not world.guard.guard.pauses_at(MIDNIGHT)


def test_without_the_setting_nobody_is_paused_and_the_percentage_is_told() -> None:
    world = World(replace(SETTINGS, pauses=False))
    counted = world.count(receipts(a_run(1, 250)))

    assert (counted.percent, counted.paused) == (250, False)
    assert world.guard.guard.paused_until is None


def test_a_pause_that_was_lifted_does_not_come_back_before_tomorrow() -> None:
    world = World()
    world.count(receipts(a_run(1, 100)))
    world.guard.save(world.guard.guard.lifted(NOW, reason="A test", operator="anna"))
    assert not world.count(receipts(a_run(2, 50))).paused

    world.now = NOW + timedelta(days=1)
    assert world.count(receipts(a_run(3, 100, world.now))).paused


def test_an_operators_ceiling_takes_the_place_of_the_deployed_one() -> None:
    world = World()
    world.count(receipts(a_run(1, 100)))
    raised = world.guard.guard.with_ceiling(200 * NANO_PER_DOLLAR, CEILING, NOW)
    assert raised.paused_until is None
    world.guard.save(raised)
    assert world.count(receipts(a_run(2, 50))).percent == 75
    assert world.count(receipts(a_run(3, 50))).paused
    assert world.guard.guard.with_ceiling(None, 250 * NANO_PER_DOLLAR, NOW).paused_until == MIDNIGHT
    assert Guard().with_ceiling(1, 2, NOW) == Guard(ceiling_nano=1)  # nothing is known of what is deployed


def test_the_guard_is_written_only_when_it_changes() -> None:
    world = World()
    for number in range(5):
        world.count(receipts(a_run(number, 10)))
    assert world.guard.guard.revision == 1  # for the settings that are deployed


def test_a_guard_that_changes_meanwhile_is_looked_at_again() -> None:
    world = World()
    save, moved = world.guard.save, [True]

    def late(guard: Guard) -> bool:
        if moved.pop() if moved else False:
            save(world.guard.guard.lifted(NOW, reason="A test", operator="anna"))
        return save(guard)

    world.guard.save = late  # type: ignore[method-assign]
    assert not world.count(receipts(a_run(1, 100))).paused


def test_a_damaged_receipt_is_left_out_and_told() -> None:
    world = World()

    def damaged() -> Run:
        raise UnreadableError("receipt 2")

    batch = receipts(a_run(1, 10), a_run(3, 20))
    counted = world.count([batch[0], Receipt(number="damaged", run=damaged), batch[1]])

    assert (counted.runs, counted.failed) == (2, None)
    assert [error.what for error in world.damage] == ["receipt 2"]


def test_what_fails_is_named_and_may_be_repeated_from_there() -> None:
    world = World()
    batch = receipts(*(a_run(number, 10) for number in range(7)))
    count = world.spend.count

    def failing(runs: list[Run]) -> tuple[int, list[Run]]:
        if len(runs) < 5:
            raise StoreUnavailableError
        return count(runs)  # type: ignore[return-value]

    world.spend.count = failing  # type: ignore[method-assign, assignment]
    counted = world.count(batch)
    assert (counted.failed, counted.runs, counted.percent) == ("3", 3, None)

    world.spend.count = count  # type: ignore[method-assign]
    assert world.count(batch[3:]).runs == 4
    assert world.spend.cost_of(NOW.date()) == 70 * NANO_PER_DOLLAR


def test_a_guard_that_cannot_be_read_has_the_whole_batch_repeated() -> None:
    """Its receipts are counted by then and add nothing the second time."""
    world = World()

    def unavailable() -> Guard:
        raise StoreUnavailableError

    read = world.guard.read
    world.guard.read = unavailable  # type: ignore[method-assign]
    counted = world.count(receipts(a_run(1, 100)))
    assert (counted.failed, counted.runs) == ("0", 1)

    world.guard.read = read  # type: ignore[method-assign]
    again = world.count(receipts(a_run(1, 100)))
    assert (again.runs, again.cost_nano, again.percent, again.paused) == (0, 0, 100, True)


def test_when_to_ask_again() -> None:
    assert retry_after_seconds(MIDNIGHT, NOW) == 3600
    assert retry_after_seconds(MIDNIGHT, MIDNIGHT - timedelta(seconds=90.5)) == 91
    assert retry_after_seconds(MIDNIGHT, MIDNIGHT - timedelta(milliseconds=1)) == 1


NEW, _ = open_account("alice", NOW)


@pytest.mark.parametrize(
    ("account", "only_signup"),
    [
        (NEW, True),
        (replace(NEW, buckets=Buckets(purchased=1)), True),
        (replace(NEW, buckets=Buckets(purchased=1), has_paid=True), False),
        (replace(NEW, buckets=Buckets(purchased=6)), False),
        (replace(NEW, buckets=Buckets(purchased=1, rollover=1)), False),
        (replace(NEW, buckets=Buckets(purchased=1, monthly=1)), False),
        (replace(NEW, plan=Plan.PLUS), False),
        (start_plus(NEW, allowance=200, entitled_until=None, now=NOW)[0], False),
        (grant(NEW, 1, type_=EntryType.BONUS, business_key="b", reason="r", now=NOW)[0], False),
    ],
)
def test_who_has_signup_credits_only(account: Account, only_signup: bool) -> None:
    assert has_signup_credits_only(account) is only_signup


def test_the_flow_of_credits_has_each_receipt_once() -> None:
    world = World()
    first, second = a_run(1, 1), a_run(2, 1)
    failed = unpaid_run("alice", "run_3", NOW, cost_nano=50)
    world.count(receipts(first))
    counted = world.count(receipts(first, second, failed))

    assert counted.flow.ended == 2
    assert counted.flow.held == second.ceiling + failed.ceiling
    assert counted.flow.charged == second.charged
    assert counted.flow.runs == {
        (second.model, RunOutcome.ANSWERED): 1,
        (failed.model, outcome_of(failed)): 1,
    }
    assert (counted.cost_nano, counted.unpaid_nano) == (NANO_PER_DOLLAR + 50, 50)
