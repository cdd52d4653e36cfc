"""What every `ports.SpendCounters`, `UsageCounters` and `GuardSwitch` fulfil, in memory and on DynamoDB alike."""

import itertools
import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta

import pytest

from playground.adapters.dynamo_guard import DynamoGuard
from playground.adapters.dynamo_keys import guard_key
from playground.adapters.dynamo_spend import DynamoSpend
from playground.adapters.dynamo_store import DynamoStore
from playground.domain.guard import NANO_PER_DOLLAR, Guard, GuardSettings, next_midnight
from playground.domain.runs import Run
from playground.domain.spend import Counters, PackageTotals, SpendRow, UsagePlace, day_of
from playground.ports import GuardSwitch, SpendCounters, UsageCounters
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


@pytest.fixture
def usage(spend: SpendCounters) -> UsageCounters:
    """Reads what `spend` counts."""
    assert isinstance(spend, InMemorySpend | DynamoSpend)
    return spend


def packaged(runs: list[Run], user_id: str) -> list[Run]:
    """The same on several days, of two packages and of none, with two models."""
    names = [f"@{user_id}/a", f"@{user_id}/a-b", None]
    return [
        replace(
            run,
            package=names[number % 3],
            model="opus" if number % 4 == 0 else run.model,
            ended_at=run.ended_at + timedelta(days=number % 5),
        )
        for number, run in enumerate(runs)
    ]


def expected_rows(runs: list[Run]) -> list[SpendRow]:
    found: dict[tuple[date, str, str], SpendRow] = {}
    for run in runs:
        key = (day_of(run), run.package or "", run.model)
        there = found[key].counters if key in found else Counters()
        found[key] = SpendRow(day=key[0], package=run.package, model=run.model, counters=there + Counters.of(run))
    return [found[key] for key in sorted(found)]


@pytest.mark.parametrize("limit", [1, 3, 100])
def test_pages_of_a_user_have_every_row_once(
    spend: SpendCounters, usage: UsageCounters, runs: list[Run], user_id: str, limit: int
) -> None:
    runs = packaged(runs, user_id)
    count_all(spend, runs)
    first, last = runs[0].ended_at.date(), runs[0].ended_at.date() + timedelta(days=4)
    user = runs[0].user_id
    rows: list[SpendRow] = []
    after: UsagePlace | None = None
    for _ in range(100):
        page, after = usage.page_of_user(user, first, last, after=after, limit=limit)
        assert len(page) == limit or after is None
        rows += page
        if after is None:
            break

    assert rows == expected_rows([run for run in runs if run.user_id == user])
    second, _ = usage.page_of_user(user, first + timedelta(days=1), last, after=rows[0].place, limit=100)
    assert second == [row for row in rows if row.day > first]  # a place before the first day leaves nothing out
    assert usage.page_of_user(f"{user}-nobody", first, last, after=None, limit=1) == ([], None)


def test_totals_of_packages_count_each_user_once(
    spend: SpendCounters, usage: UsageCounters, runs: list[Run], user_id: str
) -> None:
    runs = packaged(runs, user_id)
    chance = random.Random(3)
    for _ in range(12):
        count_all(spend, chance.choices(runs, k=15))
    count_all(spend, [*runs, *runs])
    expected = []
    for package in (f"@{user_id}/a", f"@{user_id}/a-b"):
        own = [run for run in runs if run.package == package]
        counters = sum(map(Counters.of, own), Counters())
        expected.append(PackageTotals(package=package, counters=counters, users=len({run.user_id for run in own})))
        first, last = runs[0].ended_at.date(), runs[0].ended_at.date() + timedelta(days=1)
        some = [replace(run, package=None) for run in own if day_of(run) <= last]
        assert list(usage.of_package(package, first, last)) == expected_rows(some)

    assert [usage.all_of_package(each.package) for each in expected] == expected
    found = [each for each in usage.packages() if each.package.startswith(f"@{user_id}/")]
    assert sorted(found, key=lambda each: each.package) == expected
    assert usage.all_of_package(f"@{user_id}/never") == PackageTotals(package=f"@{user_id}/never")


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
