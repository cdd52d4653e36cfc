"""What every `ports.SpendCounters` and `ports.GuardSwitch` fulfil, in memory and on DynamoDB alike."""

import itertools
import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from playground.adapters.dynamo_guard import DynamoGuard
from playground.adapters.dynamo_keys import guard_key
from playground.adapters.dynamo_spend import DynamoSpend
from playground.adapters.dynamo_store import DynamoStore
from playground.domain.guard import NANO_PER_DOLLAR, Guard, GuardSettings, next_midnight
from playground.domain.runs import Run
from playground.domain.spend import Counters
from playground.ports import GuardSwitch, SpendCounters
from tests.conftest import NOW
from tests.fakes import InMemoryGuard, InMemorySpend, paid_run, unpaid_run
from tests.support import LEDGER_TABLE, SPEND_TABLE

_days = itertools.count(1)  # days after all other tests, one for each test, whose marks do not expire


@pytest.fixture(params=["in memory", "dynamodb"])
def spend(request: pytest.FixtureRequest) -> SpendCounters:
    if request.param == "in memory":
        return InMemorySpend()
    return DynamoSpend(request.getfixturevalue("store"), SPEND_TABLE)


@pytest.fixture(params=["in memory", "dynamodb"])
def guard(request: pytest.FixtureRequest) -> Iterator[GuardSwitch]:
    if request.param == "in memory":
        yield InMemoryGuard()
        return
    store: DynamoStore = request.getfixturevalue("store")
    store.delete_all([guard_key(LEDGER_TABLE)])
    yield DynamoGuard(store, LEDGER_TABLE)
    store.delete_all([guard_key(LEDGER_TABLE)])


@pytest.fixture
def runs(user_id: str) -> list[Run]:
    """40 receipts of one day, of two users, that cost 1, 2, 4, ... so that every subset has a sum of its own."""
    at = NOW + timedelta(days=5000 + next(_days))
    return [
        (paid_run if number % 3 else unpaid_run)(
            f"{user_id}-{number % 2}", f"run_{user_id}_{number}", at, cost_nano=2**number
        )
        for number in range(40)
    ]


def cost(runs: list[Run]) -> int:
    return sum(Counters.of(run).cost_nano for run in runs)


def count_all(spend: SpendCounters, runs: list[Run]) -> list[Run]:
    new: list[Run] = []
    while runs:
        taken, some = spend.count(runs)
        assert taken >= 1
        runs, new = runs[taken:], [*new, *some]
    return new


def test_every_receipt_is_counted_once(spend: SpendCounters, runs: list[Run]) -> None:
    day = runs[0].ended_at.date()
    assert spend.cost_of(day) == 0
    assert count_all(spend, runs) == runs
    assert spend.cost_of(day) == cost(runs) == 2**40 - 1

    assert count_all(spend, runs) == []
    assert spend.cost_of(day) == cost(runs)


def test_what_comes_again_out_of_order_or_twice_in_a_batch_adds_nothing(spend: SpendCounters, runs: list[Run]) -> None:
    chance = random.Random(7)
    for _ in range(12):
        count_all(spend, chance.choices(runs, k=15))
    count_all(spend, [*runs, *runs])

    assert spend.cost_of(runs[0].ended_at.date()) == cost(runs)


def test_a_receipt_counts_on_the_day_on_which_its_run_ended(spend: SpendCounters, runs: list[Run]) -> None:
    midnight = next_midnight(runs[0].ended_at)
    before = replace(runs[0], ended_at=midnight - timedelta(milliseconds=1))
    after = replace(runs[1], ended_at=midnight)
    count_all(spend, [before, after])

    assert spend.cost_of(before.ended_at.date()) == cost([before])
    assert spend.cost_of(after.ended_at.date()) == cost([after])


def test_a_guard_is_read_as_it_was_saved(guard: GuardSwitch) -> None:
    assert guard.read() == Guard()
    stored = Guard(
        ceiling_nano=5 * NANO_PER_DOLLAR,
        paused_until=next_midnight(NOW),
        lifted_on=NOW.date(),
        lift_reason="A conference",
        lifted_by="bob",
        deployed=GuardSettings(ceiling_nano=NANO_PER_DOLLAR, pauses=False),
        reason="A busy day",
        operator="anna",
    )
    assert guard.save(stored)
    assert guard.read() == replace(stored, revision=1)


def test_a_guard_that_has_changed_meanwhile_is_not_saved_over(guard: GuardSwitch) -> None:
    assert guard.save(Guard(reason="first"))
    assert not guard.save(Guard(reason="second"))
    seen = guard.read()
    assert guard.save(replace(seen, reason="third"))
    assert not guard.save(replace(seen, reason="fourth"))
    assert guard.read().reason == "third"
