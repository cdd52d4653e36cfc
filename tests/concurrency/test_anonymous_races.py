"""Anonymous runs at the same moment, on a real engine: the visitor's run and the budget are exact.

Every thread has a connection of its own and waits at a barrier right before its reservation. The model answers when all
others were refused, so that no correction makes room for one of them.
"""

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from local.engine import Engine
from local.template import Description
from playground.adapters.dynamo_anonymous import DynamoAnonymousBudget
from playground.adapters.dynamo_keys import budget_key
from playground.adapters.dynamo_store import Backoff, DynamoStore
from playground.adapters.ids import id_maker
from playground.domain.anonymous import Reservation, VisitorKeys, day_of
from playground.domain.errors import (
    AnonymousBudgetUsedError,
    AnonymousRunUsedError,
    ModelOverloadedError,
    PlaygroundError,
)
from playground.domain.pricing import Usage
from playground.ports import Admission, Completion, Prompt
from playground.usecases.run_anonymously import MAX_ANSWER_TOKENS, AnonymousAnswer, RunAnonymously
from tests.fakes import FrozenClock, InMemoryCatalog, Reply, ScriptedModel
from tests.kit.extent import HANG_SECONDS
from tests.kit.packages import a_package
from tests.kit.prices import EXAMPLE
from tests.support import VISITORS_TABLE, new_store

CALLERS = 20
PROMPT_TOKENS = 1_000
HAIKU = EXAMPLE.models["haiku"]
MOST = HAIKU.cost_nano(HAIKU.most_expensive(PROMPT_TOKENS, MAX_ANSWER_TOKENS))
USAGE = Usage(input_tokens=100, output_tokens=50)
COST = HAIKU.cost_nano(USAGE)
ANSWER = Completion(text="Done.", usage=USAGE, stop_reason="end_turn", model_id=HAIKU.model_id)
NAME = "@acme/tidy"
PACKAGE = a_package(NAME)


@pytest.fixture(scope="module")
def stores(engine: Engine, description: Description) -> Iterator[Sequence[DynamoStore]]:
    patient = Backoff(most_seconds=HANG_SECONDS)
    stores = [new_store(engine, patient) for _ in range(CALLERS)]
    yield stores
    for store in stores:
        store.client.close()


class Together(DynamoAnonymousBudget):
    """Reserves when all have come so far."""

    def __init__(self, store: DynamoStore, barrier: threading.Barrier) -> None:
        super().__init__(store, VISITORS_TABLE)
        self._barrier = barrier

    def reserve(self, reservation: Reservation, *, budget_nano: int) -> Admission:
        self._barrier.wait(HANG_SECONDS)
        return super().reserve(reservation, budget_nano=budget_nano)


class Decided:
    """Counts callers who were refused or admitted; the admitted ones wait until all are either."""

    def __init__(self, callers: int) -> None:
        self._left = callers
        self._lock = threading.Lock()
        self._all = threading.Event()

    def one(self) -> None:
        with self._lock:
            self._left -= 1
            if not self._left:
                self._all.set()

    def wait(self) -> None:
        assert self._all.wait(HANG_SECONDS)


def race(
    stores: Sequence[DynamoStore], day: datetime, addresses: Sequence[str], *, runs: int, reply: Reply = ANSWER
) -> list[AnonymousAnswer | PlaygroundError]:
    """What callers at `addresses` get, with a budget for `runs` and not one more. The model says `reply` to all whom it
    is asked for."""
    barrier = threading.Barrier(len(addresses))
    decided = Decided(len(addresses))

    def answer(prompt: Prompt) -> Reply:
        decided.one()
        decided.wait()
        return reply

    def call(store: DynamoStore, address: str) -> AnonymousAnswer | PlaygroundError:
        run_anonymously = RunAnonymously(
            budget=Together(store, barrier),
            catalog=InMemoryCatalog(PACKAGE),
            model=ScriptedModel(answer),
            price=HAIKU,
            keys=VisitorKeys("a secret of the tests, 32 bytes at least"),
            most_prompt_tokens=lambda prompt: PROMPT_TOKENS,
            clock=FrozenClock(day),
            new_id=id_maker(lambda: datetime.now(UTC)),
            is_on=True,
            budget_nano=runs * MOST + MOST - 1,
            model_timeout_seconds=15,
        )
        try:
            return run_anonymously(NAME, "My desk", address=address, seconds_left=HANG_SECONDS)
        except (AnonymousRunUsedError, AnonymousBudgetUsedError) as error:
            decided.one()
            return error
        except PlaygroundError as error:
            return error

    with ThreadPoolExecutor(len(addresses)) as pool:
        return list(pool.map(call, stores, addresses))


def used(store: DynamoStore, day: datetime) -> tuple[int, int]:
    """Nano-dollars and runs that the day has used."""
    item = store.get(budget_key(VISITORS_TABLE, day_of(day)))
    assert item is not None
    return int(item["used_nano"]["N"]), int(item["runs"]["N"])


def kinds(outcomes: Sequence[AnonymousAnswer | PlaygroundError]) -> Counter[str]:
    return Counter(type(outcome).__name__ for outcome in outcomes)


ONE_SITE = [f"2001:db8:7:7::{number:x}" for number in range(CALLERS)]
ONE_ADDRESS = ["203.0.113.7" if number % 2 else "::ffff:203.0.113.7" for number in range(CALLERS)]


@pytest.mark.parametrize(("year", "addresses"), [(2001, ONE_ADDRESS), (2002, ONE_SITE)], ids=["IPv4", "IPv6"])
def test_of_twenty_requests_of_one_visitor_at_once_one_is_answered(
    stores: Sequence[DynamoStore], year: int, addresses: Sequence[str]
) -> None:
    day = datetime(year, 1, 1, 12, tzinfo=UTC)
    outcomes = race(stores, day, addresses, runs=CALLERS)
    assert kinds(outcomes) == {"AnonymousAnswer": 1, "AnonymousRunUsedError": 19}
    assert used(stores[0], day) == (COST, 1)


def test_of_twenty_visitors_at_once_as_many_are_answered_as_the_budget_covers(stores: Sequence[DynamoStore]) -> None:
    day = datetime(2103, 1, 1, 12, tzinfo=UTC)
    outcomes = race(stores, day, [f"203.0.113.{number}" for number in range(CALLERS)], runs=3)
    assert kinds(outcomes) == {"AnonymousAnswer": 3, "AnonymousBudgetUsedError": 17}
    assert used(stores[0], day) == (3 * COST, 3)


def test_what_is_given_back_at_once_is_given_back_exactly(stores: Sequence[DynamoStore]) -> None:
    day = datetime(2104, 1, 1, 12, tzinfo=UTC)
    addresses = [f"203.0.113.{number}" for number in range(CALLERS)]
    overloaded = ModelOverloadedError("overloaded", retry_after=1)
    outcomes = race(stores, day, addresses, runs=CALLERS, reply=overloaded)
    assert kinds(outcomes) == {"ModelOverloadedError": CALLERS}
    assert used(stores[0], day) == (0, 0)
    assert kinds(race(stores, day, addresses, runs=CALLERS)) == {"AnonymousAnswer": CALLERS}
    assert used(stores[0], day) == (CALLERS * COST, CALLERS)
