"""What a budget of anonymous runs promises, in memory and on the engine: the same."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest

from playground.adapters.dynamo_anonymous import DynamoAnonymousBudget
from playground.adapters.dynamo_keys import budget_key, visitor_key
from playground.adapters.dynamo_store import DynamoStore
from playground.domain.anonymous import CLEANUP_AFTER, Reservation
from playground.ports import Admission, AnonymousBudget
from tests.fakes import InMemoryAnonymousBudget
from tests.support import VISITORS_TABLE

NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
BUDGET = 1_000


@dataclass(frozen=True, slots=True)
class Day:
    """A day that no other test has, with its budget."""

    budget: AnonymousBudget
    name: str

    def reservation(self, visitor: str, nano: int = 300, *, nonce: str | None = None) -> Reservation:
        return Reservation(
            day=self.name,
            visitor=visitor,
            nonce=nonce or f"try_{visitor}",
            nano=nano,
            cleanup_at=NOW + CLEANUP_AFTER,
        )

    def reserve(self, reservation: Reservation) -> Admission:
        return self.budget.reserve(reservation, budget_nano=BUDGET)

    @property
    def used(self) -> int:
        if isinstance(self.budget, InMemoryAnonymousBudget):
            return self.budget.used.get(self.name, 0)
        assert isinstance(self.budget, DynamoAnonymousBudget)
        item = self.budget._store.get(budget_key(VISITORS_TABLE, self.name))
        return int(item["used_nano"]["N"]) if item is not None else 0


@pytest.fixture(params=["memory", "engine"])
def day(request: pytest.FixtureRequest, user_id: str) -> Day:
    if request.param == "memory":
        return Day(InMemoryAnonymousBudget(), user_id)
    return Day(DynamoAnonymousBudget(request.getfixturevalue("store"), VISITORS_TABLE), user_id)


def test_a_visitor_is_admitted_once_a_day(day: Day) -> None:
    assert day.reserve(day.reservation("a")) is Admission.ADMITTED
    assert day.reserve(day.reservation("a", nonce="try_again")) is Admission.VISITOR_USED
    assert day.reserve(day.reservation("b")) is Admission.ADMITTED
    assert day.reserve(replace(day.reservation("a", nonce="tomorrow"), day=f"{day.name}+1")) is Admission.ADMITTED
    assert day.used == 600


def test_the_budget_is_used_to_its_last_part_and_never_beyond(day: Day) -> None:
    assert [day.reserve(day.reservation(name)) for name in "abc"] == [Admission.ADMITTED] * 3
    assert day.reserve(day.reservation("d", 101)) is Admission.BUDGET_USED
    assert day.reserve(day.reservation("d", 100)) is Admission.ADMITTED
    assert day.used == BUDGET


@pytest.mark.parametrize(("nano", "admission"), [(1_000, Admission.ADMITTED), (1_001, Admission.BUDGET_USED)])
def test_the_first_run_of_a_day_has_to_fit_too(day: Day, nano: int, admission: Admission) -> None:
    assert day.reserve(day.reservation("a", nano)) is admission
    assert day.used == (nano if admission is Admission.ADMITTED else 0)


def test_a_visitor_without_budget_is_not_counted(day: Day) -> None:
    day.reserve(day.reservation("a", 1_000))
    assert day.reserve(day.reservation("b")) is Admission.BUDGET_USED
    day.budget.settle(day.reservation("a", 1_000), 10)
    assert day.reserve(day.reservation("b", nonce="try_later")) is Admission.ADMITTED


def test_a_visitor_who_has_had_a_run_hears_of_that_first(day: Day) -> None:
    day.reserve(day.reservation("a", 1_000))
    assert day.reserve(day.reservation("a", nonce="try_again")) is Admission.VISITOR_USED


def test_a_repeated_reservation_counts_once(day: Day) -> None:
    for _ in range(3):
        assert day.reserve(day.reservation("a")) is Admission.ADMITTED
    assert day.used == 300


def test_a_repeated_reservation_is_admitted_when_the_budget_is_used_up_by_it(day: Day) -> None:
    for _ in range(2):
        assert day.reserve(day.reservation("a", 1_000)) is Admission.ADMITTED
    assert day.used == 1_000


def test_the_cost_replaces_what_was_reserved_once(day: Day) -> None:
    run = day.reservation("a")
    day.reserve(run)
    for _ in range(3):
        day.budget.settle(run, 40)
    assert day.used == 40
    assert day.reserve(day.reservation("a", nonce="try_again")) is Admission.VISITOR_USED


def test_what_is_given_back_is_as_if_it_had_never_been(day: Day) -> None:
    run = day.reservation("a")
    day.reserve(run)
    for _ in range(3):
        day.budget.give_back(run)
    assert day.used == 0
    assert day.reserve(day.reservation("a", nonce="try_again")) is Admission.ADMITTED


def test_nothing_is_given_back_of_a_run_that_was_settled(day: Day) -> None:
    run = day.reservation("a")
    day.reserve(run)
    day.budget.settle(run, 40)
    day.budget.give_back(run)
    assert day.used == 40
    assert day.reserve(day.reservation("a", nonce="try_again")) is Admission.VISITOR_USED


def test_nothing_is_settled_that_was_given_back(day: Day) -> None:
    run = day.reservation("a")
    day.reserve(run)
    day.budget.give_back(run)
    day.budget.settle(run, 40)
    assert day.used == 0


def test_a_late_repeat_does_not_touch_the_visitors_next_run(day: Day) -> None:
    first, second = day.reservation("a"), day.reservation("a", nonce="try_again")
    day.reserve(first)
    day.budget.give_back(first)
    day.reserve(second)
    day.budget.give_back(first)
    day.budget.settle(first, 1)
    assert day.used == 300
    assert day.reserve(day.reservation("a", nonce="third")) is Admission.VISITOR_USED


def test_nothing_is_given_back_that_was_not_reserved(day: Day) -> None:
    day.budget.give_back(day.reservation("a"))
    day.budget.settle(day.reservation("a"), 1)
    assert day.used == 0


def test_nothing_is_stored_but_the_counters(store: DynamoStore, user_id: str) -> None:
    day = Day(DynamoAnonymousBudget(store, VISITORS_TABLE), user_id)
    day.reserve(day.reservation("a"))
    day.budget.settle(day.reservation("a"), 40)
    ttl = {"N": str(int((NOW + timedelta(days=2)).timestamp()))}

    visitor, budget = visitor_key(VISITORS_TABLE, user_id, "a"), budget_key(VISITORS_TABLE, user_id)
    assert store.get(visitor) == {**visitor.raw, "nonce": {"S": "try_a"}, "ttl": ttl}
    assert store.get(budget) == {**budget.raw, "used_nano": {"N": "40"}, "runs": {"N": "1"}, "ttl": ttl}
